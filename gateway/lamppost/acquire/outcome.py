"""Calls a driver's pure functions. Whatever they do wrong becomes a quality; the only blanket catch is here."""

from __future__ import annotations

import logging
from collections.abc import Callable, Generator
from dataclasses import dataclass
from typing import Generic, TypeVar, cast

from lamppost.model import Quality
from lamppost.quality.codes import quality
from lamppost_drivers.contract import FrameError

Result = TypeVar("Result")
Wish = TypeVar("Wish")
Sent = TypeVar("Sent")

_CORRUPT = quality("corrupt")
_DRIVER_ERROR = quality("driver_error")
_log = logging.getLogger(__name__)
_told: set[tuple[str, str]] = set()


def ask(model: str, function: Callable[..., Result], *arguments: object) -> Result | Quality:
    """What a driver's function returns, or why it did not: `corrupt` for a FrameError, `driver_error` for a bug.

    The first bug of a kind is logged with its trace, the same again is not.
    """
    try:
        return function(*arguments)
    except FrameError:
        return _CORRUPT
    except Exception as bug:  # noqa: BLE001 - the one place that survives a driver's bug
        kind = (model, f"{type(bug).__name__}: {bug}")
        if kind not in _told and len(_told) < 100:
            _told.add(kind)
            _log.exception("driver of %s failed; its readings are marked driver_error", model)
        return _DRIVER_ERROR


@dataclass(frozen=True, slots=True)
class Finished(Generic[Result]):
    """A driver's conversation has come to its end, with this."""

    result: Result


def step(
    conversation: Generator[Wish, Sent, Result], received: Sent | None
) -> Wish | Finished[Result]:
    """Let a conversation go on with what was received (None at its start): what it wishes next, or its end."""
    try:
        return conversation.send(cast(Sent, received))
    except StopIteration as end:
        return Finished(end.value)
