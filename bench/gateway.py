"""The whole gateway: CPU of one core, resident memory (P1, P2). One JSON line a figure.

python bench/gateway.py [seconds]

20 simulated meters on Modbus/TCP, 20 float points each, once a second; durable ring, minute windows, signed and
encrypted batches to a real Mosquitto and a real receiver, all on this machine. CPU and memory are the gateway
process's own, from /proc, after a warm-up.
"""

from __future__ import annotations

import json
import os
import platform
import sys
import tempfile
import time
from pathlib import Path

from hwsim.demo.bench import Bench, free_port

METERS = 20
WARM_UP = 20.0
POINTS = [f"{quantity}.l{n}" for quantity in ("voltage", "current", "power", "apparent_power",
          "reactive_power", "power_factor") for n in (1, 2, 3)] + ["frequency", "energy.import"]  # fmt: skip

SITE = """\
[site]
gateway = "{gateway}"
hub = "{hub}"
place = {{ longitude = 13.3777, latitude = 52.5163 }}
[time]
unsynced = "send"
[aggregate]
window = "1min"
[uplink]
host = "localhost"
port = {port}
"""


def site(ports: list[int]) -> str:
    tables = [SITE]
    for n, port in enumerate(ports):
        tables.append(
            f'[[link]]\nname = "tcp-{n}"\nkind = "modbus-tcp"\nhost = "127.0.0.1"\nport = {port}\n'
            f'[[device]]\nname = "meter-{n}"\nmodel = "sdm630"\nlink = "tcp-{n}"\nunit = 1\nevery = "1s"\n'
            f"points = {json.dumps(POINTS)}\n"
        )
    return "\n".join(tables)


def cabinet(path: Path, ports: list[int]) -> Path:
    tables = [
        f'[[tcp]]\nname = "tcp-{n}"\nport = {port}\n[[tcp.unit]]\nunit = 1\nmodel = "sdm630"\nseed = {n}\n'
        for n, port in enumerate(ports)
    ]
    path.write_text("\n".join(tables))
    return path


def used(pid: int) -> tuple[float, float]:
    """CPU seconds so far and resident MB of a process."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    ticks = int(fields[11]) + int(fields[12])
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return ticks / os.sysconf("SC_CLK_TCK"), pages * os.sysconf("SC_PAGE_SIZE") / 1e6


def say(what: str, value: float, unit: str, **more: object) -> None:
    machine = f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}"
    line = {"bench": "gateway", "what": what, "value": round(value, 3), "unit": unit, **more}
    print(json.dumps({**line, "machine": machine}), flush=True)


def main(seconds: float) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        ports = [free_port() for _ in range(METERS)]
        bench = Bench(folder)
        try:
            bench.prepare(site(ports), cabinet(folder / "meters.toml", ports))
            bench.start_cabinet()
            bench.start_broker()
            bench.start_receiver()
            bench.start_gateway()
            time.sleep(WARM_UP)
            pid = bench.pid("gateway")
            before, _ = used(pid)
            stored = bench.buffer()["appended"]
            time.sleep(seconds)
            after, memory = used(pid)
            rate = (bench.buffer()["appended"] - stored) / seconds
            share = 100 * (after - before) / seconds
            say("P1 whole gateway, CPU of one core", share, "%", readings_per_second=round(rate, 1))
            say("P2 whole gateway, resident memory", memory, "MB")
        finally:
            bench.close()


if __name__ == "__main__":
    main(float(sys.argv[1]) if len(sys.argv) > 1 else 60.0)
