"""Pulse outputs: S0 and reed contacts of meters, hall flow sensors, tipping buckets. Data only.

S0: EN 62053-31, pulse and pause of at least 30 ms. Reed contacts bounce for up to 10 ms and more in old meters.
"""

from __future__ import annotations

from lamppost_drivers.contract import Documentation, Kind, Point, PulseDriver

REED_BOUNCE, S0_BOUNCE, HALL_BOUNCE = 0.1, 0.02, 0.0001
JOULES_PER_KWH = 3_600_000


def _s0(per_kwh: int) -> PulseDriver:
    return PulseDriver(
        model=f"s0-{per_kwh}",
        total=Point("energy.import", "kWh", 0, 1e7, Kind.COUNTER),
        rate=Point("power", "W", 0, 100_000),
        per_pulse=1 / per_kwh,
        rate_per_hertz=JOULES_PER_KWH / per_kwh,
        debounce=S0_BOUNCE,
        edge="falling",
        documentation=Documentation(
            (f"any meter with S0 output, {per_kwh} pulses per kWh",),
            "EN 62053-31 class A and B; constant on the meter's plate",
        ),
    )


def _contact(
    model: str, product: str, total: Point, rate: Point, litres: float, bounce: float
) -> PulseDriver:
    cubic = litres / 1000
    return PulseDriver(
        model=model,
        total=total,
        rate=rate,
        per_pulse=cubic,
        rate_per_hertz=cubic * 3600,
        debounce=bounce,
        edge="falling",
        documentation=Documentation(
            (f"{product}, {litres:g} l per pulse",), "pulse value on the meter's plate"
        ),
    )


def _water(litres: float) -> PulseDriver:
    total, rate = Point("volume", "m3", 0, 1e7, Kind.COUNTER), Point("flow", "m3/h", 0, 1000)
    name = f"{litres:g}".replace(".", "-")
    return _contact(
        f"water-pulse-{name}l",
        "any water meter with reed contact",
        total,
        rate,
        litres,
        REED_BOUNCE,
    )


def _gas(litres: float) -> PulseDriver:
    total, rate = (
        Point("gas.volume", "m3", 0, 1e7, Kind.COUNTER),
        Point("gas.flow", "m3/h", 0, 1000),
    )
    return _contact(
        f"gas-pulse-{litres:g}l", "any gas meter with LF pulse", total, rate, litres, REED_BOUNCE
    )


def _hall(model: str, product: str, pulses_per_litre: float, highest: float) -> PulseDriver:
    return PulseDriver(
        model=model,
        total=Point("volume", "m3", 0, 1e6, Kind.COUNTER),
        rate=Point("flow", "l/min", 0, highest),
        per_pulse=0.001 / pulses_per_litre,
        rate_per_hertz=60 / pulses_per_litre,
        debounce=HALL_BOUNCE,
        edge="rising",
        documentation=Documentation(
            (product,),
            "maker's data sheet",
            (
                "Good to 10 % unless calibrated.",
                "Below its range it gives no pulses: flow is 0, not stale.",
            ),
        ),
    )


def _bucket(millimetres: float) -> PulseDriver:
    return PulseDriver(
        model=f"rain-tip-{f'{millimetres:g}'.replace('.', '-')}mm",
        total=Point("rain", "mm", 0, 100_000, Kind.COUNTER),
        rate=Point("rain.rate", "mm/h", 0, 500),
        per_pulse=millimetres,
        rate_per_hertz=millimetres * 3600,
        debounce=REED_BOUNCE,
        edge="falling",
        documentation=Documentation(
            (f"any tipping bucket of {millimetres:g} mm",),
            "WMO-No. 8, chapter 6",
            ("Clean the funnel twice a year.",),
        ),
    )


DRIVERS = (
    *(_s0(constant) for constant in (500, 800, 1000, 2000, 10000)),
    *(_water(litres) for litres in (0.25, 0.5, 1, 2.5, 10, 100, 1000)),
    *(_gas(litres) for litres in (10, 100)),
    _hall("yf-s201", "YF-S201 G1/2", 450, 30),
    _hall("fs200a", "FS200A G1/2", 450, 25),
    _hall("fs400a", "FS400A G1", 390, 60),
    _hall("yf-s401", "YF-S401", 5880, 6),
    *(_bucket(millimetres) for millimetres in (0.1, 0.2, 0.254, 0.5)),
)
