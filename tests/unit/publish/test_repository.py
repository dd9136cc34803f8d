"""The hub's repository: who may sign what, what a release needs, what a halt is, and what stays as it was."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from fakes.publishing import DAY, World
from lamppost.errors import LamppostError
from lamppost_hub.publish.repository import Repository, Terms
from lamppost_hub.publish.schedule import read_steps, span

ONE, TWO = {"gw-1": b"a = 1\n"}, {"gw-1": b"a = 2\n"}


@pytest.fixture(scope="module")
def begun(tmp_path_factory: pytest.TempPathFactory) -> World:
    return World(tmp_path_factory.mktemp("world"))


def code(of: pytest.ExceptionInfo[LamppostError]) -> str:
    return of.value.code


def test_a_release_needs_two_different_approvers_of_the_group(tmp_path: Path) -> None:
    world = World(tmp_path)
    world.stage("harbour", ONE)
    for signers in ((), ("harbour-a", "harbour-a"), ("park-a", "park-b"), ("r1", "online")):
        world.sign("harbour", *signers)
        with pytest.raises(LamppostError, match="needs") as refused:
            world.release()
        assert code(refused) == "publish.unsigned"
    (waiting,) = world.repository.waiting()
    assert (waiting.missing, waiting.signed[0].split()[0]) == (1, "harbour-a")
    world.sign("harbour", "harbour-b")
    assert world.release() == ["harbour"]
    assert world.repository.waiting() == []


def test_only_changed_sites_get_a_new_serial(tmp_path: Path) -> None:
    world = World(tmp_path)
    world.publish("harbour", {"gw-1": b"a = 1\n", "gw-2": b"a = 1\n"})
    world.publish("park", {"gw-3": b"a = 1\n"})
    world.publish("harbour", {"gw-1": b"a = 1\n", "gw-2": b"a = 2\n"})
    found = {p.gateway: (p.serial, p.rollout) for p in world.repository.published()}
    assert found == {"gw-1": (1, "harbour-1"), "gw-2": (3, "harbour-3"), "gw-3": (2, "park-2")}
    with pytest.raises(LamppostError) as refused:
        world.stage("harbour", {"gw-2": b"a = 2\n"})
    assert code(refused) == "publish.nothing-new"
    assert world.stage("harbour", {"gw-2": b"a = 2\n"}, again=True) == ["gw-2"]


def test_a_site_changed_after_it_was_staged_is_neither_signed_nor_released(tmp_path: Path) -> None:
    world = World(tmp_path)
    world.stage("harbour", ONE)
    site = world.repository.pending / "harbour" / "now" / "gw-1.toml"
    site.write_bytes(b"a = 666\n")
    with pytest.raises(LamppostError) as refused:
        world.sign("harbour", "harbour-a")
    assert code(refused) == "publish.altered"
    site.write_bytes(ONE["gw-1"])
    world.sign("harbour", "harbour-a", "harbour-b")
    site.write_bytes(b"a = 666\n")
    with pytest.raises(LamppostError) as refused:
        world.release()
    assert code(refused) == "publish.altered"


def test_steps_that_fell_together_while_it_was_signed_are_not_released(tmp_path: Path) -> None:
    world = World(tmp_path)
    now = world.utc // 10**9
    world.stage("harbour", ONE, [[500, now], [10_000, now + 3600]])
    world.sign("harbour", "harbour-a", "harbour-b")
    world.utc += 2 * 3600 * 10**9
    with pytest.raises(LamppostError) as refused:
        world.release()
    assert code(refused) == "publish.late"


def test_a_halt_is_signed_by_the_online_key_and_lasts(tmp_path: Path) -> None:
    world = World(tmp_path)
    rollout = world.publish("harbour", ONE)
    world.repository.halt(rollout, world.utc)
    world.utc += DAY
    world.repository.refresh(world.utc)
    world.publish("harbour", TWO)
    assert world.repository.halted() == [rollout]
    with pytest.raises(LamppostError) as refused:
        world.repository.halt("harbour-77", world.utc)
    assert code(refused) == "publish.unknown-rollout"


def test_a_new_root_needs_two_of_the_old_and_two_of_the_new_keys(tmp_path: Path) -> None:
    world = World(tmp_path)
    new = world._made("n1", "n2", "n3")
    world.repository.new_root(
        {"r3": world.roots["r3"], "n1": new["n1"], "n2": new["n2"]}, None, world.utc
    )
    for names in (("n1", "n2"), ("r3",)):
        world.sign("root", *names)
        with pytest.raises(LamppostError):
            world.release()
    world.sign("root", "r1")
    assert world.release() == ["root"]
    assert world.repository._root().version == 2
    world.repository.renew("targets", world.utc)
    world.sign("targets", "r1", "r2")
    with pytest.raises(LamppostError) as refused:
        world.release()
    assert code(refused) == "publish.unsigned", "the old keys sign nothing any more"


@pytest.mark.parametrize("name", ["root", "timestamp", "../x", "Harbour", "a/b", ""])
def test_names_that_no_group_may_have(begun: World, name: str) -> None:
    keys = {k: begun.roots[k] for k in ("r1", "r2")}
    with pytest.raises(LamppostError) as refused:
        begun.repository.group(name, keys, begun.utc)
    assert code(refused) == "publish.name"


def test_what_a_hub_refuses_before_anything_is_made(begun: World, tmp_path: Path) -> None:
    repository = begun.repository
    with pytest.raises(LamppostError) as refused:
        repository.create(begun.roots, begun.roots["r1"], begun.utc)
    assert code(refused) == "publish.exists"
    with pytest.raises(LamppostError) as refused:
        repository.group("quay", {"r1": begun.roots["r1"]}, begun.utc)
    assert code(refused) == "publish.too-few-keys"
    with pytest.raises(LamppostError) as refused:
        repository.stage("quay", ONE, Terms([[10_000, 1]]), begun.utc)
    assert code(refused) == "publish.no-group"
    with pytest.raises(LamppostError) as refused:
        repository.release(begun.utc)
    assert code(refused) == "publish.no-pending"
    empty = Repository(tmp_path / "publish", [])
    with pytest.raises(LamppostError) as refused:
        empty.published()
    assert code(refused) == "publish.not-initialised"
    two = {k: begun.roots[k] for k in ("r1", "r2")}
    with pytest.raises(LamppostError) as refused:
        empty.create(two, begun.roots["r1"], begun.utc)
    assert code(refused) == "publish.too-few-keys"


def test_no_private_key_but_the_online_one_is_needed_to_serve(tmp_path: Path) -> None:
    world = World(tmp_path)
    world.publish("harbour", ONE)
    for key in world.keys.glob("*.pem"):
        if key.stem != "online":
            key.unlink()
    world.utc += DAY
    world.repository.refresh(world.utc)
    stamp = json.loads((world.served / "metadata" / "timestamp.json").read_bytes())["signed"]
    assert stamp["expires"].startswith("2026-01-09")


@pytest.mark.parametrize(
    ("text", "steps"),
    [
        ("100%@now", [[10_000, 1000]]),
        ("0.5%@now, 25 % @ +1h ,100%@+2d", [[50, 1000], [2500, 4600], [10_000, 173_800]]),
        ("5%@1970-01-01T01:00Z,100%@1970-01-01T03:00+01:00", [[500, 3600], [10_000, 7200]]),
    ],
)
def test_steps(text: str, steps: list[list[int]]) -> None:
    assert read_steps(text, 1000 * 10**9) == steps


@pytest.mark.parametrize(
    "text",
    [
        "",
        "5%",
        "5%@",
        "5@now",
        "0%@now",
        "101%@now",
        "25%@now,5%@+1d",
        "5%@+1d,25%@now",
        "5%@2026-01-01",
        "5%@+1y",
    ],
)
def test_no_steps(text: str) -> None:
    with pytest.raises(LamppostError) as refused:
        read_steps(text, 0)
    assert code(refused) == "publish.schedule"


def test_spans() -> None:
    assert [span(text) for text in ("90s", "1.5h", "2d", "5min")] == [90, 5400, 172_800, 300]
