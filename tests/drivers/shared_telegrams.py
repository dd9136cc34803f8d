"""Captured telegrams and advertisements: M-Bus, P1, BTHome v2, Ruuvi, put to their drivers."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence

from drivers.verdict import NotClaimed, Pair, Row
from lamppost_drivers.ble import bthome as bthome_driver
from lamppost_drivers.ble import ruuvi as ruuvi_driver
from lamppost_drivers.contract import Absent, Advertisement, FrameError, StreamDriver, Values
from lamppost_drivers.electricity import p1 as p1_driver
from lamppost_drivers.framing import Framer, MbusFraming, first
from lamppost_drivers.library import find
from lamppost_drivers.mbus.frame import answer
from lamppost_drivers.mbus.records import Record, Telegram, telegram
from lamppost_drivers.selftest import stream

# -- M-Bus ---------------------------------------------------------------------------------------------------

QUANTITIES = {
    "Energy": "energy", "Volume": "volume", "Power": "power", "Volume flow": "flow", "Voltage": "voltage",
    "Current": "current", "Flow temperature": "flow temperature", "Return temperature": "return temperature",
    "External temperature": "external temperature", "Temperature difference": "temperature difference",
    "Operating time": "operating time", "On time": "on time",
}  # fmt: skip
FUNCTIONS = ("Instantaneous value", "Maximum value", "Minimum value", "Value during error state")


def mbus(row: Row) -> Iterable[Pair]:
    """All records of a telegram against libmbus, or the fields of the rows of another source by value."""
    expected = row["expected"]
    try:
        said = _telegram(row)
    except FrameError as reason:
        if expected.get("kind") == "error":
            return [Pair("refused", bool(str(reason)), True)]
        raise
    if expected.get("kind") == "error":
        return [Pair("refused", "accepted", True)]
    return mbus_pairs(said, row)


def mbus_pairs(said: Telegram, row: Row) -> list[Pair]:
    expected = row["expected"]
    if expected.get("kind") == "telegram":
        return list(_records(said, expected))
    return list(_fields(said, expected))


def _telegram(row: Row) -> Telegram:
    got = answer(first(MbusFraming(), bytes.fromhex(row["input_hex"])))
    return telegram(got.ci, got.data)


def _records(said: Telegram, expected: Row) -> Iterator[Pair]:
    slave = expected["slave"]
    yield Pair("id", said.header.identification.lstrip("0"), slave["Id"].lower().lstrip("0"))
    if slave.get("Manufacturer"):
        yield Pair("manufacturer", said.header.manufacturer, slave["Manufacturer"])
    yield Pair("records", len(said.records), len(expected["records"]))
    for ours, theirs in zip(said.records, expected["records"], strict=False):
        yield from _record(ours, theirs)


def _record(ours: Record, theirs: Mapping[str, object]) -> Iterator[Pair]:
    name = f"{theirs['id']} {theirs['quantity']}"
    places = (ours.storage, ours.tariff, ours.subunit)
    yield Pair(f"{name} place", str(places), str(_places(theirs)))
    if theirs["function"] in FUNCTIONS:
        yield Pair(f"{name} function", FUNCTIONS[ours.function], theirs["function"])
    if theirs["quantity"] in QUANTITIES:
        yield Pair(f"{name} quantity", ours.quantity, QUANTITIES[str(theirs["quantity"])])
    got: object = Absent.NOT_AVAILABLE if ours.value is None else ours.value
    want = theirs["value"]
    if ours.value is None and theirs["function"] == "Value during error state":
        return  # BCD digits above 9: the other decoder makes a number of them, here they are none
    if isinstance(want, str):
        yield Pair(name, str(ours.value or ""), want.removesuffix(":00Z"))
    elif isinstance(got, str) and ours.quantity == "manufacturer specific":
        yield Pair(name, int(got.replace(" ", "") or "0", 16), want)
    else:
        yield Pair(name, got, want)


def _places(theirs: Mapping[str, object]) -> tuple[object, object, object]:
    return (theirs["storage"], theirs["tariff"] or 0, theirs["device"] or 0)


SUFFIXES: Mapping[str, tuple[str, float]] = {
    "_kwh": ("energy", 1e-3), "_m3": ("volume", 1), "_kw": ("power", 1e-3), "_m3h": ("flow", 1), "_v": ("voltage", 1),
    "_a": ("current", 1), "_c": ("", 1), "_hca": ("heat cost", 1), "_kvarh": ("", 1e-3),
}  # fmt: skip


def _fields(said: Telegram, expected: Row) -> Iterator[Pair]:
    """Rows that name their fields themselves: each number must be among the records of its quantity."""
    identification = expected.get("id")
    if identification:
        yield Pair("id", said.header.identification, identification)
    for name, want in expected.items():
        suffix = next((s for s in SUFFIXES if name.endswith(s)), None)
        if suffix is None or not isinstance(want, int | float) or name == "forward_energy_m3c":
            continue
        quantity, factor = SUFFIXES[suffix]
        numbers = [
            record.value * (factor / 3600 if record.unit == "J" else factor)
            for record in said.records
            if isinstance(record.value, int | float) and quantity in (record.quantity, "")
        ]
        numbers += [number / 1000 for number in numbers if expected.get("meter") == "iem3000"]
        nearest = min(numbers, key=lambda number: abs(number - want), default=None)
        yield Pair(name, nearest, want, 0.51e-6 if isinstance(want, float) else 0.0)


# -- P1 ------------------------------------------------------------------------------------------------------

P1_NAMES = {
    "ELECTRICITY_USED_TARIFF_": "energy.import.t", "ELECTRICITY_DELIVERED_TARIFF_": "energy.export.t",
    "ELECTRICITY_IMPORTED_TOTAL": "energy.import", "ELECTRICITY_EXPORTED_TOTAL": "energy.export",
    "ELECTRICITY_REACTIVE_IMPORTED_TOTAL": "reactive_energy.import",
    "ELECTRICITY_REACTIVE_EXPORTED_TOTAL": "reactive_energy.export",
    "CURRENT_ELECTRICITY_USAGE": "power.import", "CURRENT_ELECTRICITY_DELIVERY": "power.export",
    "INSTANTANEOUS_VOLTAGE_L": "voltage.l", "INSTANTANEOUS_CURRENT_L": "current.l",
    "ELECTRICITY_ACTIVE_TARIFF": "tariff", "SHORT_POWER_FAILURE_COUNT": "power_failures.short",
    "LONG_POWER_FAILURE_COUNT": "power_failures.long", "BELGIUM_CURRENT_AVERAGE_DEMAND": "power.import.average",
    "BELGIUM_MAXIMUM_DEMAND_MONTH": "power.import.peak", "VOLTAGE_SAG_L": "voltage_sags.l",
    "VOLTAGE_SWELL_L": "voltage_swells.l", "HOURLY_GAS_METER_READING": "gas.volume", "GAS_METER_READING": "gas.volume",
    "BELGIUM_GAS_METER_READING": "gas.volume", "ACTUAL_SWITCH_POSITION": "breaker",
}  # fmt: skip
SE_NAMES = {
    "active_power": "power",
    "reactive_power": "reactive_power",
    "voltage": "voltage",
    "current": "current",
}


def p1(row: Row) -> Iterable[Pair]:
    """Whole telegrams by their values, single lines by code and value."""
    text = row["input_text"]
    if row["input_kind"] == "one P1 data line":
        return list(_line(text, row["expected"]))
    driver = find("dsmr2" if "v2-2" in row["id"] else "dsmr")
    assert isinstance(driver, StreamDriver)
    ended = text if text.endswith("\r\n") or "reject" in str(row["expected"]) else text + "\r\n"
    data = ended.encode("latin-1")
    frames = list(Framer(driver.framing).feed(data))
    values = stream(driver, [data])
    if len(values) != 1:
        raise FrameError(f"{len(values)} telegrams")
    return telegram_pairs(values[0], p1_driver.objects(frames[0]), row)


Objects = Mapping[str, Sequence[Sequence[str]]]


def telegram_pairs(values: Values, found: Objects, row: Row) -> list[Pair]:
    expected = row["expected"]
    if "obis" in expected:
        return [
            Pair(code, found.get(code, [("", "")])[-1][0], entry["value"])
            for code, entry in expected["obis"].items()
        ]
    return list(
        _objects(values, expected["objects"])
        if "objects" in expected
        else _swedish(values, expected)
    )


def _line(text: str, expected: Row) -> Iterator[Pair]:
    return line_pairs(p1_driver.objects(f"{text}\r\n".encode()), text, expected)


def line_pairs(found: Objects, text: str, expected: Row) -> Iterator[Pair]:
    yield Pair("one object", len(found), 1)
    ((code, pairs),) = found.items()
    yield Pair("code", text.startswith(code), True)
    found_pairs = [(value, unit or None) for value, unit in pairs]
    for want in expected["values"]:
        yield Pair("value and unit", (want["value"], want["unit"]) in found_pairs, True)


def _objects(values: Values, objects: Mapping[str, Mapping[str, object]]) -> Iterator[Pair]:
    for key, entry in objects.items():
        name = _p1_name(key.rstrip("]"))
        want = entry.get("value")
        if name is None or want is None:
            continue
        if isinstance(want, str):
            want = int(want) if want.isdecimal() else want
        if entry.get("unit") == "kW" and isinstance(want, int | float):
            want = want * 1000
        yield Pair(key, values.get(name), want)


def _p1_name(key: str) -> str | None:
    for known, name in P1_NAMES.items():
        rest = key.removeprefix(known)
        if rest != key and (rest.isdecimal() or rest in ("", "_COUNT")):
            return name + rest.removesuffix("_COUNT")
    phase = re.fullmatch(r"INSTANTANEOUS_ACTIVE_POWER_L([123])_(POSITIVE|NEGATIVE)", key)
    if phase:
        return f"power.{'import' if phase[2] == 'POSITIVE' else 'export'}.l{phase[1]}"
    sag = re.fullmatch(r"VOLTAGE_(SAG|SWELL)_L([123])_COUNT", key)
    return f"voltage_{sag[1].lower()}s.l{sag[2]}" if sag else None


def _swedish(values: Values, expected: Row) -> Iterator[Pair]:
    """Totals in Wh, and integers of watts with the fraction cut off by the source."""
    for key, want in expected.items():
        parts = re.fullmatch(r"(active_power|reactive_power)_(import|export)(_total|_l[123])?", key)
        if parts and parts[3] == "_total":
            energy = "energy" if parts[1] == "active_power" else "reactive_energy"
            got = values.get(f"{energy}.{parts[2]}")
            yield Pair(key, got * 1000 if isinstance(got, int | float) else got, want, 1.0)
        elif parts:
            yield Pair(
                key,
                values.get(f"{SE_NAMES[parts[1]]}.{parts[2]}{(parts[3] or '').replace('_', '.')}"),
                want,
                1.0,
            )
        elif re.fullmatch(r"(voltage|current)_l[123]", key):
            yield Pair(key, values.get(key.replace("_", ".")), want)


# -- BLE -----------------------------------------------------------------------------------------------------

BLE_NAMES = {
    "dewpoint": "dew_point", "dew_point": "dew_point", "energy": "energy.total", "gas": "gas.volume", "pm2.5": "pm25",
    "water": "water.volume", "volume flow rate": "flow", "volume_flow_rate": "flow", "carbon_dioxide": "co2",
    "garage door": "garage_door", "moisture detected": "moisture_detected", "count": "count", "light": "light",
    "volatile_organic_compounds": "tvoc", "precipitation": "rain",
}  # fmt: skip
TO_THEIRS: Mapping[str, float] = {  # by our point; theirs are hPa, litres, µS/cm, mm
    "pressure": 0.01, "water.volume": 1000, "volume": 1000, "volume.stored": 1000, "conductivity": 10_000,
}  # fmt: skip
PASSED_OVER = {
    "firmware",
    "type",
    "mac",
    "packet",
    "rssi",
    "signal_strength",
    "timestamp",
    "voltage_mode",
}
EVENTS = {"double press": 2}


def bthome(row: Row) -> Iterable[Pair]:
    """HCI events and scanned advertisements; a row without a reading must yield none."""
    advertisement = _advertisement(row)
    key = bytes.fromhex(row.get("key_hex") or row.get("aux", {}).get("key_hex") or "")
    wanted = bthome_wanted(row)
    try:
        values = bthome_driver.decode(advertisement, key)
    except FrameError:
        if wanted:
            raise
        return [Pair("no reading", True, True)]
    if "encrypted" in str(row["expected"].get("device", {}).get("sw_version", "")) and not key:
        return [Pair("encrypted, no key", values, None)]
    return bthome_pairs(values, row)


def bthome_wanted(row: Row) -> dict[str, object]:
    """What the source says of the advertisement, without what belongs to the radio."""
    expected = row["expected"]
    wanted = {k: v for k, v in expected.items() if k not in PASSED_OVER} if "values" not in expected else {
        k: v["value"] for k, v in expected["values"].items() if k not in PASSED_OVER
    }  # fmt: skip
    return wanted | dict(expected.get("binary_values", {}))


def bthome_pairs(values: Values, row: Row) -> list[Pair]:
    wanted = bthome_wanted(row)
    pairs = [_bthome_pair(values, name, want) for name, want in wanted.items()]
    return pairs or [Pair("only a time or an event", all(n not in BLE_NAMES for n in values), True)]


def _bthome_pair(values: Values, name: str, want: object) -> Pair:
    if isinstance(want, str) and want in EVENTS:
        want = EVENTS[want]
    name = name.removeprefix("binary:")
    ours = BLE_NAMES.get(name, re.sub(r"_(\d)$", lambda m: "" if m[1] == "1" else f".{m[1]}", name))
    candidates = [v for n, v in values.items() if re.fullmatch(rf"{re.escape(ours)}(\.[2-9])?", n)]
    factor = TO_THEIRS.get(ours, 1000 if name == "distance" and isinstance(want, int) else 1)
    if name == "mass" and isinstance(want, float) and candidates and not _near(candidates[0], want):
        factor = 1 / 0.45359237
    scaled = [v * factor if isinstance(v, int | float) else v for v in candidates]
    got = next((value for value in scaled if _near(value, want)), scaled[0] if scaled else None)
    return Pair(name, got, want)


def _near(got: object, want: object) -> bool:
    return Pair("", got, want).fits()


def _advertisement(row: Row) -> Advertisement:
    adv = row.get("adv")
    if adv:
        service = {uuid: bytes.fromhex(data) for uuid, data in adv["service_data"].items()}
        return Advertisement(adv["address"], service=service)
    return _hci(bytes.fromhex(row["input_hex"]))


def _hci(event: bytes) -> Advertisement:
    """An LE advertising report (subevent 02): address at 7, length of the data at 13, then AD structures."""
    if event[3] != 0x02:
        raise NotClaimed("extended advertising report")
    address = event[12:6:-1].hex(":")
    data, service, manufacturer = event[14 : 14 + event[13]], {}, {}
    while data and data[0]:
        piece, data = data[1 : 1 + data[0]], data[1 + data[0] :]
        if piece[0] == 0x16:
            service[f"0000{piece[2]:02x}{piece[1]:02x}-0000-1000-8000-00805f9b34fb"] = piece[3:]
        elif piece[0] == 0xFF:
            manufacturer[int.from_bytes(piece[1:3], "little")] = piece[3:]
    return Advertisement(address, manufacturer, service)


RUUVI_NAMES = {
    "temperature_celsius": "temperature", "humidity_percentage": "humidity", "pressure_hpa": "pressure",
    "pm25_ug_m3": "pm25", "pm1_ug_m3": "pm1", "pm4_ug_m3": "pm4", "pm10_ug_m3": "pm10", "pm_2_5": "pm25",
    "co2_ppm": "co2", "voc": "voc_index", "nox": "nox_index", "luminosity_lux": "illuminance",
    "luminosity": "illuminance", "sound_avg_dba": "sound.average", "measurement_sequence_number": "sequence",
    "calibration_in_progress": "calibrating",
    "voltage": "battery.voltage", "battery": "battery.voltage", "acceleration_x": "acceleration.x",
    "acceleration_y": "acceleration.y", "acceleration_z": "acceleration.z",
}  # fmt: skip
OTHERS = {"mac", "data_format", "acceleration", "acceleration_total", "tx_power"}
SPEC = {"Temperature": "temperature", "Pressure": "pressure", "Humidity": "humidity", "Voltage": "battery.voltage",
        "Movement counter": "movement", "Measurement Sequence": "sequence"}  # fmt: skip


def ruuvi(row: Row) -> Iterable[Pair]:
    """Manufacturer data of all four formats."""
    payload = bytes.fromhex(row["input_hex"])
    values = ruuvi_driver.decode(
        Advertisement("", manufacturer={ruuvi_driver.COMPANY: payload}), b""
    )
    return ruuvi_pairs(values, payload[0], row)


def ruuvi_pairs(values: Values, format_: int, row: Row) -> list[Pair]:
    expected = row["expected"]
    if "fields_as_text" in expected:
        texts = expected["fields_as_text"]
        return [
            Pair(name, values[ours], float(texts[name].split()[0])) for name, ours in SPEC.items()
        ]
    return [
        _ruuvi_pair(values, name, want, format_)
        for name, want in expected.items()
        if name not in OTHERS
    ]


def _ruuvi_pair(values: Values, name: str, want: object, format_: int) -> Pair:
    ours = RUUVI_NAMES.get(name, name)
    got: object = values.get(ours)
    digits = 0.0
    if isinstance(got, float | int) and not isinstance(got, bool):
        if ours == "pressure":
            got = got / 100
        elif ours == "battery.voltage":
            got = got * 1000
        elif ours.startswith("acceleration") and isinstance(want, int):
            got = got / ruuvi_driver.GRAVITY * 1000
        if isinstance(want, float):
            digits = 0.0051
        elif ours == "illuminance":
            digits = 0.51
    return Pair(name, got, want, digits)
