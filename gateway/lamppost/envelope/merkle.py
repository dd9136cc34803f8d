"""The Merkle tree of RFC 9162 §2.1 with SHA-256: an incremental log, its proofs, and their verification. Pure.

A leaf here is always the leaf *hash*, 32 bytes; `leaf_hash` makes it from the entry's bytes.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from hashlib import sha256

from lamppost.envelope.refusal import EnvelopeError

HASH_SIZE = 32
EMPTY_ROOT = sha256(b"").digest()


def leaf_hash(entry: bytes) -> bytes:
    """SHA-256 over 0x00 and the entry (RFC 9162 §2.1.1)."""
    return sha256(b"\x00" + entry).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """SHA-256 over 0x01 and both children (RFC 9162 §2.1.1)."""
    return sha256(b"\x01" + left + right).digest()


def _split(count: int) -> int:
    """The largest power of two that is smaller than `count` (RFC 9162 §2.1.1)."""
    return 1 << ((count - 1).bit_length() - 1)


class MerkleLog:
    """An append-only log that keeps every hash: any proof for any size, about 150 bytes of memory a leaf.

    Rebuild it from the stored leaf hashes; `Frontier` is the small form that answers for the newest leaf only.
    """

    def __init__(self, leaves: Iterable[bytes] = ()) -> None:
        # _levels[i] holds the roots of the full subtrees of 2**i leaves, in order.
        self._levels: list[list[bytes]] = [[]]
        for leaf in leaves:
            self.append(leaf)

    @property
    def size(self) -> int:
        """How many leaves there are."""
        return len(self._levels[0])

    def append(self, leaf: bytes) -> int:
        """Add a leaf hash and return its index. Raises ValueError unless it has 32 bytes."""
        if len(leaf) != HASH_SIZE:
            raise ValueError(f"a leaf hash has {HASH_SIZE} bytes")
        level = 0
        while True:
            if level == len(self._levels):
                self._levels.append([])
            row = self._levels[level]
            row.append(leaf)
            if len(row) % 2:
                return self.size - 1
            leaf = node_hash(row[-2], row[-1])
            level += 1

    def leaf(self, index: int) -> bytes:
        """The leaf hash at `index`; ValueError outside the log."""
        if not 0 <= index < self.size:
            raise ValueError("no such leaf")
        return self._levels[0][index]

    def root(self, n: int | None = None) -> bytes:
        """The root of the first `n` leaves (all of them by default); ValueError past the log's size."""
        n = self._checked(n)
        return self._subtree(0, n) if n else EMPTY_ROOT

    def inclusion(self, index: int, n: int | None = None) -> list[bytes]:
        """The path from leaf `index` to the root of the first `n` leaves, lowest first (RFC 9162 §2.1.3.1)."""
        n = self._checked(n)
        if not 0 <= index < n:
            raise ValueError("no such leaf")
        path: list[bytes] = []
        low, high = 0, n
        while high - low > 1:
            middle = low + _split(high - low)
            if index < middle:
                path.append(self._subtree(middle, high))
                high = middle
            else:
                path.append(self._subtree(low, middle))
                low = middle
        return path[::-1]

    def consistency(self, m: int, n: int | None = None) -> list[bytes]:
        """The proof that the first `n` leaves begin with the first `m` (RFC 9162 §2.1.4.1); 0 < m <= n."""
        n = self._checked(n)
        if not 0 < m <= n:
            raise ValueError("no such earlier log")
        path: list[bytes] = []
        low, high = 0, n
        while m < high:
            middle = low + _split(high - low)
            if m <= middle:
                path.append(self._subtree(middle, high))
                high = middle
            else:
                path.append(self._subtree(low, middle))
                low = middle
        if low:  # the verifier knows the old root itself, but not this part of it
            path.append(self._subtree(low, high))
        return path[::-1]

    def frontier(self) -> Frontier:
        """The small form of the whole log."""
        return Frontier(self.size, [row[-1] for row in self._levels if len(row) % 2])

    def _checked(self, n: int | None) -> int:
        if n is None:
            return self.size
        if not 0 <= n <= self.size:
            raise ValueError("past the end of the log")
        return n

    def _subtree(self, low: int, high: int) -> bytes:
        # `low` is aligned to the power of two at or above the range's length, as every split of the tree is.
        count = high - low
        if count & (count - 1) == 0:
            return self._levels[count.bit_length() - 1][low // count]
        middle = low + _split(count)
        return node_hash(self._subtree(low, middle), self._subtree(middle, high))


class Frontier:
    """The right edge of a log: at most 64 hashes, enough to append, to give the root and the newest leaf's path.

    `peaks` are the roots of the full subtrees that make up the log, smallest (right-most) first.
    """

    def __init__(self, size: int = 0, peaks: Iterable[bytes] = ()) -> None:
        self.size = size
        self.peaks = list(peaks)
        if (
            size < 0
            or len(self.peaks) != size.bit_count()
            or any(len(p) != HASH_SIZE for p in self.peaks)
        ):
            raise ValueError("peaks do not fit the size")

    def append(self, leaf: bytes) -> int:
        """Add a leaf hash and return its index. Raises ValueError unless it has 32 bytes."""
        if len(leaf) != HASH_SIZE:
            raise ValueError(f"a leaf hash has {HASH_SIZE} bytes")
        full = (
            ~self.size & (self.size + 1)
        ).bit_length() - 1  # trailing ones: subtrees that the leaf completes
        for peak in self.peaks[:full]:
            leaf = node_hash(peak, leaf)
        self.peaks[:full] = [leaf]
        self.size += 1
        return self.size - 1

    def root(self) -> bytes:
        """The root of the log."""
        if not self.peaks:
            return EMPTY_ROOT
        root = self.peaks[0]
        for peak in self.peaks[1:]:
            root = node_hash(peak, root)
        return root

    def append_with_path(self, leaf: bytes) -> list[bytes]:
        """Add a leaf hash and return its path in the log that it completes: what its receipt needs."""
        path = list(self.peaks)  # the newest leaf's left neighbours, from the lowest up
        self.append(leaf)
        return path

    def to_bytes(self) -> bytes:
        """Size (8 bytes, big-endian) and peaks."""
        return self.size.to_bytes(8, "big") + b"".join(self.peaks)

    @classmethod
    def from_bytes(cls, stored: bytes) -> Frontier:
        """What `to_bytes` wrote; ValueError for anything else."""
        if len(stored) < 8 or len(stored) % HASH_SIZE != 8:
            raise ValueError("not a frontier")
        peaks = [stored[i : i + HASH_SIZE] for i in range(8, len(stored), HASH_SIZE)]
        return cls(int.from_bytes(stored[:8], "big"), peaks)


def extend(old: Frontier, leaves: Iterable[bytes]) -> tuple[Frontier, list[bytes]]:
    """`old` with `leaves` (hashes) appended, and the proof that it begins with `old` (RFC 9162 §2.1.4.1).

    Needs nothing older than `old`, so a long log is proved to have only grown at the price of what is new. The proof
    is empty where `old` is empty or nothing was added. Raises ValueError for a leaf of another size than 32 bytes.
    """
    new, nodes = Frontier(old.size, old.peaks), dict[tuple[int, int], bytes]()
    if not old.size:  # nothing to prove, so no node need be kept
        for leaf in leaves:
            new.append(leaf)
        return new, []
    rest = old.size
    for peak in old.peaks:  # smallest and right-most first
        level = (rest & -rest).bit_length() - 1
        nodes[level, (rest >> level) - 1] = peak
        rest &= rest - 1
    for leaf in leaves:
        level, index, node = 0, new.append(leaf), leaf
        nodes[0, index] = node
        while index & 1:
            node = node_hash(nodes[level, index - 1], node)
            level, index = level + 1, index >> 1
            nodes[level, index] = node
    return new, _consistency(nodes, old.size, new.size) if old.size < new.size else []


def _consistency(nodes: Mapping[tuple[int, int], bytes], m: int, n: int) -> list[bytes]:
    def subtree(low: int, high: int) -> bytes:
        level = (high - low).bit_length() - 1
        if high - low == 1 << level:
            return nodes[level, low >> level]
        middle = low + _split(high - low)
        return node_hash(subtree(low, middle), subtree(middle, high))

    path: list[bytes] = []
    low, high = 0, n
    while m < high:
        middle = low + _split(high - low)
        if m <= middle:
            path.append(subtree(middle, high))
            high = middle
        else:
            path.append(subtree(low, middle))
            low = middle
    if low:
        path.append(subtree(low, high))
    return path[::-1]


def root_from_inclusion(leaf: bytes, index: int, size: int, path: Sequence[bytes]) -> bytes:
    """The root that leaf hash, index, size and path lead to (RFC 9162 §2.1.3.2).

    Raises EnvelopeError `receipt.proof` where the path cannot belong to that index and size.
    """
    if not 0 <= index < size:
        raise EnvelopeError("receipt.proof", "the index is outside the log")
    at, last, root = index, size - 1, leaf
    for sibling in path:
        if not last:
            raise EnvelopeError("receipt.proof", "the path is too long")
        if at & 1 or at == last:
            root = node_hash(sibling, root)
            while not at & 1 and at:
                at >>= 1
                last >>= 1
        else:
            root = node_hash(root, sibling)
        at >>= 1
        last >>= 1
    if last:
        raise EnvelopeError("receipt.proof", "the path is too short")
    return root


def verify_inclusion(
    leaf: bytes, index: int, size: int, path: Sequence[bytes], root: bytes
) -> bool:
    """Whether the leaf hash is at `index` of the log with that size and root."""
    try:
        return root_from_inclusion(leaf, index, size, path) == root
    except EnvelopeError:
        return False


def verify_consistency(m: int, n: int, root_m: bytes, root_n: bytes, path: Sequence[bytes]) -> bool:
    """Whether the log of size `n` begins with the log of size `m` (RFC 9162 §2.1.4.2); False for m = 0."""
    if m == n:
        return m > 0 and not path and root_m == root_n
    if not 0 < m < n or not path:
        return False
    hashes = list(path)
    if m & (m - 1) == 0:
        hashes.insert(0, root_m)
    at, last = m - 1, n - 1
    while at & 1:
        at >>= 1
        last >>= 1
    old = new = hashes[0]
    for sibling in hashes[1:]:
        if not last:
            return False
        if at & 1 or at == last:
            old, new = node_hash(sibling, old), node_hash(sibling, new)
            while not at & 1 and at:
                at >>= 1
                last >>= 1
        else:
            new = node_hash(new, sibling)
        at >>= 1
        last >>= 1
    return not last and old == root_m and new == root_n
