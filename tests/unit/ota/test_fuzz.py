"""Mutated metadata: one documented refusal each, in bounded time, and never anything else than what was signed."""

from __future__ import annotations

import copy
import json
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any

import pytest

from fakes.publishing import World
from lamppost.errors import LamppostError
from lamppost.ota.refusal import UNTRUSTED
from lamppost.ota.sources import Absent
from lamppost.ota.trust import Repository

TARGET = "harbour/gw-1/site.toml"
SITE = b"interval = 10\n"
ODD: list[Any] = [
    None,
    True,
    -1,
    0,
    2**63,
    1e400,
    "",
    "\ud800",
    "x" * 5000,
    [],
    {},
    [[]],
    {"a": {}},
    "2026-01-01",
]


@dataclass
class Memory:
    """The served files, some of them mutated."""

    files: dict[str, bytes]
    changed: dict[str, bytes] = field(default_factory=dict)
    asked: set[str] = field(default_factory=set)
    where = "memory"
    local = False

    def read(self, path: str) -> Iterator[bytes]:
        self.asked.add(path)
        content = self.changed.get(path, self.files.get(path))
        if content is None:
            raise Absent(404)
        yield content


def mutated(name: str, content: bytes, dice: Random) -> bytes:
    """One of: a flipped bit, a cut, a doubled part, or a JSON value that is another one."""
    kind = dice.randrange(5 if name.endswith(".json") else 3)
    raw = bytearray(content)
    at = dice.randrange(len(raw))
    if kind == 0:
        raw[at] ^= 1 << dice.randrange(8)
    elif kind == 1:
        del raw[at:]
    elif kind == 2:
        raw[at:at] = raw[at : at + dice.randrange(1, 300)] * dice.randrange(1, 40)
    else:
        return _other_value(content, dice)
    return bytes(raw)


def _other_value(content: bytes, dice: Random) -> bytes:
    found = json.loads(content)
    places = list(_places(found))
    holder, key = dice.choice(places)
    if dice.random() < 0.3:
        holder.pop(key)
    else:
        holder[key] = copy.deepcopy(dice.choice([*ODD, found]))
    return json.dumps(found).encode()


def _places(value: Any) -> Iterator[tuple[Any, Any]]:
    keys = value.keys() if isinstance(value, dict) else range(len(value))
    for key in list(keys):
        yield value, key
        if isinstance(value[key], (dict, list)):
            yield from _places(value[key])


@pytest.mark.parametrize("count", [200, pytest.param(60_000, marks=pytest.mark.long)])
def test_mutated_metadata_is_refused_or_says_what_it_said(tmp_path: Path, count: int) -> None:
    world = World(tmp_path / "hub")
    world.publish("harbour", {"gw-1": SITE})
    world.repository.new_root(None, None, world.utc)
    world.sign("root", "r1", "r2")
    world.release()
    files = {
        str(f.relative_to(world.served)): f.read_bytes()
        for f in world.served.rglob("*")
        if f.is_file()
    }
    folder, whole = tmp_path / "tuf", Memory(files)
    repository = Repository(folder, world.root, whole, world.utc)
    honest = repository.look(TARGET)
    assert honest.offer is not None
    assert repository.fetch(honest.offer) == SITE
    names = sorted(whole.asked & files.keys())
    dice = Random(20261123)
    refused: dict[str, int] = {}
    for number in range(count):
        shutil.rmtree(folder, ignore_errors=True)
        name = dice.choice(names)
        source = Memory(files, {name: mutated(name, files[name], dice)})
        try:
            repository = Repository(folder, world.root, source, world.utc)
            found = repository.look(TARGET)
            assert found.offer is None or found.offer == honest.offer, (number, name)
            if found.offer is not None:
                assert repository.fetch(found.offer) == SITE
        except LamppostError as error:
            assert error.code in UNTRUSTED or error.code == "ota.unreachable", (number, error.code)
            refused[error.code] = refused.get(error.code, 0) + 1
    assert sum(refused.values()) > count * 0.6
    assert {"ota.altered", "ota.malformed"} <= refused.keys()
