"""A power cut at every step of every change of a configuration: whole, verified, and never below the floor."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from fakes.crash_os import Recorder, Step, images
from fakes.virtual_clock import VirtualClock
from lamppost import files
from lamppost.ota.choice import choose
from lamppost.ota.generations import Generations
from lamppost.ota.refusal import ConfigRefused, ConfigUnfit
from lamppost.ota.state import Baseline, State
from lamppost.ota.transitions import admit

LOCAL = b"# local\n"
CLOCK = VirtualClock()


def content(serial: int) -> bytes:
    """A site of several sectors, different in each of them."""
    return b"".join(b"# serial %d, line %d\n" % (serial, line) for line in range(60))


def runs(state: State) -> bytes:
    """What a start with this state runs."""
    generation = state.trial.generation if state.trial else state.good
    return content(generation.serial) if generation else LOCAL


class Life:
    """The life of one gateway's configurations, recorded step by step with the state that each change leaves."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.recorder = Recorder(folder)
        monkeypatch.setattr(files, "os", self.recorder)
        monkeypatch.setattr(Path, "unlink", lambda path: self.recorder.unlink(path))
        self.generations = Generations(folder)
        self.recorder.note(self.generations.state)

    def do(self, change: Callable[[], object]) -> None:
        change()
        self.recorder.note(self.generations.state)

    def staged(self, serial: int) -> None:
        self.do(lambda: self.generations.stage(content(serial), Baseline(), serial=serial))

    def started(self) -> None:
        self.do(lambda: self.generations.start(CLOCK.now(), CLOCK.utc()))

    def confirmed(self, serial: int) -> None:
        self.staged(serial)
        self.started()
        self.do(lambda: self.generations.confirm(CLOCK.utc()))


def lived(folder: Path, monkeypatch: pytest.MonkeyPatch) -> list[Step]:
    life = Life(folder, monkeypatch)
    g, utc = life.generations, CLOCK.utc()
    life.confirmed(1)
    life.confirmed(2)
    life.staged(4)  # fails its trial
    life.started()
    life.do(lambda: g.revert(ConfigUnfit("ota.no-receipt", "none came"), utc))
    life.staged(5)  # the daemon dies in it, twice
    life.started()
    life.started()
    life.started()
    life.confirmed(6)
    life.do(lambda: g.withdraw(utc))
    life.confirmed(7)
    life.do(lambda: g.roll_back(utc))
    life.staged(9)
    life.do(lambda: g.roll_back(utc))
    monkeypatch.undo()
    return life.recorder.steps


def test_whatever_a_power_cut_leaves_boots_whole_and_above_the_floor(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "life").mkdir()
    steps = lived(tmp_path / "life", monkeypatch)
    before: State = steps[0].note
    cuts = 0
    for cut in range(1, len(steps) + 1):
        step = steps[cut - 1]
        before = step.note if step.act == "note" else before
        after = next((s.note for s in steps[cut:] if s.act == "note"), before)
        for image in images(steps, cut):
            cuts += 1
            booted(tmp_path / "after", image, before, after)
    assert cuts > 500


def booted(folder: Path, image: dict[str, bytes], before: State, after: State) -> None:
    """The gateway starts from this image: it is in the state before the change or after it, and runs what that says."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    for name, left in image.items():
        (folder / name).write_bytes(left)
    local = folder.parent / "site.toml"
    local.write_bytes(LOCAL)
    generations = Generations(folder)
    found = generations.state
    assert found in (before, after)
    expected = runs(found)
    if found.trial is not None and found.trial.starts >= 2:
        expected = content(found.good.serial) if found.good else LOCAL
    chosen = choose(generations, local, lambda raw: raw, CLOCK.now(), CLOCK.utc())
    assert chosen.content == expected
    assert found.floor >= before.floor
    if before.floor > 1:
        with pytest.raises(ConfigRefused, match="below") as refused:
            admit(generations.state, before.floor - 1, "f" * 64)
        assert refused.value.code == "ota.downgrade"
    later: dict[str, Any] = {"serial": 50, "rollout": "later"}
    if generations.state.trial is None:
        generations.stage(content(50), Baseline(), **later)
        again = choose(Generations(folder), local, lambda raw: raw, CLOCK.now(), CLOCK.utc())
        assert again.content == content(50)


def test_a_rename_before_the_sync_would_be_noticed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The test above can fail: without the syncs some image is neither the state before nor the one after."""
    (tmp_path / "life").mkdir()
    steps = lived(tmp_path / "life", monkeypatch)
    hasty = [s for s in steps if s.act != "sync"]
    end = next(i for i, s in enumerate(hasty) if s.act == "note" and s.note.good is not None)
    states = [s.note for s in hasty[: end + 1] if s.act == "note"]
    left = []
    for image in images(hasty, end):
        folder = tmp_path / "after"
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        for name, bytes_left in image.items():
            (folder / name).write_bytes(bytes_left)
        left.append(Generations(folder).state)
    assert any(state not in states[-2:] for state in left)


@pytest.mark.parametrize("which", ["state-0", "state-1", "000002.toml"])
def test_a_damaged_file_keeps_nobody_from_starting(tmp_path: Path, which: str) -> None:
    folder, local = tmp_path / "ota", tmp_path / "site.toml"
    local.write_bytes(LOCAL)
    generations = Generations(folder)
    for serial in (1, 2):
        generations.stage(content(serial), Baseline(), serial=serial)
        generations.start(CLOCK.now(), CLOCK.utc())
        generations.confirm(CLOCK.utc())
    damaged = bytearray((folder / which).read_bytes())
    damaged[len(damaged) // 2] ^= 1
    (folder / which).write_bytes(damaged)
    chosen = choose(Generations(folder), local, lambda raw: raw, CLOCK.now(), CLOCK.utc())
    assert chosen.content in (content(1), content(2))
    if which.endswith("toml"):
        assert chosen.content == content(1)
        assert Generations(folder).state.history[-1].code == "ota.damaged"
