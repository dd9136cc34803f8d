"""The Python library `cwt` as an oracle, in an environment of its own: a list of JSON tasks in, a list of answers out.

It must not import anything of Lamppost: what it accepts and makes is the other side's word. Bytes are hexadecimal.
"""

import hashlib
import json
import sys
from typing import Any

import cbor2
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cwt import COSE, COSEKey, Recipient
from cwt.recipient_algs import ecdh_direct_hkdf

Task = dict[str, Any]
Answer = dict[str, Any]

KDF_CONTEXT = [3, [None, None, None], [None, None, None], [256, b"\xa1\x01\x38\x18"]]


def key(pem: str, **more: object) -> COSEKey:
    return COSEKey.from_pem(pem, **more)


def verify(task: Task) -> Answer:
    """A COSE_Sign1, its payload attached or given."""
    detached = bytes.fromhex(task["payload"]) if "payload" in task else None
    signer = key(task["pem"], kid=bytes.fromhex(task["kid"]))
    message = bytes.fromhex(task["message"])
    return {"payload": COSE.new().decode(message, signer, detached_payload=detached).hex()}


def sign(task: Task) -> Answer:
    """A COSE_Sign1 under the protected header that is given as CBOR."""
    protected = cbor2.loads(bytes.fromhex(task["protected"]))
    signer = key(task["pem"])
    sender = COSE.new(deterministic_header=True)
    return {
        "message": sender.encode_and_sign(bytes.fromhex(task["payload"]), signer, protected).hex()
    }


def decrypt(task: Task) -> Answer:
    """A COSE_Encrypt with ECDH-ES + HKDF-256: all of it is cwt's."""
    hub = key(task["pem"], alg="ECDH-ES+HKDF-256", kid=bytes.fromhex(task["kid"]))
    message, topic = bytes.fromhex(task["message"]), task["topic"].encode()
    return {"plaintext": COSE.new().decode(message, hub, KDF_CONTEXT, external_aad=topic).hex()}


def encrypt(task: Task) -> Answer:
    """The other way. cwt writes the ephemeral key's optional members too; the caller takes them out.

    cwt 3.3.0 cannot make an ephemeral X25519 key ("The body of the key not found"), so it is given one.
    """
    ecdh_direct_hkdf.OKPKey = _fresh_x25519
    kid = bytes.fromhex(task["kid"])
    hub = key(task["pem"], alg="ECDH-ES+HKDF-256", kid=kid)
    recipient = Recipient.new({1: -25}, {4: kid}, recipient_key=hub, context=KDF_CONTEXT)
    sender = COSE.new(deterministic_header=True)
    message = sender.encode(
        bytes.fromhex(task["plaintext"]),
        protected={1: 3},
        unprotected={},
        recipients=[recipient],
        external_aad=task["topic"].encode(),
    )
    return {"message": message.hex()}


def _fresh_x25519(_parameters: object) -> COSEKey:
    private = X25519PrivateKey.generate().private_bytes(
        Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()
    )
    return COSEKey.from_pem(private, alg="ECDH-ES+HKDF-256")


def receipt(task: Task) -> Answer:
    """RFC 9942 with RFC 9162: the root of the leaf and the path, then the hub's signature over it."""
    message = bytes.fromhex(task["message"])
    _, unprotected, _, _ = cbor2.loads(message).value
    size, index, path = cbor2.loads(unprotected[396][-1][0])
    root = hashlib.sha256(b"\0" + bytes.fromhex(task["body"])).digest()
    last = size - 1
    for step in path:
        if index % 2 or index == last:
            root = hashlib.sha256(b"\1" + step + root).digest()
            while index and not index % 2:
                index, last = index >> 1, last >> 1
        else:
            root = hashlib.sha256(b"\1" + root + step).digest()
        index, last = index >> 1, last >> 1
    signer = key(task["pem"], kid=bytes.fromhex(task["kid"]))
    COSE.new().decode(message, signer, detached_payload=root)
    return {"root": root.hex(), "size": size}


TASKS = {"verify": verify, "sign": sign, "decrypt": decrypt, "encrypt": encrypt, "receipt": receipt}

if __name__ == "__main__":
    answers = []
    for task in json.load(sys.stdin):
        try:
            answers.append(TASKS[task["do"]](task))
        except Exception as error:  # noqa: BLE001
            answers.append({"refused": f"{type(error).__name__}: {error}"})
    json.dump(answers, sys.stdout)
