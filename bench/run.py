"""`./dev bench [NAME]`: run the benchmarks and print goal, peer and Lamppost side by side.

Every figure is also appended to bench/results/ as one JSON line, so that runs can be compared.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

HERE = Path(__file__).parent
RESULTS = HERE / "results"

# figure → (goal, what its users have today); docs and ADRs say where these come from
GOALS = {
    "P1": (
        "≤ 1.4 % with ring, signing and encryption",
        "5.5–9.6 % without signing (thingsboard-gateway)",
    ),
    "P2": ("≤ 40 MB", "66–133 MB (thingsboard-gateway)"),
    "P3": ("p99 ≤ 5 ms, no drift", "56 ms (thingsboard-gateway), 8.9 ms (collectd)"),
    "P4": (
        "share ≥ 0.98 from 40 registers at ≤ 19200, ≥ 0.93 for 2 at 115200",
        "0.94–0.997, t3.5 broken by some",
    ),
    "P5": ("share ≥ 0.97 on 8 buses", "0.256 on 4 (thingsboard-gateway)"),
    "P6": ("≥ 320 values/s", "66 values/s (thingsboard-gateway)"),
    "P7": ("share ≥ 0.97", "the bus held 100 s and more a cycle"),
    "P8": ("share ≥ 0.90, memory bounded", "0.97 (pymodbus without a pipeline), 0.005 (blocking)"),
    "P9": ("≤ 60 bytes a reading, one fdatasync a group", "218 (SQLite FULL)"),
    "P13": (
        "≥ 400 batches/s a core; ≥ 1.7 × from 1 to 2 receivers where there are cores for them",
        "587/s, 85 % of it decoding JSON",
    ),
    "P14": ("≤ 150 ms CPU", "bare Python"),
    "audit": ("≤ 60 s for 100,000 batches", "no peer proves anything"),
    "P12": ("≤ 60 s for 7 days, live data at most one window behind", "4–6 h for 6 h (vzlogger)"),
    "P10": ("≤ 0.4 of SQLite's CPU; open ≤ 100 ms", "0.69 µs; 12–35 ms (SQLite FULL)"),
    "P11": (
        "≤ 12 bytes a reading in minute batches, ≤ 5 in an hour's backlog",
        "311 (plain NGSI-LD)",
    ),
}


AWAKE = {"rtu_line", "modbus_tcp"}
"""What answers within microseconds: a virtual machine may need milliseconds to wake a core that it has halted."""


@contextmanager
def awake() -> Iterator[None]:
    """No core is halted meanwhile: each has something to do that gives way to everything else (SCHED_IDLE)."""
    spin = "import os; os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))\nwhile True: pass"
    spinning = [subprocess.Popen([sys.executable, "-c", spin]) for _ in range(os.cpu_count() or 1)]
    try:
        yield
    finally:
        for process in spinning:
            process.kill()
            process.wait()


def main(names: list[str]) -> int:
    """Run the named benchmarks, or all; exit 1 if one of them failed."""
    known = sorted(path.stem for path in HERE.glob("*.py") if path.stem != Path(__file__).stem)
    if unknown := [name for name in names if name not in known]:
        print(f"no benchmark {', '.join(unknown)}: there are {', '.join(known)}", file=sys.stderr)
        return 2
    RESULTS.mkdir(exist_ok=True)
    kept = RESULTS / f"{datetime.now(UTC):%Y-%m-%dT%H%M%SZ}.jsonl"
    table = Table(title="goal · peer · Lamppost", title_justify="left")
    for heading in ("figure", "goal", "peer", "Lamppost"):
        table.add_column(heading, overflow="fold")
    failed: list[str] = []
    with kept.open("w") as record:
        for name in names or known:
            print(f"{name} …", file=sys.stderr, flush=True)
            with awake() if name in AWAKE else nullcontext():
                for figure in _figures(name, failed):
                    record.write(json.dumps(figure) + "\n")
                    table.add_row(*_row(figure))
    Console().print(table)
    print(
        f"PROBLEM failed: {', '.join(failed)}"
        if failed
        else f"OK kept in {kept.relative_to(HERE.parent)}"
    )
    return 1 if failed else 0


def _figures(name: str, failed: list[str]) -> Iterator[dict[str, Any]]:
    process = subprocess.Popen(
        [sys.executable, str(HERE / f"{name}.py")], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    for line in process.stdout:
        if line.startswith("{"):
            yield json.loads(line)
    if process.wait() != 0:
        failed.append(name)


def _row(figure: dict[str, Any]) -> tuple[str, str, str, str]:
    what = str(figure.get("what") or figure.get("figure"))
    key = what.split()[0]
    goal, peer = GOALS.get(key) or GOALS.get(key.partition(".")[0].upper()) or ("", "")
    said = (
        f"{figure['value']} {figure['unit']}" if "value" in figure else f"{figure['per_second']}/s"
    )
    if "ratio" in figure:
        said += f", ratio {figure['ratio']} to {figure['against']}"
    return what, goal, peer, said


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
