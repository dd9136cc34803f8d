"""A support bundle of a site full of secrets: none is inside, and the fault is found from the bundle alone."""

from __future__ import annotations

import base64
import io
import json
import os
import tarfile
from pathlib import Path
from typing import Any

import pytest

from lamppost.diagnosis import bundle, redact
from lamppost.diagnosis.facts import Facts
from lamppost.envelope import keys
from lamppost.errors import TrustError
from sim.diagnosis.gateway import SITE, Desk

WORDS = "correct-horse-9-battery"
LOG = f"""
lamppost: uplink: connected
lamppost: password={WORDS} given on the command line
lamppost: Authorization: Bearer eyJhbGciOiJFUzI1NiJ9.eyJzdWIiOiJndy0xIn0.c2lnbmF0dXJlLWhlcmU
lamppost: fetching https://technician:{WORDS}@hub.city/config
lamppost: key 0F1E2D3C4B5A69788796A5B4C3D2E1F00F1E2D3C4B5A69788796A5B4C3D2E1F0
lamppost: the token is valid, the pin of the meter is GPIO 17
"""


@pytest.fixture
def state(tmp_path: Path) -> Path:
    """A state folder with every kind of secret that a gateway has."""
    folder = tmp_path / "state"
    (folder / "identity").mkdir(parents=True)
    (folder / "credentials").mkdir()
    keys.create_signing_key(folder / "identity/envelope.key", "p256")
    (folder / "pseudonym.key").write_bytes(os.urandom(32))
    (folder / "credentials/wmbus-water").write_text("00112233445566778899AABBCCDDEEFF\n")
    (folder / "credentials/broker-password").write_text(f"{WORDS}\n")
    return folder


def secret_forms(state: Path) -> list[bytes]:
    found = []
    for secret in bundle.secrets_of(state):
        bare = secret.strip()
        found += [bare, bare.hex().encode(), base64.b64encode(bare), bare.lower()]
    pem = (state / "identity/envelope.key").read_text().splitlines()
    return found + [line.encode() for line in pem if len(line) > 20 and "-----" not in line]


def test_no_secret_survives_and_the_fault_does(tmp_path: Path, state: Path) -> None:
    desk = Desk(tmp_path, SITE + f"\n# the broker's password is {WORDS}\n")
    out = tmp_path / "b.tar.gz"
    (tmp_path / "bin").mkdir()
    for name in ("journalctl", "dmesg"):
        program = tmp_path / "bin" / name
        leak = (state / "identity/envelope.key").read_text() + (
            state / "pseudonym.key"
        ).read_bytes().hex()
        (tmp_path / "log").write_text(LOG + leak)
        program.write_text(f"#!/bin/sh\ncat {tmp_path}/log\n")
        program.chmod(0o755)
    env = {"PATH": f"{tmp_path}/bin:{os.environ['PATH']}", "LAMPPOST_STATE": str(state)}
    made = desk.lamppost("bundle", "create", "--out", out, env=env)
    assert made.code == 0, made.out + made.err
    assert "nothing was sent" in made.verdict
    content = bundle.unpack(out.read_bytes())
    whole = b"\n".join(content.values())
    for form in secret_forms(state):
        assert form not in whole
    for word in (WORDS, "eyJhbGci", "0F1E2D3C", "PRIVATE KEY", "c2lnbmF0dXJl"):
        assert word.encode() not in whole, word
    assert b"uplink: connected" in content["log.txt"]  # what is no secret is still there
    assert b"GPIO 17" in content["log.txt"]
    read = desk.lamppost(
        "bundle", "inspect", out, env={"LAMPPOST_SITE": "/nowhere", "LAMPPOST_STATE": "/nowhere"}
    )
    assert "bus.port-missing a" in read.out
    assert f"code {bundle.code_of(out.read_bytes())}" in read.out


def test_what_would_leak_is_never_written(state: Path) -> None:
    secrets = bundle.secrets_of(state)
    for leak in (b"x " + secrets[0], WORDS.encode(), b"token: a8f5f167f44f4964e6c998dee827110c"):
        with pytest.raises(TrustError) as refused:
            bundle.pack({"facts.json": leak}, 1, secrets)
        assert refused.value.code == "bundle.secret"
        assert WORDS not in str(refused.value)


@pytest.mark.parametrize(
    "given",
    [
        'password = "hunter22"', "pin: 1234", "psk=abc123def", "token abcdefghijklmnopqrstuvwxyz",
        "https://user:pw1@host/", "-----BEGIN EC PRIVATE KEY-----\nMHcC\n-----END EC PRIVATE KEY-----",
        "client_secret: 'x'", "apikey 9f8e7d6c5b",
    ],
)  # fmt: skip
def test_what_looks_like_a_secret_is_taken_out(given: str) -> None:
    shown = redact.text(given)
    assert redact.MARK in shown
    assert redact.left(shown.encode(), ()) == []


@pytest.mark.parametrize(
    "given",
    [
        "the token is wrong", "pin of the plug", "voltage.l1 230.2 V", "ring epoch 3f2a91", "unit 2 on rs485-1",
        "password prompt", "boot 7d9f", "secret service",
    ],
)  # fmt: skip
def test_prose_stays(given: str) -> None:
    assert redact.text(given) == given


def test_members_named_like_secrets_lose_their_texts_and_pins_of_a_board_stay() -> None:
    given: dict[str, Any] = {
        "password": "x",
        "pin": 17,
        "a": [{"token": "y"}],
        "heard": "00" * 40,
        "key": "meter-1",
    }
    assert redact.values(given) == {
        "password": redact.MARK, "pin": 17, "a": [{"token": redact.MARK}], "heard": "00" * 40, "key": "meter-1",
    }  # fmt: skip


def test_readings_of_personal_devices_stay_at_home(tmp_path: Path, state: Path) -> None:
    site = tmp_path / "site.toml"
    site.write_text('[[device]]\nname = "home"\npersonal = true\n[[device]]\nname = "lamp"\n')
    reading = {"power": {"value": 4711.5, "quality": "good"}}
    status = {
        "devices": [{"name": "home", "readings": reading}, {"name": "lamp", "readings": reading}]
    }
    content = bundle.files(Facts(status=status), (), site, state, "", "")
    devices = json.loads(content["facts.json"])["status"]["devices"]
    assert [d["readings"] for d in devices] == [{}, reading]


def test_a_file_that_is_no_bundle_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no bundle"):
        bundle.unpack(b"PK nonsense")
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w:gz") as tar:
        entry = tarfile.TarInfo("../../etc/passwd")
        entry.size = 1
        tar.addfile(entry, io.BytesIO(b"x"))
    with pytest.raises(ValueError, match=r"facts\.json"):
        bundle.unpack(out.getvalue())
    bomb = io.BytesIO()
    with tarfile.open(fileobj=bomb, mode="w:gz") as tar:
        entry = tarfile.TarInfo("facts.json")
        entry.size = bundle.LIMIT + 1
        tar.addfile(entry, io.BytesIO(bytes(entry.size)))
    with pytest.raises(ValueError, match="larger"):
        bundle.unpack(bomb.getvalue())
