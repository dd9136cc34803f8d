"""What all captured rows share: their fields, checked before use, and the model that a source's name stands for."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from lamppost_drivers.contract import Driver, Point, Values
from lamppost_drivers.mapfile import MapError

Row = Mapping[str, Any]

SOURCES: Mapping[str, str] = {
    "PMSx003": "pms5003",
    "SDS01x": "sds011",
    "MHZ19B": "mh-z19b",
    "A02YYUW (SEN0311)": "a02yyuw",
    "deson SDM120": "sdm120",
    "schneider PM3200": "pm3255",
    "Eastron SDM (SDM120/230/320/630)": "sdm630",
    "E+E EE210": "ee210",
    "PZEM-004T v3": "pzem004t",
    "XM9505 rain gauge": "xm9505",
    "XM7728 PM sensor": "xm7728",
    "advantech ADAM411x": "adam-411x",
    "eig Shark100": "shark100",
    "schneider ION6200": "ion6200",
    "sma SmaScNnnU": "sma-sc-us",
    "sma SmaSunnySensorbox": "sma-sensorbox",
    "Escort TD-500 fuel/level probe": "td500",
    "BTHome": "bthome-v2",
}
"""How sources of captures call models that have another name here."""


class Refused(Exception):
    """A row that is not decoded; `code` is of docs/reference/errors.md."""

    def __init__(self, code: str, why: str) -> None:
        super().__init__(why)
        self.code = code


@dataclass(frozen=True, slots=True)
class Decoded:
    """Values with the points that declare them, and the source's own fields where the format has such."""

    points: tuple[Point, ...]
    values: Values
    raw: Mapping[str, Any] = field(default_factory=dict)


def data_of(row: Row) -> bytes:
    """The bytes of `input_hex`, or of `input_text` (as Latin-1)."""
    if "input_hex" in row:
        return unhex(row["input_hex"], "input_hex")
    return text_of(row).encode("latin-1", "replace")


def text_of(row: Row) -> str:
    """`input_text`."""
    text = row.get("input_text")
    if not isinstance(text, str):
        raise Refused("device.malformed-row", "neither input_hex nor input_text")
    return text


def unhex(text: object, name: str) -> bytes:
    """Bytes of hex digits; spaces between bytes are allowed."""
    try:
        return bytes.fromhex(text)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        raise Refused("device.malformed-row", f"{name} is not hex") from None


def table_of(row: Row, name: str) -> Mapping[str, Any]:
    """A table such as `aux`; empty where it is absent."""
    found = row.get(name)
    if found is None:
        return {}
    if not isinstance(found, dict):
        raise Refused("device.malformed-row", f"{name} is no object")
    return found


def whole(value: object, name: str, low: int = 0, high: int = 0xFFFF) -> int:
    """A whole number within bounds."""
    if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
        raise Refused("device.malformed-row", f"{name} must be a whole number, {low} to {high}")
    return value


def model_of(row: Row, find: Callable[[str], Driver]) -> Driver:
    """The driver of the row's model: by its own name, or by the name that a source of captures gives it."""
    model = row.get("model")
    if not isinstance(model, str):
        raise Refused("device.malformed-row", "model is missing")
    dashed = re.sub(r"[^a-z0-9]+", "-", model.lower()).strip("-")
    for name in (model, SOURCES.get(model), dashed, dashed.replace("-", "")):
        try:
            return find(name or "")
        except LookupError:
            continue
        except MapError as wrong:
            raise Refused("device.map-invalid", str(wrong)) from None
    raise Refused(
        "device.unknown-model", f"no driver for {model[:60]!r}; see: lamppost device search"
    )
