"""Where the shared folder (design, vectors, schemas) stands: beside the checkout, or in LAMPPOST_SHARED."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

CHECKOUT = Path(__file__).resolve().parents[1]


def shared_folder() -> Path | None:
    """The folder, or None where it is absent."""
    named = os.environ.get("LAMPPOST_SHARED")
    folder = Path(named) if named else CHECKOUT.parent / "shared"
    return folder if (folder / "vectors").is_dir() else None


def shared_path(relative: str) -> Path:
    """A path in the shared folder; skips the test, saying why, where it is absent."""
    folder = shared_folder()
    if folder is None or not (folder / relative).exists():
        pytest.skip(
            f"no shared folder beside the checkout (or LAMPPOST_SHARED): {relative} not tested"
        )
    return folder / relative


def vectors(family: str) -> Iterator[dict[str, Any]]:
    """The rows of one family of captured vectors, empty where the shared folder is absent (for parametrize)."""
    folder = shared_folder()
    if folder is None:
        return
    with (folder / "vectors" / family / "vectors.jsonl").open(encoding="utf-8") as rows:
        yield from (json.loads(row) for row in rows)
