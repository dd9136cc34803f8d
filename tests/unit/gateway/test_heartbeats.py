"""When a gateway says how it is, and what is worth saying."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from fakes.virtual_clock import VirtualClock
from lamppost.envelope import identity
from lamppost.envelope.heartbeat import open_heartbeat, topic_of_state
from lamppost.envelope.seal import SignerRecord
from lamppost.heartbeats import APART, Heartbeats, compose, worth_saying
from unit.envelope.test_identity import HUB_KEYS, bundle_for

STATUS: dict[str, Any] = {
    "ring": {"state": "ok", "waiting": 40, "evicted": 2},
    "clock": "synced",
    "configuration": {
        "state": "confirmed",
        "runs": {"serial": 7, "sha256": "ab" * 32},
        "fault": {},
    },
    "alerts": [],
    "buses": [{"state": "active", "fault": {"code": ""}}],
    "devices": [{"state": "active", "reason": "ok"}, {"state": "active", "reason": "ok"}],
}
DEAD = {**STATUS, "devices": [{"state": "dead", "reason": "timeout"}, STATUS["devices"][1]]}
UTC = 1_790_000_000 * 10**9


class Gateway:
    """An enrolled gateway whose status, clock and line the test holds."""

    def __init__(self, home: Path, every: float = 900.0) -> None:
        identity.create(home, "gw-1")
        identity.install(home, bundle_for(identity.request(home)))
        self.identity = identity.load(home)
        self.clock = VirtualClock()
        self.status = STATUS
        self.online = True
        self.said: list[bytes] = []
        self.beats = Heartbeats(
            self.clock,
            every,
            status=lambda: self.status,
            utc=lambda: UTC,
            identity=lambda: self.identity,
            tell=self.tell,
        )

    def tell(self, message: bytes) -> bool:
        if self.online:
            self.said.append(message)
        return self.online

    def after(self, seconds: float) -> bool:
        self.clock.advance(seconds)
        return self.beats.look()


@pytest.fixture
def gateway(tmp_path: Path) -> Gateway:
    return Gateway(tmp_path / "identity")


def test_it_is_said_at_once_and_then_in_its_time(gateway: Gateway) -> None:
    assert gateway.after(0)
    assert not gateway.after(899)
    assert gateway.after(1)
    assert len(gateway.said) == 2


def test_a_change_is_said_soon_but_not_every_second(gateway: Gateway) -> None:
    gateway.after(0)
    gateway.status = DEAD
    assert not gateway.after(APART - 1)
    assert gateway.after(1)
    gateway.status = STATUS
    assert not gateway.after(APART - 1)
    assert gateway.after(1)


def test_what_could_not_be_said_is_said_when_the_line_is_back(gateway: Gateway) -> None:
    gateway.online = False
    assert not gateway.after(0)
    gateway.online = True
    assert gateway.after(5)


def test_the_hub_reads_what_was_said(gateway: Gateway) -> None:
    gateway.after(0)
    signer = gateway.identity.signer
    name, kid, beat = open_heartbeat(
        gateway.said[0],
        topic_of_state("gw-1"),
        aud="hub.demo",
        hub_keys={key.kid: key for key in HUB_KEYS},
        signer_of=lambda kid: SignerRecord("gw-1", signer.public) if kid == signer.kid else None,
    )
    assert (name, kid) == ("gw-1", signer.kid)
    assert (beat.serial, beat.site, beat.devices, beat.waiting) == (7, "ab" * 8, 2, 40)


def test_what_is_wrong_is_named_once() -> None:
    ill = {
        **DEAD,
        "ring": {**STATUS["ring"], "state": "disk-full"},
        "alerts": [{"severity": "critical"}, {"severity": "critical"}],
        "buses": [{"state": "dead", "fault": {"code": "link.gone"}}],
    }
    beat = compose(ill, UTC, 5 * 10**9, 900.0)
    assert beat.wrong == ("store.disk-full", "alert.critical", "link.gone", "timeout")
    assert (beat.silent, beat.at, beat.up) == (1, UTC // 10**9, 5)


def test_a_site_file_of_its_own_has_a_hash_too() -> None:
    local = {**STATUS, "configuration": {"state": "local", "runs": {}, "fault": {}}}
    assert compose(local, None, 0, 900.0, "cd" * 32).site == "cd" * 8


@pytest.mark.parametrize(
    "change,worth",
    [
        ({"waiting": 99}, False),
        ({"at": 1, "up": 1}, False),
        ({"silent": 1}, True),
        ({"lost": 5}, True),
    ],
)
def test_growing_numbers_are_no_news(change: dict[str, Any], worth: bool) -> None:
    beat = compose(STATUS, UTC, 0, 900.0)
    assert worth_saying(beat, replace(beat, **change)) is worth
