"""Who may send: first enrolment, renewal, replacement, revocation, copied cards."""

from __future__ import annotations

import pytest

from lamppost.envelope import identity
from lamppost.envelope.enrolment import read_request
from lamppost.envelope.receipt import Statement
from lamppost.errors import TrustError
from lamppost.model import Receipt
from lamppost_hub import founding
from lamppost_hub.registry import Registry
from unit.hub.world import EPOCH, LATER_EPOCH, HubWorld, SealingGateway


def said(world: HubWorld, gateway: SealingGateway) -> Receipt | Statement:
    (answer,) = world.intake.take([gateway.next()]).answers
    return gateway.read(answer)


def test_an_enrolled_gateway_is_listed(world: HubWorld) -> None:
    gateway = world.enrol()
    (row,) = Registry(world.database).gateways()
    assert (row.id, row.state, row.kid) == ("gw-1", "active", gateway.identity.signer.kid)
    assert (row.enrolled, row.seen) == (world.clock.utc(), 0)
    assert row.not_after == gateway.identity.tls_not_after_ns


def test_the_same_request_again_renews_the_certificate(world: HubWorld) -> None:
    world.enrol()
    world.clock.ns += 60 * 86400 * 10**9
    gateway = world.enrol()
    assert Registry(world.database).gateways()[0].not_after == gateway.identity.tls_not_after_ns
    assert isinstance(said(world, gateway), Receipt)


def test_another_key_for_a_known_name_needs_the_operators_word(world: HubWorld) -> None:
    old = world.enrol()
    assert isinstance(said(world, old), Receipt)
    with pytest.raises(TrustError) as refused:
        world.enrol(folder="new-card")
    assert refused.value.code == "registry.key-differs"
    assert isinstance(said(world, old), Receipt)
    new = world.enrol(folder="new-card", replace=True)
    new.epoch = LATER_EPOCH
    assert said(world, old) == Statement("refused", "registry.key-retired", EPOCH, 2)
    assert said(world, new) == Statement("refused", "ledger.epoch-pending", LATER_EPOCH, 0)


def test_a_copied_card_under_another_name_is_refused(world: HubWorld) -> None:
    world.enrol()
    request = read_request(identity.request(world.path / "gw-1"))
    copied = type(request)("gw-2", request.envelope_key, request.csr_pem)
    for replace in (False, True):
        with pytest.raises(TrustError) as refused:
            founding.approve(world.folder, world.database, copied, world.clock, replace=replace)
        assert refused.value.code == "registry.key-taken"
    assert [g.id for g in Registry(world.database).gateways()] == ["gw-1"]


def test_a_revoked_gateway_comes_back_only_by_the_operators_word(world: HubWorld) -> None:
    gateway = world.enrol()
    Registry(world.database).revoke("gw-1")
    assert said(world, gateway) == Statement("refused", "registry.revoked", EPOCH, 0)
    with pytest.raises(TrustError) as refused:
        world.enrol()
    assert refused.value.code == "registry.revoked"
    world.enrol(replace=True)
    (answer,) = world.intake.take([gateway.again(0)]).answers
    assert isinstance(gateway.read(answer), Receipt)


def test_revocation_by_another_process_counts_at_once(world: HubWorld) -> None:
    gateway = world.enrol()
    assert isinstance(said(world, gateway), Receipt)
    other = founding.open_database(world.folder)
    Registry(other).revoke("gw-1")
    other.close()
    assert said(world, gateway) == Statement("refused", "registry.revoked", EPOCH, 1)


def test_an_unknown_gateway_cannot_be_revoked(world: HubWorld) -> None:
    with pytest.raises(TrustError) as refused:
        Registry(world.database).revoke("gw-9")
    assert refused.value.code == "registry.unknown-gateway"
