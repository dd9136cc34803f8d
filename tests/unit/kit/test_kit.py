"""`lamppost-kit` as an installer meets it: the right card, one file, read back, and clear words when it is not."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from lamppost.envelope.seed import read_seed
from lamppost.errors import StoreError
from lamppost_kit.cli import main
from lamppost_kit.drive import place_seed

PIN = "ab" * 32


@pytest.fixture
def card(tmp_path: Path) -> Path:
    boot = tmp_path / "bootfs"
    boot.mkdir()
    (boot / "config.txt").write_text("arm_64bit=1\n")
    return boot


@pytest.fixture
def key(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Path:
    main(["key", str(tmp_path / "batch.key")])
    capsys.readouterr()
    return tmp_path / "batch.key"


def words(card: Path, key: Path, gateway: str = "gw-1", *more: str) -> list[str]:
    token = key.parent / "token"
    token.write_text("a-token-of-192-bits\n")
    where = ["seed", str(card), "--gateway", gateway, "--hub", "https://hub:8443", "--pin", PIN]
    return [*where, "--token-file", str(token), "--key", str(key), *more]


def ended(arguments: list[str]) -> int:
    with pytest.raises(SystemExit) as end:
        main(arguments)
    return int(end.value.code or 0)


def test_a_card_gets_its_seed(
    card: Path, key: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "root.json").write_text('{"root": 1}')
    main(words(card, key, "gw-1", "--root", str(tmp_path / "root.json"), "--group", "harbour"))
    assert capsys.readouterr().out.splitlines()[-1].startswith("OK written and read back")
    seed, signer = read_seed((card / "lamppost" / "seed.toml").read_bytes())
    assert (seed.gateway, seed.group, seed.token) == ("gw-1", "harbour", "a-token-of-192-bits")
    assert seed.root == '{"root": 1}'
    assert signer.pem() == (tmp_path / "batch.key.pub").read_text()


def test_as_json(card: Path, key: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main(words(card, key, "gw-1", "--json"))
    found = json.loads(capsys.readouterr().out)
    assert found["schema"] == "lamppost.kit-seed/1"
    assert Path(found["file"]).exists()


def test_another_partition_is_left_alone(
    card: Path, key: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (card / "config.txt").unlink()
    assert ended(words(card, key)) == 1
    assert "PROBLEM kit.no-boot-partition" in capsys.readouterr().out
    assert list(card.iterdir()) == []


def test_a_waiting_seed_is_not_overwritten_unasked(
    card: Path, key: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    main(words(card, key, "gw-1"))
    assert ended(words(card, key, "gw-2")) == 1
    assert "PROBLEM kit.seeded-already" in capsys.readouterr().out
    main(words(card, key, "gw-2", "--replace"))
    assert read_seed((card / "lamppost" / "seed.toml").read_bytes())[0].gateway == "gw-2"


def test_a_card_that_forgets_is_thrown_away(card: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lamppost_kit.drive._read_back", lambda path: b"something else")
    with pytest.raises(StoreError) as failed:
        place_seed(card, b"seed")
    assert failed.value.code == "kit.read-back"


def test_a_card_that_cannot_be_written(card: Path) -> None:
    (card / "lamppost").write_text("a file where the folder should be")
    with pytest.raises(StoreError) as failed:
        place_seed(card, b"seed")
    assert failed.value.code == "kit.write"


def test_bad_ids_are_refused_before_the_card_is_touched(
    card: Path, key: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert ended(words(card, key, "GW 1")) == 8
    assert "PROBLEM seed.malformed" in capsys.readouterr().out
    assert not (card / "lamppost").exists()
