"""`lamppost-hub` as an operator meets it: verdict last, exit codes, one JSON object, and files of a hub."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from lamppost.envelope import identity
from lamppost_hub import founding
from lamppost_hub.cli import main
from lamppost_hub.clock import SystemClock
from lamppost_hub.folder import HubFolder
from lamppost_hub.intake import Intake
from lamppost_hub.queue import Queue
from unit.hub.world import EPOCH, LATER_EPOCH, SealingGateway


class Terminal:
    """Runs commands in this process and keeps what they printed."""

    def __init__(self, capsys: pytest.CaptureFixture[str]) -> None:
        self._capsys = capsys
        self.err = ""

    def run(self, *words: object) -> tuple[int, list[str]]:
        code = 0
        try:
            main([str(word) for word in words])
        except SystemExit as end:
            code = int(end.code or 0)
        out, self.err = self._capsys.readouterr()
        return code, out.splitlines()

    def json(self, *words: object) -> dict[str, Any]:
        code, (line,) = self.run(*words, "--json")
        found: dict[str, Any] = json.loads(line)
        assert (code == 0) == found["ok"]
        return found


@pytest.fixture
def terminal(capsys: pytest.CaptureFixture[str]) -> Terminal:
    return Terminal(capsys)


@pytest.fixture
def hub(terminal: Terminal, tmp_path: Path) -> Path:
    code, lines = terminal.run("init", tmp_path / "hub", "--id", "hub.test")
    assert code == 0
    assert lines[-1].startswith("OK made; next: lamppost-hub broker-config")
    return tmp_path / "hub"


def enrol(terminal: Terminal, hub: Path, tmp_path: Path, name: str = "gw-1") -> SealingGateway:
    home = tmp_path / name
    identity.create(home, name)
    (home / "request").write_bytes(identity.request(home))
    found = terminal.json("enrol", "approve", hub, home / "request", "--out", home / "bundle")
    assert found["schema"] == "lamppost.hub-enrol-approve/1"
    identity.install(home, (home / "bundle").read_bytes())
    return SealingGateway(identity.load(home))


def intake(hub: Path) -> tuple[Intake, Queue]:
    folder = HubFolder(hub)
    database = founding.open_database(folder)
    return Intake(database, founding.load_keys(folder), SystemClock()), Queue(database)


def test_a_hub_is_made_once(terminal: Terminal, hub: Path) -> None:
    before = {p: p.read_bytes() for p in hub.rglob("*.key")}
    code, lines = terminal.run("init", hub, "--id", "hub.test")
    assert (code, lines[-1].split(":")[0]) == (7, "PROBLEM hub.exists")
    assert {p: p.read_bytes() for p in hub.rglob("*.key")} == before
    assert {p.name for p in hub.iterdir()} >= {"hub.toml", "ca", "keys", "tls", "hub.sqlite"}
    assert all(
        p.stat().st_mode & 0o77 == 0 for p in (hub, *hub.rglob("*.key"), *hub.glob("keys/*"))
    )


@pytest.mark.parametrize("words", [("--id", "Hub"), ("--id", "h", "--host", "a b"), ("--id", "-")])
def test_a_hub_with_impossible_settings_is_not_made(
    terminal: Terminal, tmp_path: Path, words: tuple[str, ...]
) -> None:
    code, lines = terminal.run("init", tmp_path / "hub", *words)
    assert (code, lines[-1].split(":")[0]) == (7, "PROBLEM hub.settings")
    assert not (tmp_path / "hub").exists()


@pytest.mark.parametrize(
    "words", [("enrol", "list"), ("fleet", "show"), ("broker-config",), ("receive",)]
)
def test_a_folder_without_a_hub_is_named(
    terminal: Terminal, tmp_path: Path, words: tuple[str, ...]
) -> None:
    code, lines = terminal.run(*words, tmp_path)
    assert (code, lines[-1].split(":")[0]) == (7, "PROBLEM hub.not-initialised")


def test_wrong_usage_exits_2(terminal: Terminal, hub: Path) -> None:
    assert terminal.run("enrol", "approve", hub)[0] == 2
    assert terminal.run("nonsense")[0] == 2
    assert terminal.run("receive", hub, "--sink", "fax:123")[0] == 7


def test_a_damaged_settings_file_is_named(terminal: Terminal, hub: Path) -> None:
    (hub / "hub.toml").write_text('id = "hub.test"\nport = "x"\n')
    code, lines = terminal.run("fleet", "show", hub)
    assert (code, lines[-1].split(":")[0]) == (7, "PROBLEM hub.settings")


def test_a_forged_request_is_refused(terminal: Terminal, hub: Path, tmp_path: Path) -> None:
    enrol(terminal, hub, tmp_path)
    request = tmp_path / "gw-1" / "request"
    request.write_text(request.read_text().replace("gw-1", "gw-2"))
    code, lines = terminal.run("enrol", "approve", hub, request, "--out", tmp_path / "out")
    assert (code, lines[-1].split(":")[0]) == (8, "PROBLEM enrolment.signature")
    assert not (tmp_path / "out").exists()


def test_the_broker_listens_where_it_is_told(terminal: Terminal, hub: Path) -> None:
    assert terminal.json("broker-config", hub, "--port", 18883)["bind"] == "127.0.0.1"
    text = (hub / "broker" / "mosquitto.conf").read_text()
    assert "listener 18883 127.0.0.1\n" in text
    assert HubFolder(hub).settings().port == 18883
    terminal.json("broker-config", hub, "--bind", "0.0.0.0")
    assert "listener 18883 0.0.0.0\n" in (hub / "broker" / "mosquitto.conf").read_text()
    acl = (hub / "broker" / "acl").read_text().splitlines()
    first_user = acl.index("user hub")
    assert "pattern write lamppost/%u/up" in acl[:first_user]
    assert acl[first_user + 1 : first_user + 5] == [
        "topic read lamppost/+/up",
        "topic read lamppost/+/state",
        "topic read lamppost/+/alert",
        "topic write lamppost/+/down",
    ]


def test_the_fleet_is_shown(terminal: Terminal, hub: Path, tmp_path: Path) -> None:
    gateway = enrol(terminal, hub, tmp_path)
    desk, queue = intake(hub)
    desk.take([gateway.next(), gateway.next(skip=3), gateway.again(0)])
    desk.take([replace(gateway.again(0), payload=b"junk")])
    desk.take([replace(gateway.again(0), topic="lamppost/nobody/up", payload=b"junk")])
    queue.delivered("embedded", "gw-1", 1)
    code, lines = terminal.run("fleet", "show", hub)
    assert code == 0
    assert lines[0].startswith("gw-1: active, 2 batches, 20 readings, 3 in gaps, seen ")
    assert "  refused envelope.malformed: 1" in lines
    assert lines[-1] == "OK 1 gateways, 2 batches"
    found = terminal.json("fleet", "show", hub)
    assert found["schema"] == "lamppost.hub-fleet-show/1"
    (shown,) = found["gateways"]
    assert shown["bytes"] == sum(len(sealed.message) for sealed in gateway.batches)
    assert (shown["duplicates"], shown["refused"]) == (1, {"envelope.malformed": 1})
    assert found["unknown"] == {"envelope.malformed": 1}
    assert found["queues"] == {"embedded": 1}
    assert found["sink"]["present"] is False


def test_a_clone_is_a_problem_until_an_epoch_is_approved(
    terminal: Terminal, hub: Path, tmp_path: Path
) -> None:
    gateway = enrol(terminal, hub, tmp_path)
    desk, _ = intake(hub)
    clone = gateway.clone()
    desk.take([gateway.next()])
    desk.take([clone.next(count=3)])
    code, lines = terminal.run("fleet", "show", hub)
    assert (code, "gw-1 is quarantined" in lines[-1]) == (1, True)
    assert f"  epoch {EPOCH}: quarantined" in lines
    reset = SealingGateway(gateway.identity, LATER_EPOCH)
    desk.take([reset.next()])
    assert LATER_EPOCH in terminal.json("fleet", "show", hub)["verdict"]
    assert terminal.run("enrol", "approve-epoch", hub, "gw-1", "f" * 32)[0] == 8
    assert terminal.json("enrol", "approve-epoch", hub, "gw-1", LATER_EPOCH)["ok"]
    assert terminal.json("fleet", "show", hub)["ok"]
    assert desk.take([reset.again(0)]).new == 1


def test_a_revoked_gateway_is_listed_as_such(terminal: Terminal, hub: Path, tmp_path: Path) -> None:
    enrol(terminal, hub, tmp_path)
    assert terminal.json("enrol", "revoke", hub, "gw-1")["gateway"] == "gw-1"
    assert terminal.json("enrol", "list", hub)["gateways"][0]["state"] == "revoked"
    assert terminal.run("enrol", "revoke", hub, "gw-9")[0] == 8


def test_dead_letters_are_listed_and_queued_again(
    terminal: Terminal, hub: Path, tmp_path: Path
) -> None:
    gateway = enrol(terminal, hub, tmp_path)
    assert terminal.run("dead-letter", "list", hub) == (0, ["OK no dead letters"])
    desk, queue = intake(hub)
    desk.take([gateway.next()])
    queue.park("embedded", queue.next_of("embedded", "gw-1", 1)[0], "sink.refused", "no", 1)
    code, lines = terminal.run("dead-letter", "list", hub)
    assert code == 1
    assert lines[:2] == [f"    1 gw-1 {EPOCH}/0 embedded parked", "      sink.refused: no"]
    assert lines[-1].startswith("PROBLEM 1 parked")
    assert terminal.json("dead-letter", "retry", hub)["queued"] == 1
    assert terminal.json("dead-letter", "list", hub)["letters"][0]["state"] == "queued"


def test_parsing_arguments_imports_no_heavy_library() -> None:
    script = (
        "import sys; from lamppost_hub.cli.main import tree\n"
        "tree.main(['receive', '--help'], standalone_mode=False)\n"
        "heavy = {'cryptography', 'aiomqtt', 'paho', 'sqlite3', 'httpx', 'pydantic'} & set(sys.modules)\n"
        "assert not heavy, heavy"
    )
    subprocess.run([sys.executable, "-c", script], check=True, stdout=subprocess.DEVNULL)
