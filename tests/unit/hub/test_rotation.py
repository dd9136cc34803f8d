"""The hub's encryption key: added, retired when nobody seals for it, brought back for batches that it stranded."""

from __future__ import annotations

from pathlib import Path

import pytest

from lamppost.envelope.receipt import Statement
from lamppost.errors import TrustError
from lamppost.model import Receipt
from lamppost_hub.cli import main
from lamppost_hub.registry import Registry
from lamppost_hub.rotation import Rotation
from unit.hub.world import HubWorld, SealingGateway


def said(world: HubWorld, gateway: SealingGateway, seq: int) -> Receipt | Statement:
    (answer,) = world.intake.take([gateway.again(seq)]).answers
    return gateway.read(answer)


def code_of(world: HubWorld, number: int) -> str:
    with pytest.raises(TrustError) as refused:
        Rotation(world.folder, world.database).retire(number)
    return refused.value.code


def states(world: HubWorld) -> list[tuple[int, str, tuple[str, ...]]]:
    keys = Rotation(world.folder, world.database).keys()
    return [(key.number, key.state, key.gateways) for key in keys]


def test_a_key_goes_when_the_last_gateway_has_enrolled_again(world: HubWorld) -> None:
    world.enrol("gw-1")
    world.enrol("gw-2")
    rotation = Rotation(world.folder, world.database)
    assert code_of(world, 1) == "hub.key-in-use"  # there is no other
    assert rotation.add().number == 2
    world.enrol("gw-1")
    assert states(world) == [(1, "accepted", ("gw-2",)), (2, "newest", ("gw-1",))]
    assert code_of(world, 1) == "hub.key-in-use"
    Registry(world.database).revoke("gw-2")
    assert rotation.retire(1).state == "retired"
    assert states(world) == [(1, "retired", ()), (2, "newest", ("gw-1",))]
    assert code_of(world, 3) == "hub.no-such-key"
    assert rotation.add().number == 3  # a number is never given twice


def test_of_a_gateway_enrolled_before_it_was_noted_nobody_knows(world: HubWorld) -> None:
    world.enrol("gw-1")
    world.database.run("UPDATE keys SET sealed_for = NULL")
    Rotation(world.folder, world.database).add()
    assert code_of(world, 1) == "hub.key-in-use"


def test_stranded_batches_are_read_when_the_key_is_brought_back(world: HubWorld) -> None:
    gateway = world.enrol("gw-1")
    gateway.next()  # sealed, and then cut off
    rotation = Rotation(world.folder, world.database)
    rotation.add()
    renewed = world.enrol("gw-1")
    renewed.batches, renewed.readings = gateway.batches, gateway.readings
    renewed.next()
    rotation.retire(1)
    world.reopen()
    stranded = said(world, renewed, 0)
    assert isinstance(stranded, Statement)
    assert stranded.code == "envelope.unknown-hub-key"
    assert isinstance(said(world, renewed, 1), Statement)  # the one behind it has to wait
    Rotation(world.folder, world.database).restore(1)
    world.reopen()
    assert [type(said(world, renewed, seq)) for seq in (0, 1)] == [Receipt, Receipt]


def test_the_commands(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    world = HubWorld.make(tmp_path)
    world.enrol("gw-1")

    def run(*words: object) -> tuple[int, str]:
        try:
            main(["key", *map(str, words)])
        except SystemExit as end:
            return int(end.code or 0), capsys.readouterr().out.splitlines()[-1]
        return 0, capsys.readouterr().out.splitlines()[-1]

    hub = world.folder.root
    assert run("add", hub)[1].startswith("OK made encryption-2")
    assert run("retire", hub, 1)[0] == 8
    assert run("retire", hub, 1, "--anyway") == (
        0, "OK encryption-1 lies in keys/retired; restart the receivers",
    )  # fmt: skip
    assert run("restore", hub, 1)[1] == "OK encryption-1 is read again; restart the receivers"
    assert run("list", hub) == (0, "OK 2 keys")
    world.database.close()
