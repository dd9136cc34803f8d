"""RFC 9162 §2.1: known vectors of Certificate Transparency, and every proof of every small log."""

from __future__ import annotations

from hashlib import sha256

import pytest

from lamppost.envelope.merkle import (
    EMPTY_ROOT,
    Frontier,
    MerkleLog,
    leaf_hash,
    node_hash,
    root_from_inclusion,
    verify_consistency,
    verify_inclusion,
)
from unit.envelope.world import refused

# certificate-transparency-go, trillian merkle/testonly: entries, and roots after each of them
CT_ENTRIES = [
    "",
    "00",
    "10",
    "2021",
    "3031",
    "40414243",
    "5051525354555657",
    "606162636465666768696a6b6c6d6e6f",
]
CT_ROOTS = [
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
]
# The same source: leaf and old size (from 1 / of), log size, hashes
CT_INCLUSION = [
    (1, 1, []),
    (
        1,
        8,
        [
            "96a296d224f285c67bee93c30f8a309157f0daa35dc5b87e410b78630a09cfc7",
            "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
            "6b47aaf29ee3c2af9af889bc1fb9254dabd31177f16232dd6aab035ca39bf6e4",
        ],
    ),
    (
        6,
        8,
        [
            "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b",
            "ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0",
            "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
        ],
    ),
    (3, 3, ["fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125"]),
    (
        2,
        5,
        [
            "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
            "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
            "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b",
        ],
    ),
]
CT_CONSISTENCY = [
    (1, 1, []),
    (
        1,
        8,
        [
            "96a296d224f285c67bee93c30f8a309157f0daa35dc5b87e410b78630a09cfc7",
            "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
            "6b47aaf29ee3c2af9af889bc1fb9254dabd31177f16232dd6aab035ca39bf6e4",
        ],
    ),
    (
        6,
        8,
        [
            "0ebc5d3437fbe2db158b9f126a1d118e308181031d0a949f8dededebc558ef6a",
            "ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0",
            "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
        ],
    ),
    (
        2,
        5,
        [
            "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
            "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b",
        ],
    ),
]

SMALL = 40
LEAVES = [leaf_hash(b"%d" % i) for i in range(SMALL)]
LOG = MerkleLog(LEAVES)


def plain_root(leaves: list[bytes]) -> bytes:
    """The definition of RFC 9162 §2.1.1, word for word."""
    if not leaves:
        return sha256(b"").digest()
    if len(leaves) == 1:
        return leaves[0]
    k = 1
    while 2 * k < len(leaves):
        k *= 2
    return node_hash(plain_root(leaves[:k]), plain_root(leaves[k:]))


def ct_log() -> MerkleLog:
    return MerkleLog(leaf_hash(bytes.fromhex(entry)) for entry in CT_ENTRIES)


def test_roots_of_certificate_transparency() -> None:
    log, frontier = MerkleLog(), Frontier()
    assert log.root().hex() == "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
    for index, (entry, root) in enumerate(zip(CT_ENTRIES, CT_ROOTS, strict=True)):
        assert log.append(leaf_hash(bytes.fromhex(entry))) == index
        assert frontier.append(leaf_hash(bytes.fromhex(entry))) == index
        assert log.root().hex() == frontier.root().hex() == root


@pytest.mark.parametrize(("leaf", "size", "path"), CT_INCLUSION)
def test_inclusion_proofs_of_certificate_transparency(
    leaf: int, size: int, path: list[str]
) -> None:
    assert [h.hex() for h in ct_log().inclusion(leaf - 1, size)] == path


@pytest.mark.parametrize(("m", "n", "path"), CT_CONSISTENCY)
def test_consistency_proofs_of_certificate_transparency(m: int, n: int, path: list[str]) -> None:
    assert [h.hex() for h in ct_log().consistency(m, n)] == path


def test_every_root_is_the_definition() -> None:
    for n in range(SMALL + 1):
        assert LOG.root(n) == plain_root(LEAVES[:n])


def test_every_inclusion_proof_and_no_other_index_size_or_leaf() -> None:
    for n in range(1, SMALL + 1):
        root = LOG.root(n)
        for index in range(n):
            path = LOG.inclusion(index, n)
            assert root_from_inclusion(LEAVES[index], index, n, path) == root
            for other in range(n):
                if other != index:
                    assert not verify_inclusion(LEAVES[other], index, n, path, root)
                    assert not verify_inclusion(LEAVES[index], other, n, path, root)


def test_altered_inclusion_proofs_fail() -> None:
    for n in range(2, 20):
        for index in range(n):
            path = LOG.inclusion(index, n)
            for altered in (
                path[:-1],
                path[1:],
                [*path, bytes(32)],
                [*path[:-1], bytes(32)],
                path[::-1],
            ):
                if altered != path:
                    assert not verify_inclusion(LEAVES[index], index, n, altered, LOG.root(n))


@pytest.mark.parametrize(("index", "size"), [(-1, 5), (5, 5), (0, 0), (6, 5)])
def test_an_index_outside_the_log_has_no_proof(index: int, size: int) -> None:
    for length in range(6):
        with refused("receipt.proof"):
            root_from_inclusion(LEAVES[0], index, size, LEAVES[:length])
    with pytest.raises(ValueError):
        LOG.inclusion(index, size)


def test_every_consistency_proof_and_no_other_pair() -> None:
    for n in range(1, SMALL + 1):
        for m in range(1, n + 1):
            path = LOG.consistency(m, n)
            assert verify_consistency(m, n, LOG.root(m), LOG.root(n), path)
            assert not verify_consistency(m, n, bytes(32), LOG.root(n), path)
            assert not verify_consistency(m, n, LOG.root(m), bytes(32), path)
            assert not verify_consistency(m, n, LOG.root(m), LOG.root(n), [*path, bytes(32)])
            if path:
                assert not verify_consistency(m, n, LOG.root(m), LOG.root(n), path[:-1])
                assert not verify_consistency(
                    m, n, LOG.root(m), LOG.root(n), [*path[:-1], bytes(32)]
                )


def test_a_log_that_was_edited_is_not_consistent() -> None:
    edited = MerkleLog([*LEAVES[:3], leaf_hash(b"edited"), *LEAVES[4:]])
    for m in range(4, SMALL):
        assert not verify_consistency(m, SMALL, LOG.root(m), edited.root(), edited.consistency(m))


def test_a_proof_for_a_much_larger_log_is_too_short() -> None:
    for n in range(2, 17):
        for m in range(1, n):
            path = LOG.consistency(m, n)
            for larger in range(33, SMALL):
                assert not verify_consistency(m, larger, LOG.root(m), LOG.root(n), path)


def test_impossible_consistency() -> None:
    assert not verify_consistency(0, 5, EMPTY_ROOT, LOG.root(5), [])
    assert not verify_consistency(0, 0, EMPTY_ROOT, EMPTY_ROOT, [])
    assert not verify_consistency(6, 5, LOG.root(6), LOG.root(5), [LEAVES[0]])
    for m, n in ((0, 5), (6, 5), (1, SMALL + 1)):
        with pytest.raises(ValueError):
            LOG.consistency(m, n)


def test_a_log_rebuilt_from_leaves_and_one_resumed_from_its_frontier_are_the_same() -> None:
    for cut in range(SMALL):
        resumed = Frontier.from_bytes(MerkleLog(LEAVES[:cut]).frontier().to_bytes())
        for index in range(cut, SMALL):
            path = resumed.append_with_path(LEAVES[index])
            assert path == LOG.inclusion(index, index + 1)
            assert resumed.root() == LOG.root(index + 1)
            assert resumed.size == index + 1


@pytest.mark.parametrize(
    "stored", [b"", bytes(7), bytes(9), bytes(8) + bytes(32), bytes(7) + b"\x03" + bytes(32)]
)
def test_a_damaged_frontier_is_noticed(stored: bytes) -> None:
    with pytest.raises(ValueError):
        Frontier.from_bytes(stored)


def test_only_hashes_are_leaves() -> None:
    for wrong in (b"", bytes(31), bytes(33)):
        with pytest.raises(ValueError):
            MerkleLog().append(wrong)
        with pytest.raises(ValueError):
            Frontier().append(wrong)
    assert LOG.leaf(3) == LEAVES[3]
    for index in (-1, SMALL):
        with pytest.raises(ValueError):
            LOG.leaf(index)
    with pytest.raises(ValueError):
        LOG.root(SMALL + 1)


@pytest.mark.long
def test_large_logs() -> None:
    leaves = [leaf_hash(b"%d" % i) for i in range(5000)]
    log, frontier = MerkleLog(), Frontier()
    for leaf in leaves:
        assert frontier.append_with_path(leaf) == log.inclusion(log.append(leaf))
        assert frontier.root() == log.root()
    for n in (4095, 4096, 4097, 5000):
        for index in range(0, n, 7):
            assert verify_inclusion(leaves[index], index, n, log.inclusion(index, n), log.root(n))
            m = index + 1
            assert verify_consistency(m, n, log.root(m), log.root(n), log.consistency(m, n))
