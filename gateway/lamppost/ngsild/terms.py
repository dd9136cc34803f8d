"""Which quantity goes to which attribute of which Smart Data Model: a table, and how to read it.

A *family* is one entity type for one kind of device. A device belongs to every family of which it has a signature
point; a point goes to the first of its families that knows its name. IRIs are pinned per entity type, because equal
names have different IRIs in different subjects (`temperature` of weather is not `temperature` of water). What no
family takes goes out as a DeviceMeasurement of its own: nothing is dropped.

Source: Smart Data Models (smartdatamodels.org, CC BY 4.0), schemas and contexts of the subjects named below.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

_SDM = "https://smartdatamodels.org/dataModel."
AIR, WEATHER, WATER_QUALITY = _SDM + "Environment/", _SDM + "Weather/", _SDM + "WaterQuality/"
WATER_USE, ENERGY, DEVICE = _SDM + "WaterConsumption/", _SDM + "Energy/", _SDM + "Device/"
GREEN, BATTERY, ALERT = _SDM + "GreenEnergy/", _SDM + "Battery/", _SDM + "Alert/"
HEAT = "urn:lamppost:heat:"  # no Smart Data Model has a heat meter's flow and temperatures

Take = Literal["usual", "last", "delta"]


@dataclass(frozen=True, slots=True)
class Term:
    """An attribute, and what may stand in it.

    `codes`: unit codes in order of preference. `member`: the key in a per-phase object. `take`: "usual" is the mean
    of a gauge and the last stand of a counter. `low`, `high`: what the model's schema allows, in the unit of `codes`.
    `whole`: the schema wants an integer.
    """

    iri: str
    codes: tuple[str, ...]
    member: str = ""
    take: Take = "usual"
    low: float | None = None
    high: float | None = None
    whole: bool = False
    turn: bool = False  # an angle: 370 is 10


@dataclass(frozen=True, slots=True, eq=False)
class Family:
    """An entity type, the points that call for it, and the points it takes (None: takes it to be generic)."""

    name: str
    type: str
    signature: frozenset[str]
    terms: Mapping[str, Term | None]
    ref: str
    ref_many: bool = False
    period: bool = False  # dateObservedFrom and dateObservedTo are required
    fixed: Mapping[str, str] = field(default_factory=dict)
    category: Literal["meter", "sensor"] = "sensor"


GENERIC = Family("generic", DEVICE + "DeviceMeasurement", frozenset(), {}, DEVICE + "refDevice")
NUM_VALUE = DEVICE + "numValue"
TEXT_VALUE = DEVICE + "textValue"
CONTROLLED_PROPERTY = DEVICE + "controlledProperty"
UNIT = DEVICE + "unit"


def _electricity() -> dict[str, Term | None]:
    def phases(stem: str, attribute: str, codes: tuple[str, ...], **limits: float) -> None:
        for line in "123":
            terms[f"{stem}.l{line}"] = Term(ENERGY + attribute, codes, f"L{line}", **limits)  # type: ignore[arg-type]

    terms: dict[str, Term | None] = {}
    phases("voltage", "phaseVoltage", ("VLT",), low=0)
    phases("current", "current", ("AMP",))
    phases("power", "activePower", ("WTT",))
    phases("apparent_power", "apparentPower", ("D46",), low=0)
    phases("reactive_power", "reactivePower", ("D44",))
    phases("power_factor", "powerFactor", ("C62",), low=-1, high=1)
    phases("voltage_thd", "thdVoltage", ("C62",), low=0, high=1)
    phases("current_thd", "thdCurrent", ("C62",), low=0, high=1)
    for pair in ("12", "23", "31"):
        name = f"voltage.l{pair[0]}_l{pair[1]}"
        terms[name] = Term(ENERGY + "phaseToPhaseVoltage", ("VLT",), f"L{pair}", low=0)
    for stem, attribute, code in (
        ("energy", "ActiveEnergy", "KWH"),
        ("reactive_energy", "ReactiveEnergy", "K3"),
        ("apparent_energy", "ApparentEnergy", "C79"),
    ):
        for way in ("import", "export"):
            whole = f"total{attribute}{way.title()}"
            each = f"{attribute[0].lower()}{attribute[1:]}{way.title()}"
            terms[f"{stem}.{way}"] = Term(ENERGY + whole, (code,), low=0)
            for line in "123":
                terms[f"{stem}.{way}.l{line}"] = Term(ENERGY + each, (code,), f"L{line}", low=0)
    return terms | {
        # A single-phase meter's line is L1; where the device also has l1, this one is generic.
        "voltage": Term(ENERGY + "phaseVoltage", ("VLT",), "L1", low=0),
        "current": Term(ENERGY + "current", ("AMP",), "L1"),
        "current.n": Term(ENERGY + "current", ("AMP",), "N"),
        "power": Term(ENERGY + "totalActivePower", ("WTT",)),
        "apparent_power": Term(ENERGY + "totalApparentPower", ("D46",), low=0),
        "reactive_power": Term(ENERGY + "totalReactivePower", ("D44",)),
        "power_factor": Term(ENERGY + "totalPowerFactor", ("C62",), low=-1, high=1),
        "frequency": Term(ENERGY + "frequency", ("HTZ",), low=0),
        "apparent_energy": Term(ENERGY + "totalApparentEnergyImport", ("C79",), low=0),
        "temperature": None,
        "humidity": None,
        "pressure": None,
    }


_ELECTRICITY = _electricity()


def _air(attribute: str, *codes: str, low: float | None = 0) -> Term:
    return Term(AIR + attribute, codes, low=low)


def _water(attribute: str, *codes: str, low: float | None = 0, high: float | None = None) -> Term:
    return Term(WATER_QUALITY + attribute, codes, low=low, high=high)


_AIR_TERMS: dict[str, Term | None] = {
    "pm1": _air("pm1", "GQ", low=None),
    "pm25": _air("pm25", "GQ"),
    "pm4": _air("pm4", "GQ"),
    "pm10": _air("pm10", "GQ"),
    "no": _air("no", "GQ", "61"),
    "no2": _air("no2", "GQ", "61"),
    "nox": _air("nox", "GQ", "61"),
    "o3": _air("o3", "GQ", "61"),
    "so2": _air("so2", "GQ", "61"),
    "h2s": _air("sh2", "GQ", "61"),
    "co": _air("co", "GP", "59"),
    "co2": _air("co2", "59", "GP"),
    "voc": _air("volatileOrganicCompoundsTotal", "61", "GQ"),
    "temperature": _air("temperature", "CEL", low=None),
    "humidity": Term(AIR + "relativeHumidity", ("C62",), low=0, high=1),
    "pressure": _air("pressure", "A97"),
}

_WEATHER_TERMS: dict[str, Term | None] = {
    "wind_speed": Term(WEATHER + "windSpeed", ("MTS",), low=0),
    # A direction has no arithmetic mean: the newest one stands for the window.
    "wind_direction": Term(WEATHER + "windDirection", ("DD",), take="last", turn=True),
    "wind_gust": Term(WEATHER + "gustSpeed", ("MTS",)),
    "rain": Term(WEATHER + "precipitation", ("MMT",), take="delta", low=0),
    "solar_radiation": Term(WEATHER + "solarRadiation", ("D54",), low=0),
    "illuminance": Term(WEATHER + "illuminance", ("LUX",), low=0),
    "dew_point": Term(WEATHER + "dewPoint", ("CEL",)),
    "temperature": Term(WEATHER + "temperature", ("CEL",)),
    "humidity": Term(WEATHER + "relativeHumidity", ("C62",), low=0, high=1),
    "pressure": Term(WEATHER + "atmosphericPressure", ("A97",), low=0),
}

_HEAT_TERMS: dict[str, Term | None] = {
    "energy.heat": Term(DEVICE + "totalConsumption", ("KWH",)),
    "energy.cooling": Term(HEAT + "coolingEnergy", ("KWH",)),
    "power.heat": Term(HEAT + "power", ("WTT",)),
    "power": Term(HEAT + "power", ("WTT",)),
    "flow": Term(HEAT + "flow", ("MQH",)),
    "volume": Term(HEAT + "volume", ("MTQ",)),
    "temperature.supply": Term(HEAT + "supplyTemperature", ("CEL",)),
    "temperature.return": Term(HEAT + "returnTemperature", ("CEL",)),
    "temperature.difference": None,
}

# In this order: a point that two families know goes to the first.
FAMILIES: tuple[Family, ...] = (
    Family(
        "battery",
        BATTERY + "StorageBatteryMeasurement",
        frozenset({"state_of_charge"}),
        {
            "state_of_charge": Term(BATTERY + "stateOfCharge", ("C62",), low=0, high=1),
            "state_of_health": Term(BATTERY + "stateOfHealth", ("C62",), low=0, high=1),
            "battery.power": Term(BATTERY + "activePower", ("KWT",)),
            "battery.current": Term(BATTERY + "current", ("AMP",)),
            # Below zero the schema forbids it; such a window is generic.
            "battery.temperature": Term(BATTERY + "temperature", ("CEL",), low=0),
            "battery.voltage": None,
        },
        BATTERY + "refStorageBatteryDevice",
    ),
    Family(
        "photovoltaic",
        GREEN + "PhotovoltaicMeasurement",
        frozenset({"pv.power"}),
        {
            "pv.power": Term(GREEN + "activePower", ("KWT",)),
            "pv.current": Term(GREEN + "current", ("AMP",)),
            "pv.temperature": Term(GREEN + "temperature", ("CEL",), low=0),
            "pv.voltage": None,
        },
        GREEN + "refPhotovoltaicDevice",
    ),
    Family(
        "heat",
        DEVICE + "SmartMeteringObservation",
        frozenset({"energy.heat"}),
        _HEAT_TERMS,
        DEVICE + "refDevice",
        fixed={DEVICE + "meterType": "Heat"},
        category="meter",
    ),
    Family(
        "gas",
        DEVICE + "SmartMeteringObservation",
        frozenset({"gas.volume"}),
        {"gas.volume": Term(DEVICE + "totalConsumption", ("MTQ",))},
        DEVICE + "refDevice",
        fixed={DEVICE + "meterType": "Gas"},
        category="meter",
    ),
    Family(
        "electricity",
        ENERGY + "ThreePhaseAcMeasurement",
        frozenset(_ELECTRICITY) - {"temperature", "humidity", "pressure"},
        _ELECTRICITY,
        ENERGY + "refDevice",
        ref_many=True,
        category="meter",
    ),
    Family(
        "water quality",
        WATER_QUALITY + "WaterQualityObserved",
        frozenset({"ph", "conductivity", "turbidity", "dissolved_oxygen", "orp", "salinity"}),
        {
            "ph": _water("pH", "Q30", "C62", high=14),
            "conductivity": _water("conductivity", "G42"),
            "turbidity": _water("turbidity", ""),
            "dissolved_oxygen": _water("O2", "M1"),
            "orp": _water("orp", "2Z"),
            "salinity": _water("salinity", "M1"),
            "tds": _water("tds", "M1"),
            "tss": _water("tss", "M1"),
            "temperature": _water("temperature", "CEL", low=None),
            "pressure": None,
            "level": None,
        },
        DEVICE + "refDevice",
    ),
    Family(
        "water meter",
        WATER_USE + "WaterConsumptionObserved",
        frozenset({"volume"}),
        {
            "volume": Term(WATER_USE + "waterConsumption", ("LTR",), whole=True),
            "temperature": None,
            "pressure": None,
        },
        DEVICE + "refDevice",
        category="meter",
    ),
    Family(
        "water",
        AIR + "WaterObserved",
        frozenset({"flow", "level"}),
        {
            "flow": Term(AIR + "flow", ("MQH",), low=0),
            "level": Term(AIR + "waterLevel", ("MTR",), low=0),
            "temperature": None,
            "pressure": None,
        },
        AIR + "refDevice",
    ),
    Family(
        "noise",
        AIR + "NoiseLevelObserved",
        frozenset({"noise.laeq", "noise.las", "noise.lamax"}),
        {
            "noise.laeq": Term(AIR + "LAeq", ("2N",)),
            "noise.las": Term(AIR + "LAS", ("2N",)),
            "noise.lamax": Term(AIR + "LAmax", ("2N",)),
        },
        AIR + "refDevice",
        period=True,
    ),
    Family(
        "weather",
        WEATHER + "WeatherObserved",
        frozenset(_WEATHER_TERMS) - {"temperature", "humidity", "pressure"},
        _WEATHER_TERMS,
        WEATHER + "refDevice",
    ),
    Family(
        "air",
        AIR + "AirQualityObserved",
        frozenset(_AIR_TERMS) - {"pressure"},  # a lone pressure may be a pipe's
        _AIR_TERMS,
        AIR + "refDevice",
    ),
)

# Point name or its first part → Device.controlledProperty, whose values the schema enumerates.
CONTROLLED: dict[str, str] = {
    "voltage": "power",
    "current": "power",
    "power": "power",
    "apparent_power": "power",
    "reactive_power": "power",
    "power_factor": "power",
    "frequency": "power",
    "pv": "power",
    "energy": "energy",
    "reactive_energy": "energy",
    "apparent_energy": "energy",
    "battery": "batterySupply",
    "state_of_charge": "batterySupply",
    "state_of_health": "batteryLife",
    "pm1": "airPollution",
    "pm25": "airPollution",
    "pm4": "airPollution",
    "pm10": "airPollution",
    "count": "airPollution",
    "no": "airPollution",
    "no2": "airPollution",
    "nox": "airPollution",
    "o3": "airPollution",
    "so2": "airPollution",
    "h2s": "airPollution",
    "co": "airPollution",
    "co2": "airPollution",
    "voc": "airPollution",
    "hcho": "airPollution",
    "temperature": "temperature",
    "dew_point": "temperature",
    "humidity": "humidity",
    "pressure": "pressure",
    "flow": "waterFlow",
    "volume": "waterConsumption",
    "level": "waterLevel",
    "gas": "gasConsumption",
    "noise": "noiseLevel",
    "rain": "precipitation",
    "wind_speed": "windSpeed",
    "wind_gust": "windSpeed",
    "wind_direction": "windDirection",
    "solar_radiation": "solarRadiation",
    "illuminance": "light",
    "ph": "pH",
    "orp": "orp",
    "conductivity": "conductivity",
    "turbidity": "turbidity",
    "salinity": "salinity",
    "dissolved_oxygen": "waterPollution",
    "tds": "tds",
    "tss": "tss",
}


def families_of(points: frozenset[str]) -> tuple[Family, ...]:
    """The families of a device that has these points, first claim first."""
    return tuple(family for family in FAMILIES if not family.signature.isdisjoint(points))


def controlled_property(point: str) -> str:
    """The schema's word for what a point observes, or "" where it has none."""
    return CONTROLLED.get(point) or CONTROLLED.get(point.partition(".")[0], "")
