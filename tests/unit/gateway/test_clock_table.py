"""What clocks do in the field, one row each: true times come out, nothing is lost or doubled, no schedule moves.

Every sample carries the true time as its value; what arrives at the hub is held against it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

import pytest

from fakes.virtual_clock import START_MONOTONIC, START_UTC, VirtualClock, run
from lamppost.model import Reading, Sample
from lamppost.outbound import Outbound
from lamppost.packing import pack
from lamppost.ring import Record
from lamppost.timeline import Timeline
from unit.gateway.test_outbound import KINDS, PLAN, Post, counts

S = 10**9
TICK, WINDOW = 60, 30.0  # so that each sample is a window of its own
SEALS_EVERY = 5
MINUTE, HOUR, YEAR = 60, 3600, 365.25 * 86400
POINT = "voltage.l1"


class World(Post):
    """A gateway that reads each minute, seals and gets receipts every fifth, and can be rebooted."""

    def __init__(self, folder: Path, clock: VirtualClock, policy: str) -> None:
        super().__init__(folder)
        self.folder, self.clock, self.policy = folder, clock, policy
        self.forget()
        self.error = 0.0  # of the gateway's UTC, seconds
        self.shift = 0.0  # of the truth from the virtual clock's, seconds
        self.read = 0
        self.late: set[float] = set()
        self.arrived: list[
            tuple[float, float, str]
        ] = []  # (true second, second sent, time quality)
        self.accounted = 0
        self.states: list[str] = []
        self.start()

    def start(self) -> None:
        """What the daemon does when it starts."""
        self.timeline = Timeline(self.folder / "boots.json", send_unsynced=self.policy == "send")
        self.timeline.learn(self.clock)
        self.outbound = Outbound(PLAN, KINDS, self.timeline, window=WINDOW, grace=2.0)

    def forget(self) -> None:
        """The file of boots is lost."""
        (self.folder / "boots.json").unlink(missing_ok=True)

    def reboot(self) -> None:
        self.clock.reboot(afresh=True)
        self.start()

    def wrong(self, seconds: float) -> None:
        """The gateway's UTC stands so far from the truth."""
        self.clock.step_utc(seconds - self.error)
        self.error = seconds

    def at(self, seconds: float) -> None:
        """The true time moves with the clock, once, at the start."""
        self.clock.step_utc(seconds)
        self.shift = seconds

    def truth(self) -> float:
        return (self.clock.utc() - START_UTC) / S - self.error

    def tick(self) -> None:
        self.timeline.learn(self.clock)
        self.states.append(self.timeline.state)
        sample = Sample("meter", self.clock.now(), (Reading(POINT, self.truth()),))
        self.ring.append([Record(1, pack(sample))])
        self.read += 1
        if self.read % SEALS_EVERY == 0:
            self.pump()

    def pump(self, *, flush: bool = False) -> None:
        """Seal what is due; the hub takes it and proves it."""
        now = self.clock.now()
        self.outbound.seal_due(self.ring, self.identity, now, at_most=100, flush=flush)
        for batch, entities in zip(self.ring.held(), self.entities(), strict=True):
            assert counts(entities) == batch.span.count
            self.accounted += batch.span.count
            for entity in entities:
                for value in entity.values():
                    if isinstance(value, dict) and "urn:lamppost:quality" in value:
                        self._arrive(value)
            self.ring.settle(batch.epoch, batch.seq)
            self.timeline.proved(now)

    def _arrive(self, value: Mapping[str, Mapping[str, object]]) -> None:
        def member(name: str, missing: object = "synced") -> object:
            found = value.get(f"urn:lamppost:{name}", {"value": missing})["value"]
            return found["L1"] if isinstance(found, dict) else found

        sent = datetime.fromisoformat(str(value["observedAt"])).timestamp() - START_UTC / S
        true = member("last", value["value"])  # a window of one reading does not say it twice
        assert isinstance(true, float)
        self.arrived.append((true, sent, str(member("timeQuality"))))


Act = Callable[[World], object]


@dataclass(frozen=True)
class Row:
    """A case: acts by minute, how long, and what must come out. `within` is by time quality, in seconds."""

    acts: Mapping[int, Act]
    hours: float = 3.0
    policy: str = "wait"
    within: Mapping[str, float] = field(default_factory=lambda: {"synced": 0.001})
    true_from: float = -1e12  # the first true second from which `within` must hold
    all_out: bool = True
    state: str = ""


def every_hour(hours: int) -> dict[int, Act]:
    acts: dict[int, Act] = {}
    for hour in range(1, hours):
        acts[hour * 60] = lambda w, h=hour: w.wrong(7.0 if h % 2 else -7.0)  # type: ignore[misc]
        acts[hour * 60 + 5] = lambda w: w.wrong(0)
    return acts


def both(*acts: Act) -> Act:
    return lambda world: [act(world) for act in acts]


def lost(w: World) -> None:
    w.clock.lose_sync()


def found(w: World) -> None:
    w.wrong(0)
    w.clock.sync()


def in_1970(w: World) -> None:
    w.clock.lose_sync()
    w.wrong(-START_UTC / S - w.shift)


def ten_years_ahead(w: World) -> None:
    w.wrong(10 * YEAR)


def seconds_to(moment: str) -> float:
    return datetime.fromisoformat(moment).timestamp() - START_UTC / S


def starts_at(moment: str) -> Act:
    return lambda world: world.at(seconds_to(moment))


TABLE = {
    "always synced": Row({}),
    "never synced, the site waits": Row({0: lost}, all_out=False, state="unsynced"),
    "never synced, the site sends": Row(
        {0: lost}, policy="send", within={"unsynced": 0.001}, state="unsynced"
    ),
    "1970 and never synced, the site sends from the floor": Row(
        {0: in_1970}, policy="send", within={"unsynced": 2 * MINUTE}, state="behind-floor"
    ),
    "1970 at boot, synced after 2 h": Row({0: in_1970, 120: found}, state="behind-floor"),
    "1970 again after a reboot, synced after 1 h": Row(
        {60: both(in_1970, World.reboot), 120: found}
    ),
    "10 years ahead at boot, synced after 1 h": Row({0: both(lost, ten_years_ahead), 60: found}),
    "a lying server, 10 years ahead, for 20 min": Row(
        {0: ten_years_ahead, 20: found}, true_from=32 * MINUTE
    ),
    "a lying server in 2019 for 1 h": Row(
        {0: lambda w: w.wrong(-7 * YEAR), 60: found}, state="behind-floor"
    ),
    "steps of 7 s each hour, taken back after 5 min": Row(every_hour(8), hours=8),
    "synced 5 min wrong, corrected for good after 1 h": Row(
        {0: lambda w: w.wrong(300), 60: found}, true_from=72 * MINUTE
    ),
    "suspended for 3 h": Row({60: lambda w: w.clock.suspend(3 * HOUR)}),
    "suspended for 3 h before the first sync": Row(
        {0: in_1970, 30: lambda w: w.clock.suspend(3 * HOUR), 90: found}
    ),
    "reboot before any sync, then synced": Row(
        {0: in_1970, 30: World.reboot, 45: found},
        within={"unsynced": 6 * MINUTE, "synced": 0.001},
    ),
    "three boots without a sync, then one with": Row(
        {0: in_1970, 20: World.reboot, 40: World.reboot, 60: World.reboot, 75: found},
        within={"unsynced": 46 * MINUTE, "synced": 0.001},
    ),
    "the sync is lost for 90 min": Row(
        {30: lost, 120: found}, within={"synced": 0.001, "holdover": 0.001}, state="holdover"
    ),
    "leap smear of half a second against the boot clock": Row(
        {m: lambda w, m=m: w.wrong(m * 0.01) for m in range(51)},  # type: ignore[misc]
        within={"synced": 0.51},
    ),
    "a leap second as a step": Row({60: lambda w: w.wrong(-1)}, within={"synced": 1.01}),
    "over the end of NTP era 0 (2036)": Row({0: starts_at("2036-02-07T05:00:00Z")}),
    "over the end of 32 bits (2038)": Row({0: starts_at("2038-01-19T02:00:00Z")}),
    "the file of boots is lost between two boots": Row(
        {59: both(World.reboot, World.forget, in_1970, World.start), 90: found},
        within={"unsynced": 2 * HOUR, "synced": 0.001},
    ),
}


def live(tmp_path: Path, row: Row) -> World:
    async def main(clock: VirtualClock) -> World:
        begin = min(row.acts, default=1)
        world = World(tmp_path, clock, row.policy)
        if begin == 0:
            world.forget()
            row.acts[0](world)
            world.start()
        for minute in range(1, round(row.hours * 60) + 1):
            due = START_MONOTONIC + minute * TICK
            await clock.sleep_until(due)
            world.late.add(clock.monotonic() - due)
            if minute in row.acts:
                row.acts[minute](world)
            world.tick()
        world.pump(flush=True)
        return world

    return run(main)


@pytest.mark.parametrize("name", TABLE)
def test_true_times_come_out_once_whatever_the_clock_does(tmp_path: Path, name: str) -> None:
    row = TABLE[name]
    world = live(tmp_path, row)
    assert world.late == {0.0}  # the schedule never noticed
    assert world.ring.last + 1 == world.read == round(row.hours * 60)  # none lost, none doubled
    assert world.accounted == (world.read if row.all_out else 0)
    errors: dict[str, float] = {}
    for true, sent, quality in world.arrived:
        if true >= row.true_from:
            errors[quality] = max(errors.get(quality, 0), abs(sent - true))
    assert set(errors) == (set(row.within) if row.all_out else set())
    for quality, error in errors.items():
        assert error <= row.within[quality], f"{quality}: {error} s"
    if row.state:
        assert row.state in world.states


def test_the_year_10000_breaks_nothing(tmp_path: Path) -> None:
    world = live(tmp_path, Row({0: starts_at("9999-12-31T22:30:00+00:00")}))
    assert world.accounted == world.read
    assert (
        max(sent for _, sent, _ in world.arrived) < seconds_to("9999-12-31T23:59:59.9999+00:00") + 1
    )
