"""What a gateway remembers of its configurations, as frozen values, and their bytes on disk. Pure."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import msgspec

from lamppost.errors import LamppostError

FORMAT = 1
KEPT_REJECTED = 64
KEPT_HISTORY = 32


@dataclass(frozen=True, slots=True)
class Generation:
    """One numbered complete configuration. `serial` is 0 for one that came from this gateway itself."""

    number: int
    sha256: str
    serial: int = 0
    origin: str = "hub"  # hub, stick, local
    rollout: str = ""
    until: int = 0  # UTC seconds: halted before then, it goes back


@dataclass(frozen=True, slots=True)
class Baseline:
    """What worked when a trial began, and must work with it: devices that answered, the hub, the clock, the source.

    `flapping` are alert rules that were restless before already.
    """

    devices: tuple[str, ...] = ()
    hub: bool = False
    clock: bool = False
    source: bool = False
    flapping: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Trial:
    """A generation being tried: how often it was started, and since when (boot id, boot clock ns) in this boot."""

    generation: Generation
    baseline: Baseline
    starts: int = 0
    boot: str = ""
    began: int = 0


@dataclass(frozen=True, slots=True)
class Entry:
    """A line of history: what became of a generation, why, and when (UTC ns as the clock said)."""

    generation: Generation
    outcome: str  # confirmed, reverted, withdrawn, rolled-back
    code: str = ""
    reason: str = ""
    at: int = 0


@dataclass(frozen=True, slots=True)
class State:
    """`good` runs (None: the local site file), `before` ran before it, `trial` is being tried.

    `floor` is the highest serial ever staged, `rejected` the hashes that failed here, `last` the highest number given.
    """

    good: Generation | None = None
    before: Generation | None = None
    trial: Trial | None = None
    floor: int = 0
    last: int = 0
    rejected: tuple[str, ...] = ()
    history: tuple[Entry, ...] = ()

    @property
    def kept(self) -> frozenset[int]:
        """Numbers whose content must stay on disk."""
        found = [self.good, self.before, self.trial.generation if self.trial else None]
        return frozenset(g.number for g in found if g is not None)


class _Stored(msgspec.Struct, frozen=True):
    format: int
    turn: int
    state: State


_ENCODER = msgspec.json.Encoder()
_DECODER = msgspec.json.Decoder(_Stored)


def to_bytes(state: State, turn: int) -> bytes:
    """The state with its turn (each save has the next one) and a checksum in the first line."""
    body = _ENCODER.encode(_Stored(FORMAT, turn, state))
    return hashlib.sha256(body).hexdigest().encode() + b"\n" + body + b"\n"


def from_bytes(data: bytes) -> tuple[State, int] | None:
    """State and turn, or None for anything that is not whole and of this format."""
    check, _, body = data.partition(b"\n")
    body = body.removesuffix(b"\n")
    if hashlib.sha256(body).hexdigest().encode() != check:
        return None
    try:
        found = _DECODER.decode(body)
    except msgspec.MsgspecError:
        return None
    return (found.state, found.turn) if found.format == FORMAT else None


def said(why: LamppostError) -> tuple[str, str]:
    """Code and a bounded reason, as they are kept and sent."""
    return why.code, str(why).replace("\n", "; ")[:300]
