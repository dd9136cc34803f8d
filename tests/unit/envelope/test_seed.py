"""Seeds: what an editor, a copying program and an attacker may do to them."""

from __future__ import annotations

import tomllib
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lamppost.envelope.keys import FileSigner, create_signing_key
from lamppost.envelope.seed import Seed, read_seed, write_seed
from lamppost.errors import TrustError
from unit.envelope.world import signing_key, trust

BATCH = signing_key("p256")
SEED = Seed(
    batch="harbour-3",
    gateway="gw-0042",
    group="harbour",
    hub="https://hub.example:8443",
    pin="ab" * 32,
    token="c0" * 16,
    root='{"signed": {"_type": "root"}}\n',
)
FILE = write_seed(SEED, BATCH)


def test_a_seed_comes_back_and_names_its_batch_key() -> None:
    assert read_seed(FILE) == (SEED, BATCH.public)
    assert read_seed(FILE, BATCH.public)[0] == SEED
    assert tomllib.loads(FILE.decode())["gateway"] == "gw-0042"


def test_editors_of_other_systems_do_no_harm() -> None:
    assert read_seed(b"\xef\xbb\xbf" + FILE.replace(b"\n", b"\r\n"))[0] == SEED


@pytest.mark.parametrize("name", ["batch", "gateway", "group", "hub", "pin", "token", "root"])
def test_every_member_is_signed(name: str) -> None:
    other = write_seed(replace(SEED, **{name: "gw-0043"}), BATCH).decode().splitlines()
    mine = FILE.decode().splitlines()
    mixed = [o if o.startswith(f"{name} = ") else m for m, o in zip(mine, other, strict=True)]
    with trust("seed.signature"):
        read_seed("\n".join(mixed).encode())


def test_a_trusted_batch_key_is_the_only_one() -> None:
    with trust("seed.batch-key"):
        read_seed(FILE, signing_key("p256").public)


BAD = {
    "empty": b"",
    "no TOML": b"\x00\x01",
    "not UTF-8": b"\xff\xfe",
    "cut": FILE[: len(FILE) // 2],
    "more members": FILE + b'more = "x"\n',
    "a number": FILE.replace(b'batch = "harbour-3"', b"batch = 3"),
    "huge": FILE + b"#" * (1 << 17),
    "nested": b"a = " + b"[" * 100_000,
    "signature of something else": FILE[: FILE.index(b"signature")] + b'signature = "AAAA"\n',
}


@pytest.mark.parametrize("name", BAD)
def test_what_is_no_seed(name: str) -> None:
    with pytest.raises(TrustError) as refused:
        read_seed(BAD[name])
    assert refused.value.code in ("seed.malformed", "seed.signature")


def test_a_name_that_is_no_id_is_not_written() -> None:
    with trust("seed.malformed"):
        write_seed(replace(SEED, gateway="../x"), BATCH)


@given(st.text(max_size=40), st.text(max_size=40))
def test_any_text_comes_back_or_is_not_written(batch: str, token: str) -> None:
    made = replace(SEED, batch=batch, token=token)
    try:
        content = write_seed(made, BATCH)
    except (ValueError, TrustError):
        return
    assert read_seed(content)[0] == made


def test_a_key_file_signs(tmp_path: Path) -> None:
    create_signing_key(tmp_path / "batch.key", "ed25519")
    signer = FileSigner.load(tmp_path / "batch.key")
    assert read_seed(write_seed(SEED, signer))[1] == signer.public
