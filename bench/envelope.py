"""Seal and open a 20 kB batch, issue and verify its receipt: one JSON line a figure.

python bench/envelope.py [seconds per figure]
"""

from __future__ import annotations

import json
import random
import sys
import time
from collections.abc import Callable

from cryptography.hazmat.primitives.asymmetric import ec, ed25519, x25519

from lamppost.envelope.compression import compress
from lamppost.envelope.encrypt import decrypt, encrypt
from lamppost.envelope.keys import DecryptionKey, EncryptionKey, FileSigner, PublicKey
from lamppost.envelope.merkle import Frontier, MerkleLog, leaf_hash
from lamppost.envelope.receipt import ReceiptClaim, issue_receipt, read_down, verify_receipt
from lamppost.envelope.seal import GENESIS, Header, SignerRecord, open_message, seal, sign_body
from lamppost.envelope.sign1 import read_sign1

TOPIC = "lamppost/gw-1/up"
HEADER = Header("gw-1", "hub.demo", "0f" * 16, 0, GENESIS, 0, 2000)


def batch(size: int = 20_000) -> bytes:
    """NGSI-LD-like JSON that compresses to about `size` bytes."""
    chance = random.Random(7)

    def entity(i: int) -> dict[str, object]:
        value = {
            "type": "Property",
            "value": round(chance.gauss(2300, 400), 3),
            "unitCode": "WTT",
            "observedAt": f"2026-11-22T12:{i // 60 % 60:02}:{i % 60:02}Z",
        }
        return {
            "id": f"urn:ngsi-ld:Device:gw-1:meter-{i % 40:03}",
            "type": "Device",
            "activePower": value,
        }

    entities = [entity(i) for i in range(5000)]
    low, high = 1, len(entities)
    while high - low > 5:
        middle = (low + high) // 2
        small = len(compress(json.dumps(entities[:middle]).encode())) < size
        low, high = (middle, high) if small else (low, middle)
    return json.dumps(entities[:low], separators=(",", ":")).encode()


def measure(name: str, step: Callable[[], object], seconds: float, **more: object) -> None:
    """Print the rate of `step` over the best of three stretches, and the CPU time of one step (a busy machine)."""
    best, cpu = 0.0, float("inf")
    for _ in range(3):
        count, start, used = 0, time.perf_counter(), time.process_time()
        while (passed := time.perf_counter() - start) < seconds / 3:
            step()
            count += 1
        best = max(best, count / passed)
        cpu = min(cpu, (time.process_time() - used) / count)
    figures = {"per_second": round(best), "cpu_us": round(cpu * 1e6, 1)}
    print(json.dumps({"bench": "envelope", "figure": name, **figures, **more}))


def main(seconds: float) -> None:
    payload = batch()
    p256 = ec.generate_private_key(ec.SECP256R1())
    edwards = ed25519.Ed25519PrivateKey.generate()
    hub_p256, hub_x25519 = (
        ec.generate_private_key(ec.SECP256R1()),
        x25519.X25519PrivateKey.generate(),
    )
    signers = [
        FileSigner(PublicKey.of(p256.public_key()), p256),
        FileSigner(PublicKey.of(edwards.public_key()), edwards),
    ]
    hubs = [
        DecryptionKey(EncryptionKey.of(hub_p256.public_key()), hub_p256),
        DecryptionKey(EncryptionKey.of(hub_x25519.public_key()), hub_x25519),
    ]
    for signer, hub in zip(signers, hubs, strict=True):
        kinds = f"{signer.public.kind}+{hub.public.kind}"
        sealed = seal(payload, HEADER, signer, hub.public, TOPIC)
        keys, registry = {hub.kid: hub}, {signer.kid: SignerRecord("gw-1", signer.public)}
        sizes = {
            "json": len(payload),
            "zstd": len(compress(payload)),
            "message": len(sealed.message),
        }

        def do_seal(signer: FileSigner = signer, hub: DecryptionKey = hub) -> object:
            return seal(payload, HEADER, signer, hub.public, TOPIC)

        def do_open(
            message: bytes = sealed.message,
            keys: dict[bytes, DecryptionKey] = keys,
            registry: dict[bytes, SignerRecord] = registry,
        ) -> object:
            return open_message(
                message, TOPIC, aud="hub.demo", hub_keys=keys, signer_of=registry.get
            )

        frame = compress(payload)

        def do_protect(
            frame: bytes = frame, signer: FileSigner = signer, hub: DecryptionKey = hub
        ) -> object:
            return encrypt(sign_body(frame, HEADER, signer), hub.public, TOPIC)

        def do_check(
            message: bytes = sealed.message,
            keys: dict[bytes, DecryptionKey] = keys,
            signer: FileSigner = signer,
        ) -> None:
            read_sign1(decrypt(message, keys, TOPIC)).verify(signer.public)

        measure(f"sign and encrypt {kinds}, zstd apart", do_protect, seconds, **sizes)
        measure(f"decrypt and verify {kinds}, zstd apart", do_check, seconds, **sizes)
        measure(f"seal {kinds}", do_seal, seconds, **sizes)
        measure(f"open {kinds}", do_open, seconds, **sizes)
    measure("compress", lambda: compress(payload), seconds)

    signer = signers[0]
    log = MerkleLog(leaf_hash(b"%d" % i) for i in range(100_000))
    frontier, leaf = log.frontier().to_bytes(), leaf_hash(b"next")

    def do_issue() -> bytes:
        edge = Frontier.from_bytes(frontier)
        path = edge.append_with_path(leaf)
        return issue_receipt(
            signer,
            gateway="gw-1",
            epoch="e",
            seq=100_000,
            log_size=edge.size,
            root=edge.root(),
            path=path,
        )

    message = do_issue()

    def do_verify() -> object:
        claim = read_down(message, "gw-1", {signer.kid: signer.public})
        assert isinstance(claim, ReceiptClaim)
        return verify_receipt(claim, leaf)

    measure("issue receipt, log of 100000", do_issue, seconds, message=len(message))
    measure("verify receipt, log of 100000", do_verify, seconds, message=len(message))


if __name__ == "__main__":
    main(float(sys.argv[1]) if len(sys.argv) > 1 else 2.0)
