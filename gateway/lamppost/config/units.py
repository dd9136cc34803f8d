"""Values with their unit: "10s", "64MiB". Bare numbers are refused, so that no milliseconds pass as seconds."""

from __future__ import annotations

import re
from typing import Annotated

from pydantic import BeforeValidator, PlainSerializer

_SECONDS = {"ms": 0.001, "s": 1.0, "min": 60.0, "h": 3600.0, "d": 86400.0}
_BYTES = {"KiB": 1024, "MiB": 1024**2, "GiB": 1024**3}
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


Seconds = Annotated[float, BeforeValidator(_seconds), PlainSerializer(lambda v: f"{v:g}s")]
Bytes = Annotated[int, BeforeValidator(_bytes), PlainSerializer(lambda v: f"{v // 1024}KiB")]
