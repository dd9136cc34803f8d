"""COSE_Encrypt (RFC 9052 §5.1) for one recipient: ECDH-ES + HKDF-256 direct (RFC 9053 §6.3.1), A256GCM.

Nothing outside the protected headers may vary: the unprotected ones hold exactly the nonce, the ephemeral key and
the recipient's key id, and a change of any of them is a refusal.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import TypeAlias

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, x25519
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from lamppost.envelope import codec
from lamppost.envelope.keys import DecryptionKey
from lamppost.envelope.public import EncryptionKey, cose_key
from lamppost.envelope.refusal import EnvelopeError
from lamppost.envelope.sign1 import ALG, KID, read_header

TAG = 96
IV, EPHEMERAL = 5, -1
A256GCM, ECDH_ES_HKDF_256 = 3, -25
NONCE_SIZE, KEY_BITS, MAC_SIZE = 12, 256, 16

_CONTENT_HEADER = codec.encode({ALG: A256GCM})
_RECIPIENT_HEADER = codec.encode({ALG: ECDH_ES_HKDF_256})
# COSE_KDF_Context (RFC 9053 §5.2): algorithm, PartyUInfo, PartyVInfo (identity, nonce, other: none), SuppPubInfo
_NOBODY = [None, None, None]
_KDF_CONTEXT = codec.encode([A256GCM, _NOBODY, _NOBODY, [KEY_BITS, _RECIPIENT_HEADER]])

EphemeralKey: TypeAlias = ec.EllipticCurvePrivateKey | x25519.X25519PrivateKey


def encrypt(plaintext: bytes, recipient: EncryptionKey, topic: str) -> bytes:
    """Encrypt for `recipient` with a fresh ephemeral key and nonce; `topic` is bound as external data."""
    if recipient.kind == "x25519":
        return encrypt_with(
            plaintext, recipient, topic, x25519.X25519PrivateKey.generate(), os.urandom(NONCE_SIZE)
        )
    fresh = ec.generate_private_key(ec.SECP256R1())
    return encrypt_with(plaintext, recipient, topic, fresh, os.urandom(NONCE_SIZE))


def encrypt_with(
    plaintext: bytes, recipient: EncryptionKey, topic: str, ephemeral: EphemeralKey, nonce: bytes
) -> bytes:
    """`encrypt` with a given ephemeral key and nonce: for golden bytes only, never twice with the same pair."""
    if isinstance(ephemeral, x25519.X25519PrivateKey):
        assert isinstance(recipient.key, x25519.X25519PublicKey)
        secret = ephemeral.exchange(recipient.key)
    else:
        assert isinstance(recipient.key, ec.EllipticCurvePublicKey)
        secret = ephemeral.exchange(ec.ECDH(), recipient.key)
    ciphertext = AESGCM(_content_key(secret)).encrypt(nonce, plaintext, _external(topic))
    sender = {EPHEMERAL: cose_key(ephemeral.public_key()), KID: recipient.kid}
    return codec.tag_around(
        TAG, [_CONTENT_HEADER, {IV: nonce}, ciphertext, [[_RECIPIENT_HEADER, sender, b""]]]
    )


def decrypt(message: bytes, keys: Mapping[bytes, DecryptionKey], topic: str) -> bytes:
    """The plaintext of a message that came under `topic` for one of `keys` (by key id).

    Raises EnvelopeError `envelope.too-big`, `.malformed`, `.critical`, `.algorithm`, `.unknown-hub-key`,
    `.ephemeral-key`, `.decrypt`.
    """
    protected, unprotected, ciphertext, recipients = codec.tagged(message, TAG, 4)
    _demand(protected, A256GCM)
    nonce = _only(unprotected, IV)[0]
    if type(recipients) is not list or len(recipients) != 1:
        raise codec.malformed("not one recipient")
    recipient = recipients[0]
    if type(recipient) is not list or len(recipient) != 3 or recipient[2] != b"":
        raise codec.malformed("not a recipient of direct key agreement")
    _demand(recipient[0], ECDH_ES_HKDF_256)
    ephemeral, kid = _only(recipient[1], EPHEMERAL, KID)
    if type(nonce) is not bytes or len(nonce) != NONCE_SIZE or type(kid) is not bytes:
        raise codec.malformed("nonce or key id is not what it should be")
    if type(ciphertext) is not bytes or len(ciphertext) < MAC_SIZE:
        raise codec.malformed("no ciphertext")
    key = keys.get(kid)
    if key is None:
        raise EnvelopeError("envelope.unknown-hub-key", "sealed for a key that is not ours")
    content_key = _content_key(key.exchange(ephemeral))
    try:
        return AESGCM(content_key).decrypt(nonce, ciphertext, _external(topic))
    except InvalidTag:
        raise EnvelopeError(
            "envelope.decrypt", f"cannot be decrypted under topic {topic}"
        ) from None


def _demand(protected: object, algorithm: int) -> None:
    header = read_header(protected)
    stated = header.get(ALG)
    if type(stated) is not int or stated != algorithm:
        raise EnvelopeError("envelope.algorithm", f"algorithm {stated}, not {algorithm}")
    if len(header) != 1:
        raise codec.malformed("more than the algorithm is protected")


def _only(header: object, *labels: int) -> list[object]:
    """The values of exactly these labels."""
    if type(header) is not dict or header.keys() != set(labels):
        raise codec.malformed("an unprotected header holds more or less than it should")
    return [header[label] for label in labels]


def _content_key(secret: bytes) -> bytes:
    return HKDF(hashes.SHA256(), KEY_BITS // 8, None, _KDF_CONTEXT).derive(secret)


def _external(topic: str) -> bytes:
    """Enc_structure (RFC 9052 §5.3) with the MQTT topic as external_aad."""
    return codec.encode(["Encrypt", _CONTENT_HEADER, topic.encode()])
