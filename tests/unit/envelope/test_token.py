"""A key in a PKCS#11 token signs as a key file does; SoftHSM is the token."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from lamppost.cli.main import main
from lamppost.envelope import identity, signer
from lamppost.envelope.enrolment import read_request
from lamppost.envelope.keys import DecryptionKey, create_encryption_key, create_signing_key
from lamppost.envelope.seal import GENESIS, Header, SignerRecord, open_message, seal
from lamppost.envelope.token import TokenKey, TokenSigner, create
from lamppost.errors import TrustError

MODULES = ("/usr/lib/softhsm/libsofthsm2.so", "/usr/lib64/softhsm/libsofthsm2.so")
PIN, LABEL = "493817", "lamp-post-7"
HEADER = Header("gw-1", "hub.demo", "0f" * 16, 0, GENESIS, 0, 1)


@pytest.fixture(scope="module")
def module(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A token of its own; the library reads its settings once in a process."""
    pytest.importorskip("pkcs11", reason="python-pkcs11 is not installed: the extra pkcs11")
    found = next((path for path in MODULES if Path(path).exists()), None)
    if found is None or shutil.which("softhsm2-util") is None:
        pytest.skip("SoftHSM is not installed: apt-get install softhsm2")
    folder = tmp_path_factory.mktemp("softhsm")
    (folder / "tokens").mkdir()
    settings = folder / "softhsm2.conf"
    settings.write_text(f"directories.tokendir = {folder / 'tokens'}\nlog.level = ERROR\n")
    before = os.environ.get("SOFTHSM2_CONF")
    os.environ["SOFTHSM2_CONF"] = str(settings)
    words = ["--init-token", "--free", "--label", LABEL, "--pin", PIN, "--so-pin", "12345678"]
    subprocess.run(["softhsm2-util", *words], check=True, capture_output=True)
    yield found
    if before is None:
        del os.environ["SOFTHSM2_CONF"]
    else:
        os.environ["SOFTHSM2_CONF"] = before


def with_pin(state: Path, pin: str = PIN) -> Path:
    """A state folder whose credential `token-pin` is this PIN; the folder of its identity."""
    (state / "credentials").mkdir(parents=True, exist_ok=True)
    path = state / "credentials" / "token-pin"
    path.write_text(pin + "\n")
    path.chmod(0o600)
    return state / "identity"


def test_what_a_token_signs_the_hub_opens(module: str, tmp_path: Path) -> None:
    place = TokenKey(module, LABEL, "sealing")
    public = create(place, lambda: PIN)
    assert create(place, lambda: PIN) == public
    token = TokenSigner(place, lambda: PIN)
    assert (token.public, token.kid) == (public, public.kid)
    encryption = create_encryption_key(tmp_path / "hub.key")
    hub = DecryptionKey.load(tmp_path / "hub.key")
    for number in range(20):
        sealed = seal(b"[%d]" % number, HEADER, token, encryption, "lamppost/gw-1/up")
        opened = open_message(
            sealed.message,
            "lamppost/gw-1/up",
            aud="hub.demo",
            hub_keys={hub.kid: hub},
            signer_of=lambda kid: SignerRecord("gw-1", public) if kid == public.kid else None,
        )
        assert opened.payload == b"[%d]" % number
        if number == 10:
            token.close()  # pulled and plugged in again
    token.close()


def test_the_private_key_cannot_be_taken_out(module: str) -> None:
    import pkcs11

    place = TokenKey(module, LABEL, "locked-in")
    create(place, lambda: PIN)
    session = pkcs11.lib(module).get_token(token_label=LABEL).open(user_pin=PIN)
    try:
        key = session.get_key(
            object_class=pkcs11.ObjectClass.PRIVATE_KEY,
            key_type=pkcs11.KeyType.EC,
            label="locked-in",
        )
        assert key[pkcs11.Attribute.EXTRACTABLE] is False
        assert key[pkcs11.Attribute.SENSITIVE] is True
        with pytest.raises(pkcs11.exceptions.PKCS11Error):
            key[pkcs11.Attribute.VALUE]
    finally:
        session.close()


def test_an_identity_in_a_token_enrols_and_no_key_file_is_made(module: str, tmp_path: Path) -> None:
    folder = with_pin(tmp_path)
    words = ["--module", module, "--token", LABEL, "--state", str(tmp_path)]
    main(["key", "in-token", "gw-1", *words])
    assert not (folder / "envelope.key").exists()
    assert PIN not in (folder / "signer.json").read_text()
    public = identity.create(folder, "gw-1")
    assert not (folder / "envelope.key").exists()
    asked = read_request(identity.request(folder))
    assert (asked.gateway, asked.envelope_key) == ("gw-1", public)
    for used in signer._in_tokens.values():
        used.close()
    with pytest.raises(TrustError) as refused:
        identity.create(folder, "gw-1", token=TokenKey(module, LABEL, "another"), pin="token-pin")
    assert refused.value.code == "trust.identity-exists"


@pytest.mark.parametrize(
    ("token", "label", "pin", "said"),
    [
        (LABEL, "gw-9", "000000", "PinIncorrect"),
        ("no-such-token", "gw-9", PIN, "NoSuchToken"),
        (LABEL, "never-made", PIN, "NoSuchKey"),
    ],
)
def test_a_token_that_cannot_be_used_has_a_name_and_a_next_step(
    module: str, tmp_path: Path, token: str, label: str, pin: str, said: str
) -> None:
    create(TokenKey(module, LABEL, "gw-9"), lambda: PIN)
    folder = with_pin(tmp_path, pin)
    folder.mkdir()
    signer.choose(folder, kind="pkcs11", module=module, token=token, key=label, pin="token-pin")
    signer._in_tokens.clear()
    with pytest.raises(TrustError) as refused:
        signer.load(folder)
    assert (refused.value.code, refused.value.retry) == ("trust.token", True)
    assert said in str(refused.value)
    assert refused.value.hint
    assert pin not in str(refused.value) + refused.value.hint


def test_a_missing_module_and_a_missing_pin_have_names(tmp_path: Path) -> None:
    pytest.importorskip("pkcs11", reason="python-pkcs11 is not installed: the extra pkcs11")
    folder = tmp_path / "identity"
    folder.mkdir()
    signer.choose(folder, kind="pkcs11", module="/no/such.so", token="t", key="k", pin="token-pin")
    with pytest.raises(TrustError) as no_pin:
        signer.load(folder)
    assert (no_pin.value.code, "token-pin" in str(no_pin.value)) == ("trust.token", True)
    with_pin(tmp_path)
    with pytest.raises(TrustError) as no_module:
        signer.load(folder)
    assert no_module.value.code == "trust.token"


def test_without_the_library_the_hint_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "pkcs11", None)
    with pytest.raises(TrustError) as refused:
        TokenSigner(TokenKey("/any.so", "t", "k"), lambda: PIN)
    assert "lamppost[pkcs11]" in refused.value.hint


@pytest.mark.parametrize("bad", ["", "[]", "{}", '{"schema":"lamppost.signer/1","kind":"pkcs11"}'])
def test_a_damaged_choice_is_refused_and_no_other_key_is_used(tmp_path: Path, bad: str) -> None:
    create_signing_key(tmp_path / "envelope.key")
    (tmp_path / "signer.json").write_text(bad)
    with pytest.raises(TrustError) as refused:
        signer.load(tmp_path)
    assert refused.value.code == "trust.signer-damaged"


# -- credentials of systemd ----------------------------------------------------------------------------------------


def test_the_key_may_come_as_a_credential_of_systemd(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, brought = tmp_path / "identity", tmp_path / "brought"
    public = identity.create(folder, "gw-1")
    brought.mkdir(0o700)
    shutil.copy(folder / "envelope.key", brought / "envelope-key")
    (brought / "envelope-key").chmod(0o440)  # as systemd shows a credential with an ACL
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(brought))
    main(["key", "in-credential", "envelope-key", "--state", str(tmp_path)])
    (folder / "envelope.key").unlink()
    assert signer.load(folder).public == public
    assert identity.create(folder, "gw-1") == public
    assert not (folder / "envelope.key").exists()
    monkeypatch.delenv("CREDENTIALS_DIRECTORY")
    with pytest.raises(TrustError) as missing:
        signer.load(folder)
    assert missing.value.code == "trust.key-missing"


def test_the_credential_that_the_unit_asks_for_stands_in_for_a_missing_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, brought = tmp_path / "identity", tmp_path / "brought"
    public = identity.create(folder, "gw-1")
    brought.mkdir(0o700)
    (folder / "envelope.key").rename(brought / "envelope.key")
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(brought))
    assert signer.load(folder).public == public
    assert identity.create(folder, "gw-1") == public
    assert not (folder / "envelope.key").exists()
    monkeypatch.delenv("CREDENTIALS_DIRECTORY")
    with pytest.raises(TrustError) as missing:
        identity.create(folder, "gw-1")
    assert missing.value.code == "trust.key-missing"


def test_a_credential_with_another_key_is_not_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    identity.create(tmp_path / "identity", "gw-1")
    create_signing_key(tmp_path / "envelope-key")
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path))
    with pytest.raises(TrustError) as refused:
        signer.move_to_credential(tmp_path / "identity", "envelope-key")
    assert refused.value.code == "trust.identity-exists"
    assert not (tmp_path / "identity" / "signer.json").exists()


def test_an_identity_whose_key_is_gone_gets_no_new_one(tmp_path: Path) -> None:
    identity.create(tmp_path / "identity", "gw-1")
    (tmp_path / "identity" / "envelope.key").unlink()
    with pytest.raises(TrustError) as refused:
        identity.create(tmp_path / "identity", "gw-1")
    assert refused.value.code == "trust.key-missing"
    assert json.loads((tmp_path / "identity" / "identity.json").read_text())["gateway"] == "gw-1"
