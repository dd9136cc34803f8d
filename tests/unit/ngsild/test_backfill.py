"""A week of a site into a broker that was away: right history, right current state, requests and bytes counted."""

from __future__ import annotations

import pytest

from fakes.stub_broker import BROKERS, Fault, Habits, StubBroker
from fakes.windows import START, counter, gauge
from lamppost.ngsild.broker import Api, Broker, RememberedWrites
from lamppost.ngsild.entities import DevicePlan, SitePlan, entities_of
from lamppost.ngsild.plan import Entity

QUARTER = 900_000_000_000
STEMS = {
    "voltage": "V",
    "current": "A",
    "power": "W",
    "apparent_power": "VA",
    "reactive_power": "var",
}
POINTS = (
    *((f"{stem}.l{n}", unit, "gauge") for stem, unit in STEMS.items() for n in "123"),
    *((stem, unit, "gauge") for stem, unit in {"power": "W", "frequency": "Hz"}.items()),
    *((f"energy.{way}", "kWh", "counter") for way in ("import", "export")),
    ("phase_angle", "deg", "gauge"),
)
FREQUENCY = "https://smartdatamodels.org/dataModel.Energy/frequency"


def site(devices: int) -> SitePlan:
    return SitePlan(
        "gw-1",
        (9.0, 45.0),
        devices=tuple(DevicePlan(f"m{n}", "sdm630", points=POINTS) for n in range(devices)),
    )


def windows_of(plan: SitePlan, quarter: int) -> list[Entity]:
    start = START + quarter * QUARTER
    windows = [
        counter(name, quarter * 1.0, 1.0, device=device.name, start=start)
        if kind == "counter"
        else gauge(name, 50.0 + quarter, device=device.name, start=start)
        for device in plan.devices
        for name, _, kind in device.points
    ]
    return entities_of(windows, plan)


async def backfill(habits: Habits, devices: int, quarters: int, batch: int) -> StubBroker:
    stub = StubBroker(habits)
    api = Api(stub.client(), sleep=_no_wait)
    broker = Broker(api, RememberedWrites())
    plan = site(devices)
    await broker.write(windows_of(plan, quarters))  # live comes back before its backlog
    for first in range(0, quarters, batch):
        late = range(first, min(first + batch, quarters))
        stub.faults = [Fault(504, applied=first % 2 == 0)]
        await broker.write([e for q in late for e in windows_of(plan, q)], f"job {first}")
    for device in plan.devices:
        meter = f"urn:ngsi-ld:ThreePhaseAcMeasurement:gw-1:{device.name}"
        assert stub.value(meter, FREQUENCY) == 50.0 + quarters
        assert len(set(stub.moments(meter, FREQUENCY))) == quarters + 1
    assert stub.repeated() == 0
    return stub


async def _no_wait(_: float) -> None:
    return None


@pytest.mark.parametrize("habits", BROKERS, ids=lambda h: h.name)
async def test_a_day_of_two_meters(habits: Habits) -> None:
    stub = await backfill(habits, devices=2, quarters=96, batch=24)
    assert len(stub.requests) < 40


@pytest.mark.long
@pytest.mark.parametrize("habits", BROKERS, ids=lambda h: h.name)
async def test_a_week_of_four_hundred_points(
    habits: Habits, capsys: pytest.CaptureFixture[str]
) -> None:
    stub = await backfill(habits, devices=20, quarters=7 * 96, batch=96)
    with capsys.disabled():
        print(f"\n{habits.name}: {len(stub.requests)} requests, {stub.bytes / 1e6:.1f} MB")
