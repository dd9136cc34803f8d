"""Every attack on configuration: each refused with a code of its own, and what runs goes on.

Rows 7 and 8 of the list of attacks, and what a hostile repository or a hostile way to it can do besides.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from tuf.api.metadata import Metadata, MetaFile, TargetFile

from fakes.configured import Gateway
from fakes.publishing import DAY, World
from fakes.virtual_clock import VirtualClock
from lamppost.ota.sources import FolderSource
from lamppost.ota.state import State
from lamppost_hub.publish import roles

SITE = b"interval = 10\n"
EVIL = b"interval = 666\n"
TARGET = "harbour/gw-1/site.toml"


@dataclass
class Hostile:
    """A way to the repository that an attacker holds: `change` sees every file that passes."""

    source: FolderSource
    change: Callable[[str, bytes], bytes | None] = lambda path, content: content

    where = "https://hub.test"
    local = False

    def read(self, path: str) -> Iterator[bytes]:
        changed = self.change(path, b"".join(self.source.read(path)))
        if changed is None:
            raise ConnectionError("cut")
        yield changed


class Scene:
    """A gateway that runs serial 1 confirmed, and an attacker between it and its hub."""

    def __init__(self, folder: Path) -> None:
        self.world = World(folder / "hub")
        self.clock = VirtualClock()
        self.wire = Hostile(FolderSource(self.world.served))
        self.gateway = Gateway("gw-1", folder / "gw", self.world.root, [self.wire], self.clock)
        self.world.publish("harbour", {"gw-1": SITE})

    @property
    def metadata(self) -> Path:
        return self.world.served / "metadata"

    def resign(self, role: str, signed: Any, *keys: str) -> None:
        """Write a role with these signatures, and have the online key call it current."""
        metadata: Metadata[Any] = Metadata(signed)
        for key in keys:
            metadata.sign(roles.FileKey(self.world.signer(key)), append=True)
        (self.metadata / f"{signed.version}.{role}.json").write_bytes(roles.write(metadata))
        self.world.repository.refresh(self.world.utc)

    def group(self, content: bytes = EVIL, *, path: str = TARGET, serial: int = 2) -> Any:
        """The group's next metadata with this content in it, unsigned; the content lies ready."""
        signed = self.world.repository._next_group("harbour")
        target = TargetFile.from_data(path, content, ["sha256"])
        target.unrecognized_fields["custom"] = {
            "serial": serial,
            "rollout": f"harbour-{serial}",
            "steps": [[10_000, self.world.utc // 10**9]],
            "until": 0,
        }
        signed.targets[path] = target
        file = self.world.repository._target_file(target)
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content)
        return signed


async def look(scene: Scene) -> str:
    """Look once; the code of what went wrong, "" for a look without a fault."""
    await scene.gateway.look()
    found = scene.gateway.status()
    return str((found["fault"] or found["refused"] or {}).get("code", ""))


def one_approver(s: Scene) -> None:
    s.resign("harbour", s.group(), "harbour-a")


def one_approver_twice(s: Scene) -> None:
    s.resign("harbour", s.group(), "harbour-a", "harbour-a")


def another_groups_approvers(s: Scene) -> None:
    s.resign("harbour", s.group(), "park-a", "park-b")


def online_key_alone(s: Scene) -> None:
    s.resign("harbour", s.group(), "online")


def nobody(s: Scene) -> None:
    s.resign("harbour", s.group())


def root_keys_for_a_group(s: Scene) -> None:
    s.resign("harbour", s.group(), "r1", "r2")


def root_by_one_key(s: Scene) -> None:
    root = s.world.repository._root()
    root.version += 1
    s.resign("root", root, "r1")


def root_by_new_keys_only(s: Scene) -> None:
    s.world._made("x1", "x2", "x3")
    keys = [roles.public(s.world.signer(n).public, n) for n in ("x1", "x2", "x3")]
    root = s.world.repository._root()
    online = roles.public(s.world.signer("online").public)
    roles.appoint(root, keys, online)
    root.version += 1
    s.resign("root", root, "x1", "x2")


def altered_target(s: Scene) -> None:
    s.world.publish("harbour", {"gw-1": b"interval = 20\n"})
    s.wire.change = lambda path, c: c.replace(b"20", b"21") if path.startswith("targets/") else c


def altered_metadata(s: Scene) -> None:
    s.wire.change = lambda path, c: c.replace(b"2026", b"2099") if "timestamp" in path else c


def longer_than_signed(s: Scene) -> None:
    s.world.publish("harbour", {"gw-1": b"interval = 20\n"})
    s.wire.change = lambda path, c: c + b"#" * 99 if path.startswith("targets/") else c


def endless_timestamp(s: Scene) -> None:
    s.wire.change = lambda path, c: c + b" " * 300_000 if "timestamp" in path else c


def not_json(s: Scene) -> None:
    s.wire.change = lambda path, c: b"\xff{" if "timestamp" in path else c


def deeply_nested(s: Scene) -> None:
    s.wire.change = lambda path, c: b"[" * 16_000 if "timestamp" in path else c


def old_copy(s: Scene) -> None:
    s.world.repository.refresh(s.world.utc)
    old = (s.metadata / "timestamp.json").read_bytes()
    s.world.repository.refresh(s.world.utc)
    s.seen_before_the_attack()  # type: ignore[attr-defined]
    s.wire.change = lambda path, c: old if "timestamp" in path else c


def frozen(s: Scene) -> None:
    s.clock.step_utc(8 * 86400)


def clock_ahead(s: Scene) -> None:
    s.clock.step_utc(40 * 365 * 86400)


def downgraded_by_approvers(s: Scene) -> None:
    s.floor(7)  # type: ignore[attr-defined]
    s.resign("harbour", s.group(serial=6), "harbour-a", "harbour-b")


def serial_used_twice(s: Scene) -> None:
    s.floor(7)  # type: ignore[attr-defined]
    s.resign("harbour", s.group(serial=7), "harbour-a", "harbour-b")


def no_schedule(s: Scene) -> None:
    signed = s.group()
    del signed.targets[TARGET].unrecognized_fields["custom"]["steps"]
    s.resign("harbour", signed, "harbour-a", "harbour-b")


def huge_configuration(s: Scene) -> None:
    signed = s.group()
    signed.targets[TARGET].length = 50_000_000
    s.resign("harbour", signed, "harbour-a", "harbour-b")


def mixed_versions(s: Scene) -> None:
    """The snapshot of one moment with the group's metadata of another."""
    s.world.publish("harbour", {"gw-1": b"interval = 20\n"})
    versions = s.world.repository._versions("harbour")
    old = (s.metadata / f"{versions[0]}.harbour.json").read_bytes()
    s.wire.change = lambda path, c: old if path.endswith(f"{versions[-1]}.harbour.json") else c


def cut_in_the_middle(s: Scene) -> None:
    s.wire.change = lambda path, c: None if "snapshot" in path else c


ATTACKS: dict[Callable[[Scene], None], str] = {
    one_approver: "ota.one-approver",
    one_approver_twice: "ota.one-approver",
    another_groups_approvers: "ota.wrong-group",
    online_key_alone: "ota.online-key",
    nobody: "ota.unknown-signer",
    root_keys_for_a_group: "ota.unknown-signer",
    root_by_one_key: "ota.root",
    root_by_new_keys_only: "ota.root",
    altered_target: "ota.altered",
    altered_metadata: "ota.altered",
    longer_than_signed: "ota.too-big",
    endless_timestamp: "ota.too-big",
    not_json: "ota.malformed",
    deeply_nested: "ota.malformed",
    old_copy: "ota.rollback",
    frozen: "ota.expired",
    clock_ahead: "ota.expired",
    downgraded_by_approvers: "ota.downgrade",
    serial_used_twice: "ota.serial-reused",
    no_schedule: "ota.schedule",
    huge_configuration: "ota.too-big",
    mixed_versions: "ota.rollback",
    cut_in_the_middle: "ota.unreachable",
}


@pytest.mark.parametrize("attack", ATTACKS, ids=lambda attack: attack.__name__)
async def test_an_attack_is_refused_and_what_runs_goes_on(
    tmp_path: Path, attack: Callable[[Scene], None]
) -> None:
    scene = Scene(tmp_path)
    confirm(scene.gateway, SITE)
    before = scene.gateway.generations.state
    scene.floor = lambda serial: floor(scene.gateway, serial)  # type: ignore[attr-defined]
    scene.seen_before_the_attack = lambda: seen(scene)  # type: ignore[attr-defined]
    attack(scene)
    scene.world.utc += DAY // 24
    assert await look(scene) == ATTACKS[attack]
    after = scene.gateway.generations.state
    assert scene.gateway.runs == SITE
    assert (after.good, after.trial) == (before.good, None)


def confirm(gateway: Gateway, content: bytes, serial: int = 1) -> None:
    """Let the gateway run this already, as serial 1 of its hub."""
    from lamppost.ota.state import Baseline

    generations = gateway.generations
    generations.stage(content, Baseline(), serial=serial, rollout=f"harbour-{serial}")
    generations.start(gateway.clock.now(), gateway.clock.utc())
    generations.confirm(gateway.clock.utc())


def floor(gateway: Gateway, serial: int) -> None:
    """A higher serial was staged here, and failed; and the cache of metadata was wiped."""
    from lamppost.ota.refusal import ConfigUnfit
    from lamppost.ota.state import Baseline

    generations = gateway.generations
    generations.stage(b"failed = 1\n", Baseline(), serial=serial)
    generations.start(gateway.clock.now(), gateway.clock.utc())
    generations.revert(ConfigUnfit("ota.died", "it did"), gateway.clock.utc())
    for file in (gateway.folder / "ota" / "tuf").rglob("*"):
        if file.is_file():
            file.unlink()


def seen(scene: Scene) -> None:
    """The gateway has seen the newest metadata."""
    from lamppost.ota.trust import Repository

    folder = scene.gateway.folder / "ota" / "tuf"
    Repository(folder, scene.world.root, scene.wire.source, scene.world.utc).look(TARGET)


async def test_a_groups_approvers_cannot_reach_into_another_group(tmp_path: Path) -> None:
    """They may list what they want: nobody of the other group looks there."""
    scene = Scene(tmp_path)
    confirm(scene.gateway, SITE)
    park = roles.empty("park")
    stolen = scene.group().targets[TARGET]
    park.targets = {TARGET: stolen}  # type: ignore[attr-defined]
    roles.renew(park, "park", scene.world.utc)
    scene.resign("park", park, "park-a", "park-b")
    assert await look(scene) == ""
    assert scene.gateway.generations.state.trial is None


async def test_rolled_back_here_it_is_not_taken_again(tmp_path: Path) -> None:
    scene = Scene(tmp_path)
    confirm(scene.gateway, SITE)
    scene.gateway.generations.roll_back(scene.clock.utc())
    assert await look(scene) == ""
    assert scene.gateway.generations.state == State(
        last=1,
        floor=1,
        rejected=scene.gateway.generations.state.rejected,
        history=scene.gateway.generations.state.history,
    )


async def test_the_same_attack_without_an_attacker_is_taken(tmp_path: Path) -> None:
    """The table above refuses for its signatures: with both of them the same content is staged."""
    scene = Scene(tmp_path)
    confirm(scene.gateway, SITE)
    scene.resign("harbour", scene.group(), "harbour-a", "harbour-b")
    assert await look(scene) == ""
    trial = scene.gateway.generations.state.trial
    assert trial is not None
    assert scene.gateway.generations.content(trial.generation) == EVIL


def test_metadata_says_when_it_was_issued(tmp_path: Path) -> None:
    scene = Scene(tmp_path)
    stamp = json.loads((scene.metadata / "timestamp.json").read_bytes())["signed"]
    assert stamp[roles.ISSUED] == scene.world.utc // 10**9
    assert MetaFile.from_dict(stamp["meta"]["snapshot.json"]).version > 1
