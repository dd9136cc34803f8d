"""`lamppost wipe`: what is removed, and what it takes to remove it."""

from __future__ import annotations

from pathlib import Path

import pytest

from lamppost.cli.main import main
from lamppost.envelope import identity, signer
from lamppost.files import locked
from lamppost.ring import Record, Ring

KEPT = b"-----BEGIN PRIVATE KEY-----"


@pytest.fixture
def state(tmp_path: Path) -> Path:
    folder = tmp_path / "gw"
    identity.create(folder / "identity", "gw-1")
    identity.request(folder / "identity")
    (folder / "pseudonym.key").write_bytes(b"secret")
    (folder / "boots.json").write_text("{}")
    return folder


def ended(state: Path, *words: str) -> int:
    with pytest.raises(SystemExit) as end:
        main(["wipe", "--state", str(state), *words])
    return int(end.value.code or 0)


def test_nothing_is_left(state: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main(["wipe", "--state", str(state), "--yes"])
    assert list(state.iterdir()) == []
    assert "lamppost-hub enrol revoke DIR gw-1" in capsys.readouterr().out


def test_unproved_readings_are_not_thrown_away_unasked(
    state: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ring = Ring.open(state / "ring", 1 << 20)
    ring.append([Record(3, b"abc")])
    ring.close()
    assert ended(state, "--yes") == 1
    assert "PROBLEM store.unproved" in capsys.readouterr().out
    assert (state / "identity" / "envelope.key").exists()
    main(["wipe", "--state", str(state), "--yes", "--discard"])
    assert list(state.iterdir()) == []


def test_a_running_daemon_is_not_wiped(state: Path) -> None:
    with locked(state / "lock", "state folder"):
        assert ended(state, "--yes") == 4
    assert (state / "identity" / "envelope.key").exists()


def test_the_name_must_be_typed(state: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("click.prompt", lambda *_, **__: "gw-2")
    assert ended(state) == 130
    assert (state / "identity" / "envelope.key").exists()
    monkeypatch.setattr("click.prompt", lambda *_, **__: "gw-1")
    main(["wipe", "--state", str(state)])
    assert list(state.iterdir()) == []


def test_a_machine_that_was_nobody(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main(["wipe", "--state", str(tmp_path / "absent")])
    assert capsys.readouterr().out.startswith("OK nothing to wipe")


def test_a_key_in_a_token_is_named(state: Path, capsys: pytest.CaptureFixture[str]) -> None:
    signer.choose(
        state / "identity",
        kind="pkcs11",
        module="/lib/p11.so",
        token="lamps",
        key="gw-1",
        pin="pin",
    )
    main(["wipe", "--state", str(state), "--yes"])
    said = capsys.readouterr().out
    assert (
        "pkcs11-tool --module /lib/p11.so --login --delete-object --type privkey --label gw-1"
        in said
    )
