"""What sources of captured dumps call the points of meters that are configured on site, of SMA and of inputs."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence

from drivers.verdict import Pair, Row, printed
from lamppost_drivers.contract import Values

# the source's getter → point, and how many of the source's unit one of ours is
Names = Mapping[str, tuple[str, float]]
ION6200: Names = {
    "getFrequency": ("frequency", 1), "getVoltage": ("voltage.average", 1),
    "getLineVoltage": ("voltage.average_ll", 1), "getCurrent": ("current.average", 1),
    "getPowerFactor": ("power_factor", 100), "getActivePower": ("power", 1),
    "getApparentPower": ("apparent_power", 1), "getReactivePower": ("reactive_power", 1),
    "getActiveEnergyDelivered": ("energy.import", 1000), "getActiveEnergyReceived": ("energy.export", 1000),
    "getReactiveEnergyDelivered": ("reactive_energy.import", 1000),
    "getReactiveEnergyReceived": ("reactive_energy.export", 1000),
}  # fmt: skip
SHARK100: Names = {
    **ION6200,
    "getPowerFactor": ("power_factor", 1),
    # "received" is what the meter sees flow back, and the positive var-hours
    "getReactiveEnergyDelivered": ("reactive_energy.export", 1000),
    "getReactiveEnergyReceived": ("reactive_energy.import", 1000),
}
SC_US: Names = {
    "getActiveEnergyExported": ("energy.export", 1000), "getActivePower": ("power", 1),
    "getActivePowerMaximum": ("power.max", 1), "getActivePowerPermanentLimit": ("power.limit", 1),
    "getActivePowerTarget": ("power.target", 1), "getApparentPower": ("apparent_power", 1),
    "getCabinetTemperature": ("temperature.cabinet", 1), "getCurrent": ("current", 1),
    "getDcCurrent": ("dc.current", 1), "getDcPower": ("dc.power", 1), "getDcVoltage": ("dc.voltage", 1),
    "getExternalTemperature": ("temperature.outside", 1), "getFeedInTime": ("feed_in_time", 1),
    "getFrequency": ("frequency", 1), "getHeatSinkTemperature": ("temperature.heat_sink", 1),
    "getLineVoltageLine1Line2": ("voltage.l1_l2", 1), "getLineVoltageLine2Line3": ("voltage.l2_l3", 1),
    "getLineVoltageLine3Line1": ("voltage.l3_l1", 1), "getOperatingTime": ("operating_time", 1),
    "getReactivePower": ("reactive_power", 1), "getVoltage": ("voltage.average_ll", 1),
    "getDeviceOperatingState": ("state", 1),
}  # fmt: skip
SENSORBOX: Names = {
    "getExternalIrradiance": ("irradiance.external", 1),
    "getModuleTemperature": ("temperature.module", 1),
    "getTemperature": ("temperature", 1),
    "getWindSpeed": ("wind.speed", 1),
}
ADAM: Names = {
    "getModelName": ("module", 1),
    "getFirmwareRevision": ("firmware", 1),
    "getChannelType": ("in{}.range", 1),
}
ENUMS: Mapping[object, object] = {
    "enum:Normal": 309,
    "enum:ZERO": 0,
    "enum:PlusMinusOneHundredFiftyMilliVolts": 0x0C,
}
"""What the source makes of a code: SMA's status 309 is operation, the type code 0Ch of an ADAM is ±150 mV."""
NO_READING = (
    "getName()", "getSerialNumber()", "getDeviceType()", "getVoltsMode()", "getUnsignedInt16(", "getDeviceKind()",
)  # fmt: skip
"""Identity and settings; the kind of an SMA device is what the source's test itself put in."""
PHASE = re.compile(r"(?:[Pp]hase(?: \w+)?|voltage) ([abc]{1,2}) ")
LINES = {"a": "l1_l2", "b": "l2_l3", "c": "l3_l1"}


def pairs(row: Row, values: Values) -> list[Pair]:
    """All assertions of a row about readings."""
    return list(_READERS[row["model"]](row, values))


def claimed(row: Row) -> bool:
    """Whether rows of this model are read here."""
    return row["model"] in _READERS


def _asserts(row: Row) -> Iterator[tuple[str, str, object]]:
    for key, want in row["expected"]["asserts"].items():
        getter = re.search(r"\| *(get\w+)\(", key)
        if any(word in key for word in NO_READING):
            continue
        if "getFirmwareRevision()" in key and row["model"] != "advantech ADAM411x":
            continue  # a text beside the readings; the module of inputs has it as a point
        if key.endswith("getDeviceOperatingState()") and want is None:
            continue  # a class without such a register
        assert getter, key
        yield key, getter[1], ENUMS.get(want, want)


def _named(names: Names) -> Callable[[Row, Values], Iterator[Pair]]:
    def read(row: Row, values: Values) -> Iterator[Pair]:
        for key, getter, want in _asserts(row):
            name, factor = names[getter]
            yield _pair(key, values.get(_phased(name, getter, key)), want, factor)

    return read


def _phased(name: str, getter: str, key: str) -> str:
    phase = PHASE.search(key)
    if phase is None:
        return name
    if getter == "getLineVoltage":
        return f"voltage.{LINES[phase[1][0]]}"
    return f"{name.removesuffix('.average')}.l{'abc'.index(phase[1]) + 1}"


def _shark(row: Row, values: Values) -> Iterator[Pair]:
    """The source itself adds the three currents, and takes the mean of voltages; it gives energies without a sign."""
    made = dict(values)
    for name, parts, share in (
        ("current.average", "current.l1 current.l2 current.l3", 1),
        ("voltage.average", "voltage.l1 voltage.l2 voltage.l3", 3),
        ("voltage.average_ll", "voltage.l1_l2 voltage.l2_l3 voltage.l3_l1", 3),
    ):
        numbers = [values[part] for part in parts.split()]
        assert all(isinstance(number, float) for number in numbers)
        made[name] = sum(n for n in numbers if isinstance(n, float)) / share
    yield from _named(SHARK100)(row, made)


def _adam(row: Row, values: Values) -> Iterator[Pair]:
    for key, getter, want in _asserts(row):
        name, _ = ADAM[getter]
        if getter == "getFirmwareRevision":
            got = values[name]
            assert isinstance(got, int)
            yield Pair(key, f"{got:X}", want)
        elif getter == "getModelName":
            yield Pair(key, str(values[name]), want)
        else:  # the source asserts it for each of the eight inputs
            yield from (Pair(f"{key} {i}", values[name.format(i)], want) for i in range(8))


def _pair(key: str, got: object, want: object, factor: float) -> Pair:
    """Integers of the source are watts and watt-hours with the fraction cut off."""
    if isinstance(got, int | float):
        got = got * factor
    digits = 1.0 if isinstance(want, int) else printed(want) if isinstance(want, float) else 0.0
    return Pair(key, got, want, min(digits, 1.0))


_READERS: Mapping[str, Callable[[Row, Values], Iterator[Pair]]] = {
    "schneider ION6200": _named(ION6200),
    "eig Shark100": _shark,
    "sma SmaScNnnU": _named(SC_US),
    "sma SmaSunnySensorbox": _named(SENSORBOX),
    "advantech ADAM411x": _adam,
}
MODELS: Mapping[str, str] = {
    "schneider ION6200": "ion6200",
    "eig Shark100": "shark100",
    "sma SmaScNnnU": "sma-sc-us",
    "sma SmaSunnySensorbox": "sma-sensorbox",
    "advantech ADAM411x": "adam-411x",
}


def constants(row: Row, values: Values) -> Iterator[Pair]:
    """SMA's values for "none", a type at a time; None where there is one."""
    for key, want in row["expected"]["asserts"].items():
        type_ = re.search(r"\w+$", key.rstrip(")"))
        assert type_
        got = values[type_[0].lower()]
        yield Pair(key, not isinstance(got, int | float), want)


def webbox(row: Row, devices: Sequence[Mapping[str, int]]) -> Iterator[Pair]:
    """The list of devices behind a WebBox, by place."""
    fields = {"getDeviceId()": "kind", "getUnitId()": "unit", "getSerialNumber()": "serial"}
    for key, want in row["expected"]["asserts"].items():
        place = re.search(r"Reference (\d+) ", key)
        assert place, key
        field = next(field for getter, field in fields.items() if key.endswith(getter))
        yield Pair(key, devices[int(place[1]) - 1][field], want)


SETTINGS = {
    "getActivePowerMaximum": "power.max", "getPccVoltage": "voltage.reference",
    "getPccVoltageOffset": "voltage.reference_offset", "getVoltageMaximum": "voltage.max",
    "getVoltageMinimum": "voltage.min", "getApparentPowerMaximum": "apparent_power.max",
    "getReactivePowerQ1Maximum": "reactive_power.max_q1", "getReactivePowerQ2Maximum": "reactive_power.max_q2",
    "getReactivePowerQ3Maximum": "reactive_power.max_q3", "getReactivePowerQ4Maximum": "reactive_power.max_q4",
    "getActivePowerRampRate": "power.ramp", "getPowerFactorQ1Minimum": "power_factor.min_q1",
    "getPowerFactorQ2Minimum": "power_factor.min_q2", "getPowerFactorQ3Minimum": "power_factor.min_q3",
    "getPowerFactorQ4Minimum": "power_factor.min_q4",
    "getImportExportChangeReactivePowerAction": "reactive_power.action",
    "getApparentPowerCalculationMethod": "apparent_power.method", "getEcpFrequency": "frequency.nominal",
    "getConnectedPhase": "phase",
}  # fmt: skip


def settings(row: Row, values: Mapping[str, object]) -> Iterator[Pair]:
    """Settings of a SunSpec inverter that a row asserts; one that the device does not have is None."""
    for key, want in row["expected"]["asserts"].items():
        getter = re.search(r"\| *(get\w+)\(\)$", key)
        if getter and getter[1] in SETTINGS and not key.startswith("block"):
            yield Pair(key, values.get(SETTINGS[getter[1]]), want)
