"""What may be held: only the batch that comes next, of a size that fits, and not without bound."""

from __future__ import annotations

from lamppost.errors import StoreError
from lamppost.model import Batch
from lamppost.ring import retention
from lamppost.ring.format import HEAD_BYTES, Role
from lamppost.ring.store import Store

_SHARE = 4  # batches in flight may take a quarter of the ring's bytes, two segments at least


def check_next(batch: Batch, head: Batch | None, epoch: str, last: int) -> None:
    """Raise ValueError unless `batch` follows `head` and ends at or before reading `last`."""
    seq, first = (head.seq + 1, head.span.last + 1) if head else (0, 0)
    if (batch.epoch, batch.seq, batch.span.first) != (epoch, seq, first):
        raise ValueError(
            f"batch {batch.seq} from {batch.span.first} is not the next: {seq} from {first}"
        )
    if not first <= batch.span.last <= last:
        raise ValueError(f"batch {batch.seq} ends at {batch.span.last}, the ring at {last}")


def check_room(store: Store, room: int) -> None:
    """Raise StoreError unless a block of `room` bytes fits a segment, and the lane may have one more."""
    if room > store.pool.smallest - HEAD_BYTES:
        raise StoreError(
            f"a batch of {room} bytes does not fit a segment of {store.pool.smallest}",
            code="ring.batch-too-big",
            hint="give the ring a larger size in the site file, or windows that hold less",
        )
    lane = store.lanes[Role.HELD]
    if lane.open_segment is None or lane.open_segment.room < room:
        retention.release(store, store.durable.settled)
        if len(lane.segments) >= max(2, store.pool.limit // store.pool.size // _SHARE):
            raise held_full()


def held_full() -> StoreError:
    """The error of too many batches in flight."""
    return StoreError(
        "too many sealed batches wait for their receipt",
        code="ring.held-full",
        hint="the hub does not answer: look at: lamppost status",
        retry=True,
    )
