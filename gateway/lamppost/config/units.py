"""Values with their unit: "10s", "64MiB". Bare numbers are refused, so that no milliseconds pass as seconds."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, NamedTuple
from urllib.parse import urlsplit

from pydantic import BeforeValidator, PlainSerializer

_SECONDS = {"ms": 0.001, "s": 1.0, "min": 60.0, "h": 3600.0, "d": 86400.0}
_BYTES = {"KiB": 1024, "MiB": 1024**2, "GiB": 1024**3}
_VOLUMES = {"MB": 10**6, "GB": 10**9, "MiB": 1024**2, "GiB": 1024**3}
_AMOUNT = re.compile(r"(\d+(?:\.\d+)?)\s*([A-Za-z][A-Za-z0-9]*)")
_VALUE = re.compile(r"(\d+(?:\.\d+)?)\s*([A-Za-z]+)")


def _scaled(value: object, units: dict[str, float] | dict[str, int], example: str) -> float:
    found = _VALUE.fullmatch(value) if isinstance(value, str) else None
    if found is None or found[2] not in units:
        raise ValueError(f'write a number with a unit ({", ".join(units)}), such as "{example}"')
    return float(found[1]) * units[found[2]]


def _seconds(value: object) -> float:
    return _scaled(value, _SECONDS, "10s")


def _bytes(value: object) -> int:
    return int(_scaled(value, _BYTES, "64MiB"))


def _volume(value: object) -> int:
    return int(_scaled(value, _VOLUMES, "200 MB"))


class Amount(NamedTuple):
    """A number with its unit, such as 10 l."""

    value: float
    unit: str

    def __str__(self) -> str:
        return f"{self.value:g} {self.unit}"


# unit of a counter → what may be written in its place, and its size
_SIZES: Mapping[str, Mapping[str, float]] = {
    "m3": {"m3": 1.0, "l": 1e-3, "ml": 1e-6},
    "kWh": {"kWh": 1.0, "Wh": 1e-3, "MWh": 1e3},
    "mm": {"mm": 1.0},
}


def units_for(unit: str) -> tuple[str, ...]:
    """The units in which an amount of `unit` may be written."""
    return tuple(_SIZES.get(unit, {unit: 1.0}))


def in_unit(amount: Amount, unit: str) -> float | None:
    """An amount in another unit, or None where the two do not measure the same."""
    size = _SIZES.get(unit, {unit: 1.0}).get(amount.unit)
    return None if size is None else amount.value * size


def _amount(value: object) -> Amount:
    found = _AMOUNT.fullmatch(value) if isinstance(value, str) else None
    if found is None or float(found[1]) <= 0:
        raise ValueError('write a number above zero with its unit, such as "10 l" or "0.5 Wh"')
    return Amount(float(found[1]), found[2])


class Pace(NamedTuple):
    """How fast something may change, such as 5 Cel/min."""

    value: float
    unit: str
    per: str

    def __str__(self) -> str:
        return f"{self.value:g} {self.unit}/{self.per}"


_PACE = re.compile(r"(\d+(?:\.\d+)?)\s*(\S*)\s*/\s*([a-z]+)")


def per_second(pace: Pace, unit: str) -> float | None:
    """A pace in `unit` a second, or None where it is one of something else."""
    plain = Amount(pace.value, pace.unit or unit)
    amount = in_unit(plain, unit)
    return None if amount is None else amount / _SECONDS[pace.per]


def _pace(value: object) -> Pace:
    found = _PACE.fullmatch(value) if isinstance(value, str) else None
    if found is None or float(found[1]) <= 0 or found[3] not in _SECONDS:
        raise ValueError('write a number above zero with its unit and a time, such as "5 Cel/min"')
    return Pace(float(found[1]), found[2], found[3])


PaceLimit = Annotated[Pace, BeforeValidator(_pace), PlainSerializer(str)]
Quantity = Annotated[Amount, BeforeValidator(_amount), PlainSerializer(str)]
Seconds = Annotated[float, BeforeValidator(_seconds), PlainSerializer(lambda v: f"{v:g}s")]
Bytes = Annotated[int, BeforeValidator(_bytes), PlainSerializer(lambda v: f"{v // 1024}KiB")]
Volume = Annotated[int, BeforeValidator(_volume), PlainSerializer(lambda v: f"{v / 10**6:g} MB")]


_THIS_MACHINE = frozenset({"localhost", "127.0.0.1", "::1"})


def _broker_url(value: object) -> str:
    parts = urlsplit(value) if isinstance(value, str) else None
    if parts is None or parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError('write a URL, such as "https://broker.city.example"')
    if parts.scheme == "http" and parts.hostname not in _THIS_MACHINE:
        raise ValueError("must be https; http only to this machine")
    if parts.username or parts.password or parts.query or parts.fragment:
        raise ValueError("a URL here has no user, no query and no fragment")
    return str(value).rstrip("/")


BrokerUrl = Annotated[str, BeforeValidator(_broker_url)]
