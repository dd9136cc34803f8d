"""A copied card: seen, shown with its contradictions, and the first card goes on at the operator's word."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from lamppost.envelope.receipt import Statement
from lamppost.errors import TrustError
from lamppost.model import Receipt
from lamppost_hub.cli import main
from lamppost_hub.quarantine import Quarantine
from lamppost_hub.registry import Registry
from unit.hub.world import EPOCH, START, HubWorld, SealingGateway


def give(world: HubWorld, gateway: SealingGateway, count: int = 10) -> Receipt | Statement:
    (answer,) = world.intake.take([gateway.next(count)]).answers
    return gateway.read(answer)


def cloned(world: HubWorld) -> tuple[SealingGateway, SealingGateway]:
    """A gateway and its clone; the gateway's batch 1 is booked, the clone's is evidence."""
    gateway = world.enrol()
    assert isinstance(give(world, gateway), Receipt)
    clone = gateway.clone()
    assert isinstance(give(world, gateway), Receipt)
    world.clock.ns += 60 * 10**9
    assert give(world, clone, count=7) == Statement("refused", "ledger.equivocation", EPOCH, 1)
    return gateway, clone


def test_the_card_whose_batches_are_booked_goes_on(world: HubWorld) -> None:
    gateway, clone = cloned(world)
    (stopped,) = Quarantine(world.database).stopped()
    (found,) = stopped.contradictions
    assert (stopped.gateway, stopped.epoch, stopped.batches) == ("gw-1", EPOCH, 2)
    assert (found.seq, found.code) == (1, "ledger.equivocation")
    assert (found.booked, found.at) == (START, START + 60 * 10**9)
    assert Quarantine(world.database).release("gw-1") == [EPOCH]
    assert Registry(world.database).gateways()[0].state == "active"
    world.reopen()
    assert isinstance(give(world, gateway), Receipt)
    # The clone cannot: its past is another. It stops the stream again, and says so.
    assert give(world, clone) == Statement("refused", "ledger.equivocation", EPOCH, 2)
    assert Registry(world.database).gateways()[0].state == "quarantined"
    assert len(Quarantine(world.database).stopped()[0].contradictions) == 2


def test_a_release_of_what_is_not_stopped_is_refused(world: HubWorld) -> None:
    world.enrol()
    for gateway, code in (("gw-1", "ledger.not-quarantined"), ("gw-9", "registry.unknown-gateway")):
        with pytest.raises(TrustError) as refused:
            Quarantine(world.database).release(gateway)
        assert refused.value.code == code


def test_a_revoked_gateway_stays_revoked(world: HubWorld) -> None:
    cloned(world)
    Registry(world.database).revoke("gw-1")
    Quarantine(world.database).release("gw-1")
    assert Registry(world.database).gateways()[0].state == "revoked"


def test_the_commands(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    world = HubWorld.make(tmp_path)
    cloned(world)
    hub = world.folder.root

    def run(*words: object) -> tuple[int, str]:
        code = 0
        try:
            main([str(word) for word in words])
        except SystemExit as end:
            code = int(end.code or 0)
        return code, capsys.readouterr().out.strip()

    assert run("fleet", "show", hub)[1].endswith(f"then: lamppost-hub quarantine list {hub}")
    code, shown = run("quarantine", "list", hub)
    assert code == 1
    assert shown.splitlines()[-1].endswith(f"lamppost-hub quarantine release {hub} gw-1")
    content = json.loads(run("quarantine", "list", hub, "--json")[1])
    assert content["stopped"][0]["contradictions"][0]["seq"] == 1
    assert run("quarantine", "release", hub, "gw-1")[0] == 0
    assert run("quarantine", "list", hub) == (0, "OK nothing is quarantined")
    assert run("quarantine", "release", hub, "gw-1")[0] == 8
    world.database.close()
