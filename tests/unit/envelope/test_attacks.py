"""attacks.md, rows 2 to 6, as far as they are the envelope's: each with its own refusal code."""

from __future__ import annotations

import random
import resource
import time
from collections import Counter
from collections.abc import Callable
from typing import Any

import cbor2
import pytest
import zstandard
from cryptography.hazmat.primitives.asymmetric import ec, x25519

from lamppost.envelope import codec
from lamppost.envelope.compression import compress
from lamppost.envelope.encrypt import encrypt
from lamppost.envelope.refusal import EnvelopeError
from lamppost.envelope.seal import CONTENT_TYPE, SignerRecord, open_body, open_message, seal
from unit.envelope.test_compression import bomb
from unit.envelope.world import (
    EPOCH,
    HUB,
    PAYLOAD,
    TOPIC,
    World,
    decryption_key,
    forge_sign1,
    header,
    mutations,
    plain_cbor,
    refused,
    signing_key,
    world,
)

KINDS = [("p256", "p256"), ("ed25519", "x25519")]


def protected_of(w: World, **changes: Any) -> dict[Any, Any]:
    """The header that `w` would sign, by label."""
    return {
        1: -7 if w.signer.public.kind == "p256" else -8,
        3: CONTENT_TYPE,
        4: w.signer.kid,
        15: {1: "gw-1", 3: HUB},
        -70001: EPOCH,
        -70002: 7,
        -70003: bytes(32),
        -70004: 700,
        -70005: 100,
        **changes,
    }


def outer(message: bytes) -> list[Any]:
    """The message as nested lists that may be changed."""
    protected, unprotected, ciphertext, recipients = cbor2.loads(message).value
    recipient, sender, nothing = recipients[0]
    sender = {key: dict(value) if key == -1 else value for key, value in sender.items()}
    return [protected, dict(unprotected), ciphertext, [[recipient, sender, nothing]]]


def rebuilt(parts: Any, tag: int = 96) -> bytes:
    return codec.tag_around(tag, parts)


# Row 2: truncated, bit-flipped, trailing, nested, huge lengths


@pytest.mark.parametrize(("signing", "encryption"), KINDS)
def test_every_bit_flipped_and_every_cut_of_the_message(signing: str, encryption: str) -> None:
    w = world(signing, encryption)
    message = w.seal().message
    for at in range(len(message)):
        for bit in range(8):
            changed = bytearray(message)
            changed[at] ^= 1 << bit
            with pytest.raises(EnvelopeError):
                w.open(bytes(changed))
        with refused("envelope.malformed"):
            w.open(message[:at])
    with refused("envelope.malformed"):
        w.open(message + b"\x00")


@pytest.mark.parametrize("signing", ["p256", "ed25519"])
def test_every_bit_flipped_and_every_cut_of_the_body(signing: str) -> None:
    w = world(signing)
    body = w.seal().body
    for at in range(len(body)):
        for bit in range(8):
            changed = bytearray(body)
            changed[at] ^= 1 << bit
            with pytest.raises(EnvelopeError):
                w.open_body(bytes(changed))
        with refused("envelope.malformed"):
            w.open_body(body[:at])
    with refused("envelope.malformed"):
        w.open_body(body + b"\x00")


GARBAGE = {
    "empty": b"",
    "break": b"\xff",
    "deep": b"\x81" * 5000 + b"\x00",
    "deep inside the tag": b"\xd8\x60" + b"\x81" * 5000 + b"\x00",
    "huge array": bytes.fromhex("9b00ffffffffffffff"),
    "huge array inside the tag": bytes.fromhex("d8609b00ffffffffffffff"),
    "huge string": bytes.fromhex("d860845bffffffffffffffff"),
    "shared list": bytes.fromhex("d81c81d81d00"),
    "random": random.Random(2).randbytes(64),
}


@pytest.mark.parametrize("data", GARBAGE.values(), ids=GARBAGE)
def test_garbage(data: bytes) -> None:
    with refused("envelope.malformed"):
        world().open(data)
    with refused("envelope.malformed"):
        world().open_body(data)


def test_a_message_over_the_limit_is_not_even_parsed() -> None:
    with refused("envelope.too-big"):
        world().open(bytes(codec.MAX + 1))


def test_random_mutations_of_the_message() -> None:
    w = world()
    message = w.seal().message
    for changed in mutations(message, 8000, seed=1):
        with pytest.raises(EnvelopeError):
            w.open(changed)


@pytest.mark.parametrize("signing", ["p256", "ed25519"])
def test_random_mutations_of_the_body(signing: str) -> None:
    w = world(signing)
    body = w.seal().body
    for changed in mutations(body, 6000, seed=2):
        with pytest.raises(EnvelopeError):
            w.open_body(changed)


@pytest.mark.long
@pytest.mark.parametrize(("signing", "encryption"), KINDS)
def test_many_random_mutations(signing: str, encryption: str) -> None:
    w = world(signing, encryption)
    sealed = w.seal()
    seed = random.SystemRandom().randrange(1 << 32)
    codes: Counter[str] = Counter()
    slowest = 0.0
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for open_it, original in ((w.open, sealed.message), (w.open_body, sealed.body)):
        for changed in mutations(original, 150_000, seed):
            began = time.process_time()
            with pytest.raises(EnvelopeError) as caught:
                open_it(changed)
            slowest = max(slowest, time.process_time() - began)
            codes[caught.value.code] += 1
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    print(f"\nseed {seed}: {sum(codes.values())} refused, {dict(codes.most_common())}")
    print(f"slowest {slowest * 1e3:.1f} ms of CPU, memory grew by {grown:.1f} MiB")
    assert slowest < 1.0
    assert grown < 64


# Shapes: exact, or refused


def shapes(w: World) -> dict[str, bytes]:
    """Messages that a lax reader would take."""
    message = w.seal().message
    p, u, c, [[rp, ru, nothing]] = outer(message)
    inner = cbor2.loads(w.seal().body).value
    return {
        "no tag": codec.encode([p, u, c, [[rp, ru, nothing]]]),
        "COSE_Encrypt0": rebuilt([p, u, c], 16),
        "tag of COSE_Sign1": rebuilt([p, u, c, [[rp, ru, nothing]]], 18),
        "signed only": rebuilt(list(inner), 18),
        "a map": rebuilt({1: 2}),
        "three items": rebuilt([p, u, c]),
        "five items": rebuilt([p, u, c, [[rp, ru, nothing]], b""]),
        "no recipient": rebuilt([p, u, c, []]),
        "two recipients": rebuilt([p, u, c, [[rp, ru, nothing]] * 2]),
        "recipient is a map": rebuilt([p, u, c, {1: 2}]),
        "recipient of two": rebuilt([p, u, c, [[rp, ru]]]),
        "recipient of recipients": rebuilt([p, u, c, [[rp, ru, nothing, []]]]),
        "encrypted key": rebuilt([p, u, c, [[rp, ru, b"\x00"]]]),
        "encrypted key null": rebuilt([p, u, c, [[rp, ru, None]]]),
        "unprotected extra": rebuilt([p, {**u, 4: b"x"}, c, [[rp, ru, nothing]]]),
        "unprotected empty": rebuilt([p, {}, c, [[rp, ru, nothing]]]),
        "unprotected is an array": rebuilt([p, [5, u[5]], c, [[rp, ru, nothing]]]),
        "recipient extra": rebuilt([p, u, c, [[rp, {**ru, 100: 1}, nothing]]]),
        "recipient without kid": rebuilt([p, u, c, [[rp, {-1: ru[-1]}, nothing]]]),
        "recipient without key": rebuilt([p, u, c, [[rp, {4: ru[4]}, nothing]]]),
        "kid is text": rebuilt([p, u, c, [[rp, {**ru, 4: "kid"}, nothing]]]),
        "kid is a list": rebuilt([p, u, c, [[rp, {**ru, 4: [ru[4]]}, nothing]]]),
        "nonce of 11": rebuilt([p, {5: u[5][:11]}, c, [[rp, ru, nothing]]]),
        "nonce of 13": rebuilt([p, {5: u[5] + b"\x00"}, c, [[rp, ru, nothing]]]),
        "nonce is text": rebuilt([p, {5: "a" * 12}, c, [[rp, ru, nothing]]]),
        "ciphertext null": rebuilt([p, u, None, [[rp, ru, nothing]]]),
        "ciphertext short": rebuilt([p, u, c[:15], [[rp, ru, nothing]]]),
        "ciphertext is text": rebuilt([p, u, "a" * 40, [[rp, ru, nothing]]]),
        "protected is a map": rebuilt([{1: 3}, u, c, [[rp, ru, nothing]]]),
        "protected extra": rebuilt([plain_cbor({1: 3, 3: "x"}), u, c, [[rp, ru, nothing]]]),
        "protected is an array": rebuilt([plain_cbor([1, 3]), u, c, [[rp, ru, nothing]]]),
        "protected not deterministic": rebuilt([b"\xa1\x01\x18\x03", u, c, [[rp, ru, nothing]]]),
        "protected trailing": rebuilt([p + b"\x00", u, c, [[rp, ru, nothing]]]),
        "recipient protected extra": rebuilt(
            [p, u, c, [[plain_cbor({1: -25, 4: b"x"}), ru, nothing]]]
        ),
    }


@pytest.mark.parametrize("name", shapes(world()))
def test_shapes_of_the_message(name: str) -> None:
    with refused("envelope.malformed"):
        world().open(shapes(world())[name])


ODD: list[Any] = [
    None,
    -1,
    1 << 63,
    (1 << 64) - 1,
    b"",
    "",
    b"x" * 31,
    "é",
    [],
    {},
    [7],
    {1: 7},
    "7",
    b"7",
]


@pytest.mark.parametrize("label", [3, 4, 15, -70001, -70002, -70003, -70004, -70005])
def test_a_properly_signed_header_with_odd_values(label: int) -> None:
    w = world()
    for odd in ODD:
        if label == -70001 and odd == "7":
            continue  # a possible epoch
        body = forge_sign1(
            w.signer, codec.encode(protected_of(w) | {label: odd}), compress(PAYLOAD)
        )
        with refused("envelope.malformed"):
            w.open_body(body)
    missing = protected_of(w)
    del missing[label]
    with refused("envelope.malformed"):
        w.open_body(forge_sign1(w.signer, codec.encode(missing), compress(PAYLOAD)))


@pytest.mark.parametrize("odd", [True, False, 1.0, cbor2.CBORSimpleValue(7), cbor2.undefined])
def test_values_that_python_takes_for_numbers(odd: Any) -> None:
    w = world()
    for label in (1, -70002, -70004, -70005):
        with refused("envelope.malformed"):
            w.open_body(forge_sign1(w.signer, protected_of(w) | {label: odd}, compress(PAYLOAD)))


@pytest.mark.parametrize(
    "claims",
    [
        {1: "gw-1"},
        {3: HUB},
        {1: "gw-1", 3: HUB, 2: "x"},
        {1: "gw-1", 3: [HUB]},
        {1: "gw 1", 3: HUB},
        {},
    ],
)
def test_other_claims(claims: dict[int, Any]) -> None:
    w = world()
    with refused("envelope.malformed"):
        w.open_body(
            forge_sign1(w.signer, codec.encode(protected_of(w) | {15: claims}), compress(PAYLOAD))
        )


def test_a_header_the_profile_does_not_know() -> None:
    w = world()
    for extra in ({-70099: 1}, {33: b"x"}, {"x": 1}, {b"x": 1}, {6: b"x"}):
        with refused("envelope.malformed"):
            w.open_body(
                forge_sign1(w.signer, codec.encode(protected_of(w) | extra), compress(PAYLOAD))
            )


def test_another_content_type_signed_by_the_same_key_is_no_batch() -> None:
    w = world()
    with refused("envelope.malformed"):
        w.open_body(
            forge_sign1(w.signer, protected_of(w) | {3: "application/json"}, compress(PAYLOAD))
        )


def test_shapes_of_the_body() -> None:
    w = world()
    p, u, payload, signature = cbor2.loads(w.seal().body).value
    for parts in (
        [p, u, payload],
        [p, u, payload, signature, b""],
        [p, {100: 1}, payload, signature],
        [p, [], payload, signature],
        [p, u, None, signature],
        [p, u, "text", signature],
        [p, u, payload, signature[:63]],
        [p, u, payload, signature + b"\x00"],
        [p, u, payload, None],
        [{1: -7}, u, payload, signature],
        [b"", u, payload, signature],
        [b"\xa0", u, payload, signature],
    ):
        with refused("envelope.malformed"):
            w.open_body(rebuilt(parts, 18))
    with refused("envelope.malformed"):
        w.open_body(rebuilt([p, u, payload, signature], 98))


# Row 3: keys and algorithms


def test_wrong_hub_key_and_a_message_relabelled_to_the_right_one() -> None:
    w, other = world(), decryption_key("p256")
    sealed = seal(PAYLOAD, header(), w.signer, other.public, TOPIC)
    with refused("envelope.unknown-hub-key"):
        w.open(sealed.message)
    parts = outer(sealed.message)
    parts[3][0][1][4] = w.hub.kid
    with refused("envelope.decrypt"):
        w.open(rebuilt(parts))


def test_unknown_signer_and_a_stranger_with_a_known_key_id() -> None:
    w = world()
    stranger = World(signing_key("p256"), w.hub)
    with refused("envelope.unknown-signer"):
        w.open(stranger.seal().message)
    body = forge_sign1(stranger.signer, protected_of(w), compress(PAYLOAD))
    with refused("envelope.signature"):
        w.open(encrypt(body, w.hub.public, TOPIC))


def test_a_registry_that_gives_the_wrong_key_for_an_id() -> None:
    w, other = world(), signing_key("p256")
    with refused("envelope.signature"):
        open_body(w.seal().body, aud=HUB, signer_of=lambda kid: SignerRecord("gw-1", other.public))


def test_a_key_that_is_registered_under_anothers_id() -> None:
    w, other = world(), signing_key("p256")
    body = forge_sign1(other, codec.encode(protected_of(w)), compress(PAYLOAD))
    with refused("envelope.signature"):
        open_body(body, aud=HUB, signer_of=lambda kid: SignerRecord("gw-1", other.public))


def test_another_gateways_key_used_under_this_name() -> None:
    w = world()
    sealed = w.seal()
    with refused("envelope.gateway"):
        open_message(
            sealed.message,
            TOPIC,
            aud=HUB,
            hub_keys={w.hub.kid: w.hub},
            signer_of=lambda kid: SignerRecord("gw-2", w.signer.public),
        )


ALGORITHMS = [
    -7,
    -8,
    -19,
    -9,
    -35,
    -36,
    -37,
    -47,
    -257,
    5,
    0,
    1,
    3,
    None,
    "ES256",
    b"\x26",
    [-7],
    {1: -7},
]


@pytest.mark.parametrize("signing", ["p256", "ed25519"])
@pytest.mark.parametrize("algorithm", ALGORITHMS, ids=str)
def test_algorithm_confusion(signing: str, algorithm: Any) -> None:
    w = world(signing)
    taken = {"p256": [-7], "ed25519": [-8, -19]}[signing]
    body = forge_sign1(w.signer, codec.encode(protected_of(w) | {1: algorithm}), compress(PAYLOAD))
    if algorithm in taken:
        assert w.open_body(body).payload == PAYLOAD
    else:
        with refused("envelope.algorithm"):
            w.open_body(body)


def test_a_mac_under_the_public_key_is_no_signature() -> None:
    w = world()
    for algorithm in (4, 5, -7):
        body = forge_sign1(
            w.signer,
            codec.encode(protected_of(w) | {1: algorithm}),
            compress(PAYLOAD),
            signature=bytes(64),
        )
        with pytest.raises(EnvelopeError):
            w.open_body(body)


@pytest.mark.parametrize(
    "signature", [bytes(64), b"\xff" * 64, bytes(31) + b"\x01" + bytes(32), bytes(63) + b"\x01"]
)
@pytest.mark.parametrize("signing", ["p256", "ed25519"])
def test_signatures_of_zeros_and_of_too_large_numbers(signing: str, signature: bytes) -> None:
    w = world(signing)
    with refused("envelope.signature"):
        w.open_body(
            forge_sign1(
                w.signer, codec.encode(protected_of(w)), compress(PAYLOAD), signature=signature
            )
        )


def test_the_second_signature_that_anybody_can_make_is_refused() -> None:
    w = world()
    protected = codec.encode(protected_of(w))
    assert w.open_body(forge_sign1(w.signer, protected, compress(PAYLOAD))).payload == PAYLOAD
    with refused("envelope.signature"):
        w.open_body(forge_sign1(w.signer, protected, compress(PAYLOAD), high_s=True))


def test_algorithm_or_key_id_only_unprotected() -> None:
    w = world()
    full = protected_of(w)
    for moved in ({1}, {4}, {1, 4}, set(full)):
        kept = codec.encode({k: v for k, v in full.items() if k not in moved})
        unprotected = {k: v for k, v in full.items() if k in moved}
        with refused("envelope.malformed"):
            w.open_body(forge_sign1(w.signer, kept, compress(PAYLOAD), unprotected=unprotected))
        if moved in ({1}, {4}):
            with refused("envelope.algorithm" if moved == {1} else "envelope.malformed"):
                w.open_body(forge_sign1(w.signer, kept, compress(PAYLOAD)))


@pytest.mark.parametrize("crit", [[-70002], [-70099], [], None, 1])
def test_crit_is_refused_everywhere(crit: Any) -> None:
    w = world()
    body = forge_sign1(w.signer, codec.encode(protected_of(w) | {2: crit}), compress(PAYLOAD))
    with refused("envelope.critical"):
        w.open_body(body)
    parts = outer(w.seal().message)
    with refused("envelope.critical"):
        w.open(rebuilt([codec.encode({1: 3, 2: crit}), *parts[1:]]))
    parts[3][0][0] = codec.encode({1: -25, 2: crit})
    with refused("envelope.critical"):
        w.open(rebuilt(parts))


@pytest.mark.parametrize("algorithm", [1, 2, 10, 24, -3, 41, None, "A256GCM"])
def test_another_content_encryption(algorithm: Any) -> None:
    parts = outer(world().seal().message)
    with refused("envelope.algorithm"):
        world().open(rebuilt([codec.encode({1: algorithm}), *parts[1:]]))


@pytest.mark.parametrize("algorithm", [-26, -27, -28, -29, -31, -6, -10, -3, 3, None])
def test_another_key_agreement(algorithm: Any) -> None:
    parts = outer(world().seal().message)
    parts[3][0][0] = codec.encode({1: algorithm})
    with refused("envelope.algorithm"):
        world().open(rebuilt(parts))


def test_empty_protected_headers() -> None:
    parts = outer(world().seal().message)
    with refused("envelope.malformed"):
        world().open(rebuilt([b"", *parts[1:]]))
    with refused("envelope.algorithm"):
        world().open(rebuilt([b"\xa0", *parts[1:]]))


# Row 4: ephemeral keys

P25519 = 2**255 - 19
LOW_ORDER = [
    0,
    1,
    325606250916557431795983626356110631294008115727848805560023387167927233504,
    39382357235489614581723060781553021112529911719440698176882885853963445705823,
    P25519 - 1,
]


def with_ephemeral(w: World, change: Callable[[dict[int, Any]], Any]) -> bytes:
    parts = outer(w.seal().message)
    parts[3][0][1][-1] = change(parts[3][0][1][-1])
    return rebuilt(parts)


@pytest.mark.parametrize("u", LOW_ORDER)
@pytest.mark.parametrize("top_bit", [0, 1 << 255])
def test_low_order_points(u: int, top_bit: int) -> None:
    point = (u | top_bit).to_bytes(32, "little")
    with refused("envelope.ephemeral-key"):
        world("p256", "x25519").open(
            with_ephemeral(world("p256", "x25519"), lambda key: key | {-2: point})
        )


def test_the_points_are_of_low_order_indeed() -> None:
    for u in LOW_ORDER:
        with pytest.raises(ValueError):
            x25519.X25519PrivateKey.generate().exchange(
                x25519.X25519PublicKey.from_public_bytes(u.to_bytes(32, "little"))
            )


@pytest.mark.parametrize(
    "number", [P25519, P25519 + 1, P25519 + 9, 2**255 - 1, 2**255 + 9, 2**256 - 1]
)
def test_non_canonical_x25519(number: int) -> None:
    w = world("p256", "x25519")
    with refused("envelope.ephemeral-key"):
        w.open(with_ephemeral(w, lambda key: key | {-2: number.to_bytes(32, "little")}))


def test_a_second_form_of_the_senders_own_key() -> None:
    """With its unused top bit set a point gives the same secret: only the canonical form is taken."""
    w = world("p256", "x25519")
    with refused("envelope.ephemeral-key"):
        w.open(
            with_ephemeral(w, lambda key: key | {-2: key[-2][:31] + bytes([key[-2][31] | 0x80])})
        )


P256_P = 2**256 - 2**224 + 2**192 + 2**96 - 1
P256_B = 0x5AC635D8AA3A93E7B3EBBD55769886BC651D06B0CC53B0F63BCE3C3E27D2604B


def small_point() -> tuple[int, int]:
    """A point whose x can be written a second time, as x + p, in 32 bytes."""
    for x in range(1, 1000):
        square = (x**3 - 3 * x + P256_B) % P256_P
        y = pow(square, (P256_P + 1) // 4, P256_P)
        if y * y % P256_P == square:
            return x, y
    raise AssertionError


def test_off_curve_and_non_canonical_p256() -> None:
    w = world()
    x, y = small_point()
    ec.EllipticCurvePublicNumbers(x, y, ec.SECP256R1()).public_key()  # is a point
    for bad_x, bad_y in (
        (0, 0),
        (1, 1),
        (x, y + 1),
        (x + P256_P, y),
        (2**256 - 1, y),
        (x, 2**256 - 1),
    ):
        coordinates = {-2: bad_x.to_bytes(32, "big"), -3: bad_y.to_bytes(32, "big")}
        with refused("envelope.ephemeral-key"):
            w.open(with_ephemeral(w, lambda key, c=coordinates: key | c))  # type: ignore[misc]


def test_a_point_on_the_curve_that_is_not_the_senders() -> None:
    x, y = small_point()
    coordinates = {-2: x.to_bytes(32, "big"), -3: y.to_bytes(32, "big")}
    with refused("envelope.decrypt"):
        world().open(with_ephemeral(world(), lambda key: key | coordinates))


ODD_KEYS: dict[str, Callable[[dict[int, Any]], Any]] = {
    "empty": lambda key: {},
    "array": lambda key: [1, 2],
    "null": lambda key: None,
    "bytes": lambda key: b"\x04" + bytes(64),
    "short x": lambda key: key | {-2: key[-2][:31]},
    "long x": lambda key: key | {-2: b"\x00" + key[-2]},
    "x null": lambda key: key | {-2: None},
    "x text": lambda key: key | {-2: "x" * 32},
    "extra kid": lambda key: key | {2: b"x"},
    "extra alg": lambda key: key | {3: -25},
    "private part": lambda key: key | {-4: bytes(32)},
    "no x": lambda key: {k: v for k, v in key.items() if k != -2},
    "no curve": lambda key: {k: v for k, v in key.items() if k != -1},
    "P-384": lambda key: key | {-1: 2},
    "Ed25519": lambda key: {1: 1, -1: 6, -2: key[-2]},
    "X448": lambda key: {1: 1, -1: 5, -2: bytes(56)},
    "symmetric": lambda key: {1: 4, -1: bytes(32)},
    "y as sign": lambda key: key | {-3: 1},
}


@pytest.mark.parametrize("encryption", ["p256", "x25519"])
@pytest.mark.parametrize("name", ODD_KEYS)
def test_odd_ephemeral_keys(encryption: str, name: str) -> None:
    w = world("p256", encryption)
    with refused("envelope.ephemeral-key"):
        w.open(with_ephemeral(w, ODD_KEYS[name]))


def test_an_ephemeral_key_of_the_other_kind() -> None:
    other = outer(world("p256", "x25519").seal().message)[3][0][1][-1]
    with refused("envelope.ephemeral-key"):
        world("p256", "p256").open(with_ephemeral(world("p256", "p256"), lambda key: other))
    other = outer(world("p256", "p256").seal().message)[3][0][1][-1]
    with refused("envelope.ephemeral-key"):
        world("p256", "x25519").open(with_ephemeral(world("p256", "x25519"), lambda key: other))


# Row 5: moved and forwarded


def test_moved_to_another_topic() -> None:
    w = world()
    message = w.seal().message
    for topic in (
        "lamppost/gw-2/up",
        "lamppost/gw-1/alert",
        "lamppost/gw-1/up/",
        "lamppost/gw-1/u",
        "",
        "x" * 1000,
    ):
        with refused("envelope.decrypt"):
            w.open(message, topic=topic)


@pytest.mark.parametrize(
    "topic",
    [
        "lamppost/gw-2/up",
        "lamppost/gw-1",
        "lamppost/gw-1/up/x",
        "gw-1",
        "",
        "other/gw-1/up",
        "lamppost//up",
    ],
)
def test_sealed_for_another_gateways_topic(topic: str) -> None:
    """The card of gw-1 in the hands of someone who may write to gw-2's topic."""
    w = world()
    with refused("envelope.topic"):
        w.open(w.seal(topic=topic).message, topic=topic)


def test_forwarded_by_a_dishonest_hub() -> None:
    w, other = world(), decryption_key("p256")
    forwarded = encrypt(w.open(w.seal().message).body, other.public, TOPIC)
    with refused("envelope.audience"):
        open_message(
            forwarded, TOPIC, aud="other-hub", hub_keys={other.kid: other}, signer_of=w.signer_of
        )


def test_a_body_is_not_a_message_and_a_message_not_a_body() -> None:
    w = world()
    sealed = w.seal()
    with refused("envelope.malformed"):
        w.open(sealed.body)
    with refused("envelope.malformed"):
        w.open_body(sealed.message)


# Row 6: compression bombs, signed by an enrolled gateway


@pytest.mark.parametrize(
    "frame",
    [
        bomb(500_000_000, 500_000_000),
        bomb(500_000_000, None),
        bomb(500_000_000, 1000),
        b"",
        PAYLOAD,
    ],
    ids=["declared", "undeclared", "lying", "empty", "not compressed"],
)
def test_bombs(frame: bytes) -> None:
    w = world()
    body = forge_sign1(w.signer, codec.encode(protected_of(w)), frame)
    with refused("envelope.compression"):
        w.open(encrypt(body, w.hub.public, TOPIC))


@pytest.mark.long
def test_the_bomb_of_the_design() -> None:
    compressor = zstandard.ZstdCompressor(level=19).compressobj(size=500_000_000)
    frame = b"".join(compressor.compress(bytes(1_000_000)) for _ in range(500)) + compressor.flush()
    assert len(frame) < 100_000
    w = world()
    with refused("envelope.compression"):
        w.open_body(forge_sign1(w.signer, codec.encode(protected_of(w)), frame))
