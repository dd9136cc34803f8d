"""CPU of `lamppost status` from start to exit (P14), against a daemon that answers at once. One JSON line.

python bench/cli.py

The smallest of several runs is shown: what the machine does beside it only adds. `ratio` is to a bare Python.
"""

from __future__ import annotations

import json
import platform
import resource
import socket
import subprocess
import sys
import tempfile
import threading
from pathlib import Path

RUNS = 15
STATUS = {
    "gateway": "gw-1", "hub": "hub.city", "version": "0", "up_seconds": 9.0, "clock": "synced",
    "ring": {"state": "ok", "appended": 1, "waiting": 0},
    "uplink": {"state": "connected", "code": None, "batches_sent": 1, "receipts_verified": 1},
    "devices": [{"name": f"meter-{n}", "state": "ok"} for n in range(30)],
}  # fmt: skip


def seconds(words: list[str]) -> float:
    """The least CPU of several runs of a command."""
    best = float("inf")
    for _ in range(RUNS):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run(words, stdout=subprocess.DEVNULL, check=True)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        best = min(best, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
    return best


def serve(door: socket.socket) -> None:
    """Answer every question with the same status."""
    said = json.dumps(STATUS).encode() + b"\n"
    for _ in range(RUNS):
        line, _ = door.accept()
        line.recv(4096)
        line.sendall(said)
        line.close()


def main() -> None:
    """Measure and print."""
    with tempfile.TemporaryDirectory() as folder, socket.socket(socket.AF_UNIX) as door:
        path = Path(folder) / "s"
        door.bind(str(path))
        door.listen()
        threading.Thread(target=serve, args=(door,), daemon=True).start()
        command = str(Path(sys.executable).with_name("lamppost"))
        status = seconds([command, "status", "--socket", str(path)])
    bare = seconds([sys.executable, "-c", "pass"])
    figure = {
        "figure": "P14 lamppost status, CPU",
        "value": round(status * 1000),
        "unit": "ms",
        "ratio": round(status / bare, 1),
        "against": f"bare Python ({bare * 1000:.0f} ms)",
        "python": platform.python_version(),
        "machine": platform.machine(),
    }
    print(json.dumps(figure))


if __name__ == "__main__":
    main()
