"""The lines of docs/how-to/check-a-proof.md for @auth0/cose, over a proof that a hub's audit wrote."""

from __future__ import annotations

import base64
import json
import re
import subprocess
from pathlib import Path

import pytest

from interop.oracles import Oracle, auth0
from lamppost.envelope.keys import create_signing_key
from lamppost_hub.cli.main import main
from unit.hub.world import HubWorld

pytestmark = pytest.mark.long

HOW_TO = Path(__file__).resolve().parents[2] / "docs/how-to/check-a-proof.md"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("check")
    oracle: Oracle = auth0(made)
    assert oracle.name == "@auth0/cose"
    (code,) = re.findall(r"```js\n(.*?)```", HOW_TO.read_text(), re.DOTALL)
    assert len([line for line in code.splitlines() if line]) <= 30
    assert "lamppost" not in code
    (made / "check.mjs").write_text(code)
    return made


@pytest.mark.parametrize("kind", ["p256", "ed25519"])
def test_another_party_checks_a_proof(folder: Path, tmp_path: Path, kind: str) -> None:
    world = HubWorld.make(tmp_path)
    if kind == "ed25519":
        create_signing_key(world.folder.keys / "signing-2.pem", "ed25519")
    gateway = world.enrol()
    assert world.intake.take([gateway.next() for _ in range(20)]).new == 20
    proof = tmp_path / "proof.json"
    where = ("--gateway", "gw-1", "--proof", "137", "--out", str(proof))
    main(["audit", str(world.folder.root), *where])

    def check() -> subprocess.CompletedProcess[str]:
        words = ["node", str(folder / "check.mjs"), str(proof)]
        return subprocess.run(words, capture_output=True, text=True, check=False)

    done = check()
    assert done.stdout.startswith("OK gw-1 reading 137 batch 13 root "), done.stderr
    whole = json.loads(proof.read_text())
    for part, altered in (
        ("reading", 140),
        ("body", _flipped(whole["body"])),
        ("body", base64.b64encode(gateway.batches[12].body).decode()),
        ("receipt", _flipped(whole["receipt"])),
        ("hub_key", whole["gateway_key"]),
        ("gateway_key", whole["hub_key"]),
    ):
        proof.write_text(json.dumps({**whole, part: altered}))
        assert check().returncode != 0, part


def _flipped(text: str) -> str:
    raw = bytearray(base64.b64decode(text))
    raw[-80] ^= 1
    return base64.b64encode(raw).decode()
