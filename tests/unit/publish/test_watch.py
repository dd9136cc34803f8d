"""`lamppost-hub publish watch`: gateways' own words out of the ledger, and a halt by itself when too many failed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from fakes.ceremony import publishing_hub
from lamppost.envelope.keys import FileSigner
from lamppost_hub.cli import main
from lamppost_hub.clock import SystemClock
from lamppost_hub.publish import nudging, office, reports, repository
from unit.hub.world import HUB, HubWorld

SITES = {f"gw-{number}": b"a = %d\n" % number for number in range(1, 5)}


class Rolled:
    """A hub that has released `harbour-1` to four gateways."""

    def __init__(self, folder: Path) -> None:
        self.world = HubWorld.make(folder)
        self.root = self.world.folder.root

        def key(name: str) -> Path:
            return folder / f"{name}.pem"

        publishing_hub(self.root, key, ("r1", "r2", "r3"), "harbour", ("a", "b"))
        utc = SystemClock().utc()
        with office.repository(self.root) as repo:
            repo.stage("harbour", SITES, repository.Terms([[10_000, utc // 10**9]]), utc)
            for name in ("a", "b"):
                repository.sign(repo.pending / "harbour", FileSigner.load(key(name)))
            repo.release(utc)
        self.gateways = {name: self.world.enrol(name) for name in SITES}

    def say(self, gateway: str, words: dict[str, Any]) -> None:
        """The gateway's next batch, with these words of its configuration."""
        device = {
            "id": f"urn:ngsi-ld:Device:{gateway}",
            "type": "Device",
            reports.ATTRIBUTE: {"type": "Property", "value": words},
        }
        message = self.gateways[gateway].next(content=json.dumps([device]).encode())
        self.world.intake.take([message])

    def watch(
        self, capsys: pytest.CaptureFixture[str], *options: str
    ) -> tuple[int, dict[str, Any]]:
        code: object = 0
        try:
            main(
                [
                    "publish",
                    "watch",
                    str(self.root),
                    "harbour-1",
                    "--json",
                    "--every",
                    "1s",
                    *options,
                ]
            )
        except SystemExit as end:
            code = end.code
        assert isinstance(code, int)
        return code, json.loads(capsys.readouterr().out)

    def halted(self) -> list[str]:
        with office.repository(self.root) as repo:
            return repo.halted()


CONFIRMED = {"state": "confirmed", "serial": 1, "last": {"serial": 1, "outcome": "confirmed"}}
FAILED = {
    "state": "local",
    "serial": 0,
    "last": {
        "serial": 1,
        "outcome": "reverted",
        "code": "ota.devices-silent",
        "reason": "answered before, silent now: meter-1",
    },
}


def test_all_confirmed_ends_the_watch(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rolled = Rolled(tmp_path)
    for gateway in SITES:
        rolled.say(gateway, FAILED)
        rolled.say(gateway, CONFIRMED)  # the newest word counts
    code, found = rolled.watch(capsys)
    assert code == 0
    assert found["ok"]
    assert {g["stands"] for g in found["gateways"]} == {"confirmed"}
    assert rolled.halted() == []


def test_too_many_failures_halt_it_and_the_gateways_are_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rolled = Rolled(tmp_path)
    rolled.say("gw-1", CONFIRMED)
    rolled.say("gw-2", FAILED)
    code, found = rolled.watch(capsys, "--once")
    assert (code, found["halted"]) == (1, False), "one alone may be broken, and --once never halts"
    rolled.say("gw-3", FAILED)
    code, found = rolled.watch(capsys)
    assert (code, found["halted"]) == (1, True)
    assert rolled.halted() == ["harbour-1"]
    failed = [g for g in found["gateways"] if g["stands"] == "failed"]
    assert [(g["gateway"], g["code"]) for g in failed] == [
        ("gw-2", "ota.devices-silent"),
        ("gw-3", "ota.devices-silent"),
    ]
    marked = json.loads((rolled.world.folder.publish / nudging.MARK).read_bytes())
    assert marked["gateways"] == sorted(SITES)


def test_a_roll_out_that_there_is_not(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rolled = Rolled(tmp_path)
    with pytest.raises(SystemExit) as end:
        main(["publish", "watch", str(rolled.root), "harbour-9", "--once"])
    assert end.value.code == 7
    assert "publish.unknown-rollout" in capsys.readouterr().out
    assert reports.reports(rolled.world.database, HUB) == {}


async def test_the_receiver_tells_what_was_marked_and_tries_again(tmp_path: Path) -> None:
    rolled = Rolled(tmp_path)
    keys = rolled.world.intake._keys
    sent: list[Any] = []
    up = [False]

    async def send(answer: Any) -> bool:
        sent.append(answer)
        return up[0]

    nudger = nudging.Nudger(rolled.world.folder.publish, keys.signer, rolled.world.clock, send)
    assert await nudger._tell(["gw-1", "gw-2"]) is False
    assert len(sent) == 1, "no connection: not the next one either"
    up[0] = True
    assert await nudger._tell(["gw-1", "gw-2"]) is True
    said = rolled.gateways["gw-1"].read(sent[1])
    assert (said.kind, said.code) == ("nudge", "configuration")  # type: ignore[union-attr]
