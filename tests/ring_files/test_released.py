"""Every released format version is opened by today's code, with everything in it."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from lamppost.ring import Record, Ring

HERE = Path(__file__).parent


@pytest.mark.parametrize("version", sorted(p.name for p in HERE.glob("v*")))
def test_a_released_ring_opens(version: str, tmp_path: Path) -> None:
    folder = tmp_path / "ring"
    shutil.copytree(HERE / version, folder)
    expected = json.loads((folder / "expected.json").read_text())
    ring = Ring.open(folder, 0)
    try:
        assert ring.stats().state == "ok"
        assert (ring.epoch, ring.last) == (expected["epoch"], expected["last"])
        assert ring.settled_through == expected["settled_through"]
        held = [[b.seq, b.span.first, b.span.last, b.message.hex()] for b in ring.held()]
        assert held == expected["held"]
        stored = {str(s.span.first): s.payload.hex() for s in ring.read(79, 10**9)}
        assert stored == expected["stored"]
        gaps = [[g.span.first, g.span.last, g.why] for g in ring.gaps(79)]
        assert gaps == expected["gaps"]
        assert ring.append([Record(1, b"today")]).first == expected["last"] + 1
    finally:
        ring.close()
