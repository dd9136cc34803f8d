"""TOML bytes → `Site`, or `SiteInvalid` with all problems at once. `config check` and OTA use this same function."""

from __future__ import annotations

import tomllib
from collections.abc import Callable, Iterator
from typing import Any, get_args

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from lamppost.config import schema
from lamppost.config.crosscheck import crosscheck
from lamppost.config.problems import Problem, SiteInvalid, key_path, nearest, shown
from lamppost_drivers.contract import Driver

MAX_BYTES = 1024 * 1024
_ALERT_KINDS: dict[str, type[BaseModel]] = {
    "threshold": schema.ThresholdRule,
    "rate": schema.RateRule,
    "stuck": schema.StuckRule,
    "silence": schema.SilenceRule,
}
_LINK_KINDS: dict[str, type[BaseModel]] = {
    "serial": schema.SerialLink,
    "modbus-rtu": schema.ModbusRtuLink,
    "modbus-tcp": schema.ModbusTcpLink,
    "mbus": schema.MbusLink,
    "mbus-tcp": schema.MbusTcpLink,
    "i2c": schema.I2cLink,
    "gpio": schema.GpioLink,
    "ble": schema.BleLink,
}
_UPLINK_MODES: dict[str, type[BaseModel]] = {
    "uplink-hub": schema.UplinkSettings,
    "uplink-direct": schema.DirectSettings,
}
_KINDS = {**_LINK_KINDS, **_ALERT_KINDS, **_UPLINK_MODES}


def site(raw: bytes, find: Callable[[str], Driver]) -> schema.Site:
    """Read a site file. `find` gives the driver of a model and raises LookupError for an unknown one.

    Raises SiteInvalid (code `config.invalid`). Opens no port and no other file.
    """
    document = _parse(raw)
    try:
        found = schema.Site.model_validate(document)
    except ValidationError as refused:
        raise SiteInvalid(_problem(e) for e in _own_errors(refused)) from None
    if problems := list(crosscheck(found, find)):
        raise SiteInvalid(problems)
    return found


def _parse(raw: bytes) -> dict[str, Any]:
    if len(raw) > MAX_BYTES:
        raise SiteInvalid([Problem("(file)", "", f"larger than {MAX_BYTES} bytes")])
    try:
        return tomllib.loads(raw.decode("utf-8-sig"))
    except UnicodeDecodeError as wrong:
        raise SiteInvalid([Problem("(file)", "", f"not UTF-8 at byte {wrong.start}")]) from None
    except tomllib.TOMLDecodeError as wrong:
        raise SiteInvalid([Problem("(file)", "", f"not TOML: {wrong}")]) from None
    except RecursionError:
        raise SiteInvalid([Problem("(file)", "", "nested too deeply")]) from None


def _own_errors(refused: ValidationError) -> Iterator[ErrorDetails]:
    """Without the complaint that a list is empty when it is so only because its entries were refused."""
    for error in refused.errors(include_url=False):
        if not (error["type"] == "too_short" and error["input"]):
            yield error


def _problem(error: ErrorDetails) -> Problem:
    loc = tuple(p for p in error["loc"] if p not in _KINDS)
    key = key_path(loc)
    value = "" if error["type"] == "missing" else shown(error["input"])
    match error["type"]:
        case "extra_forbidden":
            near = nearest(str(loc[-1]), _fields_beside(error["loc"]))
            return Problem(key, value, "unknown key", near)
        case "missing":
            return Problem(key, value, "required, but absent")
        case "union_tag_invalid" | "union_tag_not_found":
            name, known = _choices(loc)
            given = error["input"].get(name, "") if isinstance(error["input"], dict) else ""
            reason = f"needs a known {name} ({', '.join(known)})"
            return Problem(f"{key}.{name}", shown(given), reason, nearest(str(given), known))
        case "literal_error":
            allowed = str(error.get("ctx", {}).get("expected", ""))
            choices = [c.strip("'") for c in allowed.replace(" or ", ", ").split(", ")]
            return Problem(key, value, f"must be {allowed}", nearest(str(error["input"]), choices))
        case "value_error":
            return Problem(key, value, str(error["ctx"]["error"]))
        case _:
            return Problem(key, value, _plain(error["msg"]))


def _choices(loc: tuple[int | str, ...]) -> tuple[str, list[str]]:
    """The key that says what kind of table this is, and its values."""
    if loc[0] == "uplink":
        return "mode", ["hub", "direct"]
    return "kind", list(_ALERT_KINDS if loc[0] == "alert" else _LINK_KINDS)


def _plain(message: str) -> str:
    return message[0].lower() + message[1:]


def _fields_beside(loc: tuple[int | str, ...]) -> list[str]:
    """The valid keys of the table in which `loc`'s last part was found."""
    tables: list[type[BaseModel]] = [schema.Site]
    for part in loc[:-1]:
        if isinstance(part, int):
            continue
        if part in _KINDS:
            tables = [_KINDS[part]]
        else:
            fields = [t.model_fields[part] for t in tables if part in t.model_fields]
            tables = [t for f in fields for t in _tables_in(f.annotation)]
    return [name for t in tables for name in t.model_fields]


def _tables_in(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for inner in get_args(annotation):
        yield from _tables_in(inner)
