"""A captured row (family, model, bytes or text) through the drivers: readings and source fields, or why it is refused.

Pure, and quiet whatever comes: `answer` never raises. The rows are those of the captured test vectors, see
docs/how-to/add-a-device.md.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any

from lamppost.cli import (
    captured_air,
    captured_ble,
    captured_commands,
    captured_modbus,
    captured_sma,
    captured_telegrams,
)
from lamppost.cli.captured_row import Decoded, Refused, Row, data_of, model_of
from lamppost.quality.checks import of_value
from lamppost_drivers.contract import (
    Absent,
    BroadcastDriver,
    Driver,
    ExchangeDriver,
    FrameError,
    Point,
    RegisterMap,
    StreamDriver,
)

Find = Callable[[str], Driver]
LONGEST_LINE = 1024 * 1024

_FAMILIES: Mapping[str, Callable[[Row, Find], Decoded | None]] = {
    "air/sensirion_shdlc": captured_air.shdlc,
    "air/sensirion_i2c": captured_air.words,
    "air/bosch": captured_air.bosch,
    "air/nova_sds": captured_commands.nova,
    "air/honeywell_hpma": captured_commands.honeywell_hpma,
    "modbus/vendor_example": partial(captured_commands.modbus, known=model_of),
    "modbus/conversion": captured_modbus.conversion,
    "modbus/meter_dump": partial(captured_sma.dump, read=captured_modbus.dump),
    "modbus/rtu_framing": captured_modbus.framing,
    "modbus/sunspec": captured_modbus.sunspec,
    "mbus": captured_telegrams.mbus,
    "dsmr_p1": captured_telegrams.p1,
    "ble/bthome_v2": captured_ble.bthome,
    "ble/ruuvi": captured_ble.ruuvi,
}
"""What a family needs beyond its model's driver; None hands the row on to that driver."""


def answers(line: bytes, find: Find) -> dict[str, Any]:
    """The answer to one line of JSON; a line that is none is refused too."""
    if len(line) > LONGEST_LINE:
        return _refusal(None, "device.malformed-row", f"longer than {LONGEST_LINE} bytes")
    try:
        row = json.loads(line)
    except (ValueError, RecursionError) as wrong:
        return _refusal(None, "device.malformed-row", f"not JSON: {wrong}")
    if not isinstance(row, dict):
        return _refusal(None, "device.malformed-row", "not a JSON object")
    return answer(row, find)


def answer(row: Row, find: Find) -> dict[str, Any]:
    """`{"id", "readings", "raw"}` or `{"id", "refused", "why"}` of a row; safe to print as JSON."""
    name = row.get("id")
    name = name if isinstance(name, str | int) else None
    try:
        found = decoded(row, find)
    except Refused as refused:
        return _refusal(name, refused.code, str(refused))
    except FrameError as refused:
        return _refusal(name, "device.frame", str(refused))
    except RecursionError:
        return _refusal(name, "device.malformed-row", "nested too deeply")
    except Exception as bug:  # noqa: BLE001 - as in acquire.outcome: a driver's bug is told, not thrown at people
        return _refusal(name, "device.driver-error", f"{type(bug).__name__}: {bug}")
    raw = dict(found.raw)
    reasons = {n: v.value for n, v in found.values.items() if isinstance(v, Absent)}
    if reasons:
        raw["absent"] = reasons
    return {"id": name, "readings": list(readings(found)), "raw": _plain(raw)}


def decoded(row: Row, find: Find) -> Decoded:
    """What the drivers make of a row. Raises Refused or FrameError."""
    special = _FAMILIES.get(str(row.get("family", "")))
    if special is not None and (found := special(row, find)) is not None:
        return found
    driver = model_of(row, find)
    match driver:
        case RegisterMap():
            return captured_modbus.registers(row, driver)
        case BroadcastDriver():
            return captured_ble.advertised(row, driver)
        case StreamDriver() | ExchangeDriver():
            return captured_air.played(driver, data_of(row))
        case _:
            raise Refused("device.no-frame", f"{driver.model} counts pulses, it sends no bytes")


def readings(found: Decoded) -> Iterator[dict[str, Any]]:
    """The values as readings, in the order of the model's points; those that no point declares come last."""
    points = {point.name: point for point in found.points}
    names = [name for name in points if name in found.values]
    names += [name for name in found.values if name not in points]
    for name in names:
        point = points.get(name, Point(name, "", -math.inf, math.inf))
        reading = of_value(point, found.values[name])
        yield {
            "point": name,
            "value": _plain(reading.value),
            "unit": point.unit,
            "quality": reading.quality.reason,
        }


def _refusal(name: str | int | None, code: str, why: str) -> dict[str, Any]:
    return {"id": name, "refused": code, "why": why[:300]}


def _plain(value: object) -> Any:
    """What JSON can carry: a float that is no number becomes null."""
    match value:
        case float():
            return value if math.isfinite(value) else None
        case dict():
            return {str(key): _plain(each) for key, each in value.items()}
        case list() | tuple():
            return [_plain(each) for each in value]
        case None | bool() | int() | str():
            return value
        case _:
            return str(value)
