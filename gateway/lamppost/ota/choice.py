"""Which configuration the daemon starts with. It always finds one if there is any: trial, good, before, local file."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, TypeVar

from lamppost.errors import LamppostError
from lamppost.model import Instant
from lamppost.ota.generations import Generations
from lamppost.ota.refusal import ConfigUnfit
from lamppost.ota.state import Generation

log = logging.getLogger(__name__)

Loaded = TypeVar("Loaded")


@dataclass(frozen=True, slots=True)
class Chosen(Generic[Loaded]):
    """What runs: loaded, its bytes, and its generation (None: the local site file)."""

    loaded: Loaded
    content: bytes
    generation: Generation | None


def choose(
    generations: Generations,
    local: Path,
    load: Callable[[bytes], Loaded],
    now: Instant,
    utc: int,
) -> Chosen[Loaded]:
    """Choose, and note the start of a trial. What cannot be read or loaded is left behind, with its reason kept.

    Raises what `load` says of the local site file, ConfigUnfit `ota.no-configuration` where there is none.
    """
    generations.start(now, utc)
    while True:
        state = generations.state
        generation = state.trial.generation if state.trial else state.good
        if generation is None:
            break
        try:
            content = generations.content(generation)
            return Chosen(load(content), content, generation)
        except LamppostError as why:
            log.error("generation %d: %s: %s", generation.number, why.code, why)
            if state.trial:
                generations.revert(why, utc)
            else:
                generations.lost(why, utc)
    try:
        content = local.read_bytes()
    except OSError as error:
        raise ConfigUnfit("ota.no-configuration", f"{local}: {error.strerror}") from None
    return Chosen(load(content), content, None)
