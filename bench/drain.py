"""P12: how long a gateway takes to send what an outage left, and what that costs it.

python bench/drain.py [days] [rounds]

A real gateway and a real Mosquitto, and a real receiver that verifies, opens, books and receipts but has no sink, so
that mostly the gateway is measured. The ring holds `days` of unsent readings of 20 meters with 20 points each, one a
minute, which is one reading a window and point; a level probe is read every second meanwhile. One JSON line a figure:
seconds from the start until everything is receipted, processor seconds of the gateway and how long it waited for a core
that others had, and how long after that the readings taken meanwhile are receipted too.
"""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "tests"))

from fakes.level_probe import LevelProbe, fill, meters, write_map  # noqa: E402
from hwsim.demo.bench import Bench  # noqa: E402

WINDOW = 10.0


def receive(hub: str) -> None:
    """A receiver without sinks, until it is stopped."""
    from lamppost_hub.daemon import Choice, run
    from lamppost_hub.folder import HubFolder

    run(HubFolder(Path(hub)), Choice(sinks=()), lambda said: print("ready", said, flush=True))


def used(pid: int) -> float:
    """Processor seconds of a process so far."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def starved(pid: int) -> float:
    """Seconds that threads of a process were ready to run and had no core."""
    delays = [path.read_text() for path in Path(f"/proc/{pid}/task").glob("*/schedstat")]
    return sum(int(delay.split()[1]) for delay in delays) / 1e9


def settled(bench: Bench) -> int:
    """The newest reading number with a verified receipt."""
    status = bench.status() or {}
    return int(status.get("ring", {}).get("settled_through", -1))


def say(what: str, value: float, unit: str, **more: object) -> None:
    machine = f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}"
    line = {"bench": "drain", "what": what, "value": round(value, 2), "unit": unit, **more}
    print(
        json.dumps({**line, "machine": machine, "load": round(os.getloadavg()[0], 1)}), flush=True
    )


def once(days: float) -> None:
    with tempfile.TemporaryDirectory() as name, LevelProbe() as probe:
        bench = Bench(Path(name))
        site = probe.site(window="10s", size="256MiB").partition("[[alert]]")[0]
        bench.prepare(site + meters())
        write_map(bench)
        filled = fill(bench.gateway_state, time.time_ns() - 60 * 10**9, round(days * 1440), size=256 << 20)  # fmt: skip
        hub = subprocess.Popen([sys.executable, __file__, "--hub", str(bench.hub)], stdout=subprocess.PIPE)  # fmt: skip
        try:
            bench.start_broker()
            assert hub.stdout is not None
            hub.stdout.readline()
            bench.start_gateway()
            pid = bench.pid("gateway")
            begin, worked, waited = time.monotonic(), used(pid), starved(pid)
            while settled(bench) < filled - 1:
                time.sleep(0.05)
            took, worked, waited = (
                time.monotonic() - begin,
                used(pid) - worked,
                starved(pid) - waited,
            )
            say(f"P12 drain of {days:g} days, gateway side", took, "s", readings=filled,
                gateway_cpu_seconds=round(worked, 1), cpu_us_a_reading=round(1e6 * worked / filled, 2),
                waited_for_a_core_seconds=round(waited, 1), goal=60,
                batches=(bench.status() or {})["uplink"]["batches_sent"])  # fmt: skip
            drained = time.monotonic()
            appended = bench.buffer()["appended"]
            while settled(bench) < appended - 1:
                time.sleep(0.05)
            say("P12 live readings taken during the drain are receipted", time.monotonic() - drained,
                "s after it", window=WINDOW)  # fmt: skip
        finally:
            bench.close()
            hub.terminate()
            hub.wait()


def main(words: list[str]) -> None:
    if words[:1] == ["--hub"]:
        receive(words[1])
        return
    for _ in range(int(words[1]) if len(words) > 1 else 1):
        once(float(words[0]) if words else 7.0)


if __name__ == "__main__":
    main(sys.argv[1:])
