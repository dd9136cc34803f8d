"""The agent on virtual time: trials that end well and badly, its turn, long absence, wrong clocks."""

from __future__ import annotations

import asyncio
import datetime as dt
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from fakes.configured import LOCAL, WELL, Gateway, OtaTable
from fakes.publishing import DAY, World
from fakes.virtual_clock import VirtualClock, run
from lamppost.ota.health import Vitals
from lamppost.ota.refusal import ConfigUnfit
from lamppost.ota.rollout import Step, Terms, place_of, turn
from lamppost.ota.sources import FolderSource
from lamppost_hub.publish.schedule import due
from lamppost_hub.publish.schedule import place_of as place_at_hub

OLD, NEW, NEWER = b"interval = 10\n", b"interval = 20\n", b"interval = 30\n"


@dataclass
class Hub(FolderSource):
    """The hub's repository; `up` is whether it can be reached."""

    folder: Path
    up: bool = True

    def __post_init__(self) -> None:
        super().__init__(self.folder)

    local = False

    def read(self, path: str) -> Any:
        if not self.up:
            raise ConnectionRefusedError("down")
        return super().read(path)


class Town:
    """A hub and one gateway of it, which runs OLD as its first signed configuration."""

    def __init__(self, folder: Path, clock: VirtualClock, **table: Any) -> None:
        self.clock = clock
        self.world = World(folder / "hub")
        self.hub = Hub(self.world.served)
        self.gateway = Gateway(
            "gw-1", folder / "gw", self.world.root, [self.hub], clock, settings=OtaTable(**table)
        )

    async def settled(self, seconds: float) -> None:
        """Let time pass; the hub's clock goes along, and what it serves stays fresh."""
        await self.clock.sleep_until(self.clock.monotonic() + seconds)

    def publish(self, content: bytes, **terms: Any) -> str:
        self.world.utc = self.clock.utc()
        return self.world.publish("harbour", {"gw-1": content}, **terms)


def lived(
    folder: Path, story: Callable[[Town], Coroutine[Any, Any, None]], **table: Any
) -> Gateway:
    """Run a story beside the gateway's daemon."""
    found: list[Gateway] = []

    async def main(clock: VirtualClock) -> None:
        town = Town(folder, clock, **table)
        found.append(town.gateway)
        town.publish(OLD)
        life = asyncio.create_task(town.gateway.live())
        try:
            await town.settled(300)
            assert (town.gateway.runs, town.gateway.status()["state"]) == (OLD, "confirmed")
            telling = asyncio.create_task(story(town))
            await asyncio.wait({telling, life}, return_when=asyncio.FIRST_COMPLETED)
            assert telling.done(), life.exception()
            telling.result()
        finally:
            life.cancel()
            await asyncio.gather(life, return_exceptions=True)

    run(main)
    return found[0]


def test_a_new_configuration_is_tried_and_confirmed(tmp_path: Path) -> None:
    async def story(town: Town) -> None:
        town.publish(NEW)
        await town.settled(1100)

    gateway = lived(tmp_path, story)
    assert gateway.starts == [LOCAL, OLD, NEW]
    state = gateway.generations.state
    assert [(e.outcome, e.generation.serial) for e in state.history] == [
        ("confirmed", 1),
        ("confirmed", 2),
    ]
    assert state.floor == 2


def test_a_nudge_shortens_the_wait(tmp_path: Path) -> None:
    async def story(town: Town) -> None:
        town.publish(NEW)
        assert town.gateway.agent is not None
        town.gateway.agent.nudge()
        await town.settled(60)
        assert town.gateway.serial() == 2

    lived(tmp_path, story)


def sick(**what: Any) -> Callable[[bytes], Vitals]:
    """A plant that is well but for the new configuration."""
    return lambda content: replace(WELL, **what) if content == NEW else WELL


@pytest.mark.parametrize(
    ("plant", "code"),
    [
        (sick(answering=frozenset({"air"})), "ota.devices-silent"),
        (sick(devices=frozenset({"other"}), answering=frozenset()), "ota.devices-silent"),
        (sick(connected=False, receipts=0), "ota.no-receipt"),
        (sick(clock=False), "ota.clock-wrong"),
        (sick(flapping=frozenset({"level"})), "ota.alert-storm"),
    ],
)
def test_what_worked_before_and_does_not_now_goes_back(
    tmp_path: Path, plant: Callable[[bytes], Vitals], code: str
) -> None:
    async def story(town: Town) -> None:
        town.gateway.plant = plant
        town.publish(NEW)
        await town.settled(1000)
        began = next(i for i, c in enumerate(town.gateway.starts) if c == NEW)
        assert began
        await town.settled(300)
        assert town.gateway.status()["last"]["code"] == code
        await town.settled(3600)

    gateway = lived(tmp_path, story)
    assert gateway.starts == [LOCAL, OLD, NEW, OLD], "it is tried once and not again"
    assert gateway.last() == ("reverted", code)


def test_a_trial_ends_within_three_minutes(tmp_path: Path) -> None:
    async def story(town: Town) -> None:
        town.gateway.plant = sick(receipts=0)
        town.publish(NEW)
        await town.settled(1800)

    gateway = lived(tmp_path, story, trial=150.0)  # the longest that a site may ask for
    assert gateway.starts[-2:] == [NEW, OLD]
    tried, back = gateway.started[-2:]
    assert 150 <= back - tried <= 180


def test_slow_devices_and_a_hub_that_was_away_do_not_fail_a_trial(tmp_path: Path) -> None:
    async def story(town: Town) -> None:
        def plant(content: bytes) -> Vitals:
            away = replace(WELL, connected=False, receipts=0)
            return (
                away
                if content == OLD
                else replace(away, answering=frozenset({"air"}), slow=frozenset({"meter"}))
            )

        town.gateway.plant = plant
        town.publish(NEW)
        await town.settled(1200)
        assert town.gateway.last() == ("confirmed", "")

    lived(tmp_path, story)


def test_it_is_not_tried_before_it_is_known_what_works(tmp_path: Path) -> None:
    """Offered at the very start: a meter that answers a little later would not be missed in the trial."""

    async def main(clock: VirtualClock) -> None:
        town = Town(tmp_path, clock)
        town.publish(NEW)
        began = clock.monotonic()

        def plant(content: bytes) -> Vitals:
            late = clock.monotonic() < began + 40
            return replace(WELL, answering=frozenset()) if late or content == NEW else WELL

        town.gateway.plant = plant
        life = asyncio.create_task(town.gateway.live())
        await town.settled(600)
        life.cancel()
        await asyncio.gather(life, return_exceptions=True)
        assert town.gateway.starts == [LOCAL, NEW, LOCAL]
        assert town.gateway.started[1] - began >= 40
        assert town.gateway.last() == ("reverted", "ota.devices-silent")

    run(main)


def test_no_window_closes_in_a_trial_and_the_agent_has_one_closed(tmp_path: Path) -> None:
    async def story(town: Town) -> None:
        gateway = town.gateway

        def plant(content: bytes) -> Vitals:
            return replace(WELL, receipts=1 if gateway.flushes or content == OLD else 0)

        gateway.plant = plant
        town.publish(NEW)
        await town.settled(1200)
        assert gateway.last() == ("confirmed", "")
        assert gateway.flushes == 1

    lived(tmp_path, story)


def test_a_daemon_that_dies_in_a_trial_twice_starts_with_the_last_good(tmp_path: Path) -> None:
    class Dead(Exception):
        pass

    def plant(content: bytes) -> Vitals:
        if content == NEW:
            raise Dead
        return WELL

    async def main(clock: VirtualClock) -> None:
        town = Town(tmp_path, clock)
        town.publish(OLD)
        town.gateway.plant = plant
        deaths = 0
        life = asyncio.create_task(town.gateway.live())
        await town.settled(400)
        town.publish(NEW)
        for _ in range(3):
            await asyncio.wait({life}, timeout=2000)
            if life.done():
                assert isinstance(life.exception(), Dead)
                deaths += 1
                life = asyncio.create_task(town.gateway.live())  # systemd starts it again
        life.cancel()
        await asyncio.gather(life, return_exceptions=True)
        assert deaths == 2
        assert town.gateway.starts[-3:] == [NEW, NEW, OLD]
        assert town.gateway.last() == ("reverted", "ota.died")

    run(main)


def test_a_trial_goes_on_after_a_restart_and_keeps_its_deadline(tmp_path: Path) -> None:
    async def main(clock: VirtualClock) -> None:
        town = Town(tmp_path, clock)
        town.publish(OLD)
        life = asyncio.create_task(town.gateway.live())
        await town.settled(400)
        town.gateway.plant = sick(receipts=0)
        town.publish(NEW)
        while town.gateway.runs != NEW:
            await town.settled(1)
        await town.settled(80)
        life.cancel()
        await asyncio.gather(life, return_exceptions=True)
        life = asyncio.create_task(town.gateway.live())
        await town.settled(45)  # 125 s since it was first tried
        assert town.gateway.runs == OLD
        assert town.gateway.starts[-3:] == [NEW, NEW, OLD]
        life.cancel()
        await asyncio.gather(life, return_exceptions=True)

    run(main)


def test_refused_before_its_trial_it_is_named_and_not_fetched_again(tmp_path: Path) -> None:
    refused: list[bytes] = []

    async def story(town: Town) -> None:
        def check(content: bytes) -> None:
            refused.append(content)
            raise ConfigUnfit("ota.disk-budget", "a ring of 900 GiB")

        town.gateway.check_site = check
        town.publish(NEW)
        await town.settled(3600)
        assert town.gateway.status()["refused"]["code"] == "ota.disk-budget"
        town.gateway.check_site = lambda content: None
        town.publish(NEWER)
        await town.settled(1200)
        assert town.gateway.serial() == 3

    gateway = lived(tmp_path, story)
    assert refused == [NEW]
    assert gateway.starts == [LOCAL, OLD, NEWER]


def test_its_turn_its_window_and_a_hold(tmp_path: Path) -> None:
    async def story(town: Town) -> None:
        now = town.clock.utc() // 10**9
        place = place_of("harbour-2", "gw-1")
        steps = [[max(place // 2, 1), now], [10_000, now + 5000]]
        town.publish(NEW, steps=steps)
        await town.settled(4900)
        assert (town.gateway.serial(), town.gateway.status()["waits"]) == (1, "not its turn")
        await town.settled(town.gateway.status()["turn"] - now - 4900 + 40)
        assert town.gateway.serial() == 2, "it wakes at its turn"

    lived(tmp_path, story)


def test_a_maintenance_window_is_waited_for_unless_it_is_urgent(tmp_path: Path) -> None:
    async def story(town: Town) -> None:  # the virtual clock begins at midnight
        town.gateway.settings.window = "02:00-03:00"
        town.publish(NEW)
        await town.settled(3600)
        assert town.gateway.status()["waits"] == "outside its maintenance window"
        await town.settled(2 * 3600)
        assert town.gateway.serial() == 2
        town.publish(NEWER, urgent=True)
        await town.settled(4 * 3600)
        assert town.gateway.serial() == 3

    lived(tmp_path, story)


def test_a_hold_ends_by_itself(tmp_path: Path) -> None:
    async def story(town: Town) -> None:
        end = town.clock.utc() / 1e9 + 7200
        town.gateway.settings.hold_until = dt.datetime.fromtimestamp(end, dt.UTC)
        town.publish(NEW)
        await town.settled(7000)
        assert (town.gateway.serial(), town.gateway.status()["waits"]) == (1, "held")
        await town.settled(1500)
        assert town.gateway.serial() == 2

    lived(tmp_path, story)


def test_a_halt_takes_back_what_the_roll_out_brought_while_its_time_lasts(tmp_path: Path) -> None:
    async def story(town: Town) -> None:
        rollout = town.publish(NEW)
        await town.settled(1200)
        assert town.gateway.serial() == 2
        town.world.repository.halt(rollout, town.clock.utc())
        await town.settled(1000)
        assert (town.gateway.runs, town.gateway.last()) == (OLD, ("withdrawn", "ota.withdrawn"))
        await town.settled(3600)
        assert town.gateway.runs == OLD

    lived(tmp_path, story)


def test_a_halt_after_its_time_changes_nothing(tmp_path: Path) -> None:
    async def story(town: Town) -> None:
        rollout = town.publish(NEW, soak=1000)
        await town.settled(2000)
        town.world.repository.halt(rollout, town.clock.utc())
        await town.settled(3600)
        assert town.gateway.serial() == 2

    lived(tmp_path, story)


def test_a_halt_alone_starts_nothing_and_a_halted_one_is_not_taken(tmp_path: Path) -> None:
    async def story(town: Town) -> None:
        town.hub.up = False
        rollout = town.publish(NEW)
        town.world.repository.halt(rollout, town.clock.utc())
        town.hub.up = True
        await town.settled(3600)
        assert (town.gateway.serial(), town.gateway.status()["waits"]) == (1, "halted")

    lived(tmp_path, story)


def test_expired_metadata_stops_nothing_and_heals_with_the_next_contact(tmp_path: Path) -> None:
    async def story(town: Town) -> None:
        await town.settled(8 * 86400)
        assert town.gateway.status()["fault"]["code"] == "ota.expired"
        assert town.gateway.status()["state"] == "confirmed"
        town.publish(NEW)
        await town.settled(4200)
        assert town.gateway.serial() == 2
        assert town.gateway.status()["fault"] == {}

    lived(tmp_path, story, every=3600.0)


def test_a_hundred_days_offline(tmp_path: Path) -> None:
    """Everything cached is expired; the roots moved on twice, the group's approvers changed."""

    async def story(town: Town) -> None:
        town.hub.up = False
        await town.settled(100 * 86400)
        assert town.gateway.status()["fault"]["code"] == "ota.unreachable"
        world = town.world
        world.utc = town.clock.utc()
        for _ in range(2):
            world.repository.new_root(None, None, world.utc)
            world.sign("root", "r1", "r3")
            world.release()
        world.repository.group("harbour", world._made("harbour-c", "harbour-d"), world.utc)
        world.sign("targets", "r1", "r2")
        world.release()
        world.stage("harbour", {"gw-1": NEW})
        world.sign("harbour", "harbour-c", "harbour-d")
        world.release()
        town.hub.up = True
        await town.settled(8000)
        assert town.gateway.serial() == 2
        assert town.gateway.last() == ("confirmed", "")

    lived(tmp_path, story, every=3600.0)


def test_a_clock_in_1970_is_lifted_by_the_floor(tmp_path: Path) -> None:
    """The dates of metadata are judged by the time floor, which then rises; the server's are not judged at all."""

    async def story(town: Town) -> None:
        town.clock.lose_sync()
        town.clock.step_utc(-town.clock.utc() / 1e9)
        hub_now = town.world.utc + 100 * DAY
        town.world.utc = hub_now
        town.world.publish("harbour", {"gw-1": NEW})
        await town.settled(1200)
        assert town.gateway.serial() == 2
        assert town.gateway.asked_check_time[-1] is False
        assert town.gateway.timeline.floor >= hub_now

    lived(tmp_path, story)


def test_an_old_repository_does_not_pass_a_clock_in_1970(tmp_path: Path) -> None:
    """Without the floor a clock in the past would accept metadata that expired long ago."""

    async def story(town: Town) -> None:
        floor = town.clock.utc() + 30 * DAY
        town.gateway.timeline.raise_floor(floor)
        town.publish(NEW)  # signed for a week from now: over, by the floor
        town.clock.lose_sync()
        town.clock.step_utc(-town.clock.utc() / 1e9)
        await town.settled(3600)
        assert town.gateway.status()["fault"]["code"] == "ota.expired"
        assert town.gateway.serial() == 1

    lived(tmp_path, story)


def test_the_online_key_cannot_lead_the_floor_far_ahead(tmp_path: Path) -> None:
    """A stolen online key says that it is 2090: the floor goes no further than what approvers have bounded."""

    async def story(town: Town) -> None:
        town.clock.lose_sync()
        far = town.clock.utc() + 60 * 365 * DAY
        town.world.repository.refresh(far)
        await town.settled(1000)
        assert town.gateway.timeline.floor <= town.world.utc + 181 * DAY

    lived(tmp_path, story)


def test_a_stick_brings_it_where_no_network_is(tmp_path: Path) -> None:
    async def story(town: Town) -> None:
        town.hub.up = False
        await town.settled(1200)
        town.publish(NEW)
        town.gateway.sources = [FolderSource(town.world.served), town.hub]
        await town.settled(1200)
        assert town.gateway.serial() == 2
        assert town.gateway.status()["runs"]["origin"] == "stick"

    lived(tmp_path, story)


def test_a_source_that_only_the_new_configuration_cannot_reach_takes_it_back(
    tmp_path: Path,
) -> None:
    async def story(town: Town) -> None:
        gateway, hub = town.gateway, town.hub

        def plant(content: bytes) -> Vitals:
            hub.up = content != NEW
            return WELL

        gateway.plant = plant
        town.publish(NEW)
        await town.settled(1300)
        assert gateway.last() == ("reverted", "ota.no-source")

    lived(tmp_path, story)


def test_tried_here_and_rolled_back_here(tmp_path: Path) -> None:
    async def story(town: Town) -> None:
        assert town.gateway.agent is not None
        town.gateway.agent.test(NEW)
        await town.settled(300)
        assert town.gateway.status()["runs"]["origin"] == "local"
        assert town.gateway.status()["floor"] == 1
        town.gateway.agent.roll_back()
        await town.settled(10)
        assert town.gateway.runs == OLD
        await town.settled(3600)
        assert town.gateway.runs == OLD

    lived(tmp_path, story)


@pytest.mark.parametrize(
    "steps", [[[10_000, 100]], [[500, 0], [2500, 86400], [10_000, 90000]], [[100, 50]]]
)
def test_hub_and_gateway_compute_the_same_turn(steps: list[list[int]]) -> None:
    terms = Terms(7, "harbour-7", tuple(Step(share, at) for share, at in steps))
    for number in range(500):
        gateway = f"gw-{number}"
        assert place_of("harbour-7", gateway) == place_at_hub("harbour-7", gateway)
        assert turn(terms, gateway) == due(steps, "harbour-7", gateway)


def test_the_gateways_of_a_step_begin_one_after_another() -> None:
    terms = Terms(7, "r", (Step(500, 0), Step(2500, 86400), Step(10_000, 90000)))
    turns = {place_of("r", g): turn(terms, g) or 0 for g in (f"gw-{n}" for n in range(2000))}
    assert [turns[place] for place in sorted(turns)] == sorted(turns.values())
    second = [at for place, at in turns.items() if 500 <= place < 2500]
    assert 86400 <= min(second) < 86500
    assert 88100 < max(second) < 86400 + 1800
