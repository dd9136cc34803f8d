"""A gateway, a broker, two receivers, PostgreSQL, a context broker as processes, and lines between them that fail."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psycopg

from fakes.broker_process import DurableBroker
from fakes.fast_gateway import READINGS, FastGateway
from fakes.faulty_line import MODES, FaultyLine
from fakes.mosquitto import free_port
from fakes.postgres import Postgres
from hwsim.demo.bench import GATEWAY, HUB_ID, SITE, Bench
from lamppost.envelope import identity
from lamppost_hub.delivery import readings_in
from lamppost_hub.queue import EXPRESS, NEWEST
from sim.chain import wait_until
from unit.hub.world import SealingGateway

LOAD = 3  # further gateways that do nothing but send
TESTS = Path(__file__).resolve().parents[1]
# Short windows and short waits: more batches in flight when something fails.
QUICK = (
    SITE.replace('window = "10s"', 'window = "1s"')
    .replace('grace = "1s"', 'grace = "300ms"')
    .replace('every = "1s"', 'every = "500ms"')
    .replace('receipt_timeout = "5s"', 'receipt_timeout = "3s"')
    .replace('drain = "20s"', 'drain = "60s"')
)


@dataclass
class Fault:
    """Something that was broken from `began` to `ended` (time.time_ns)."""

    what: str
    began: int = field(default_factory=time.time_ns)
    ended: int = 0


class Town:
    """All of it. `faults` are what happened; every part may be killed, frozen or cut off at any moment."""

    def __init__(self, folder: Path, postgres: Postgres) -> None:
        postgres.emptied()
        self.postgres = postgres
        self.bench = Bench(folder)
        self.faults: list[Fault] = []
        self._stub_port = free_port()
        self._lines = {
            "gateway-broker": FaultyLine(self.bench.port),
            "receivers-broker": FaultyLine(self.bench.port),
            "receivers-postgres": FaultyLine(postgres.port),
            "receivers-sink": FaultyLine(self._stub_port),
        }
        self._processes: dict[str, subprocess.Popen[bytes]] = {}
        self._load: list[FastGateway] = []
        self._busy: set[str] = set()
        self._threads: list[threading.Thread] = []
        self.broken: list[BaseException] = []

    # -- start and end -----------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Everything, in an order in which it comes up at once."""
        bench, lines = self.bench, self._lines
        database = self.postgres.url(lines["receivers-postgres"].port)
        bench.command("lamppost-hub", "init", bench.hub, "--id", HUB_ID, "--port", bench.port,
                      "--database", database)  # fmt: skip
        bench.command("lamppost-hub", "broker-config", bench.hub, "--port", bench.port)
        bench.command(
            "lamppost", "enrol", GATEWAY, "--local", bench.hub, "--state", bench.gateway_state
        )
        port = lines["gateway-broker"].port
        bench.site_file.write_text(
            QUICK.format(gateway=GATEWAY, hub=HUB_ID, port=port, folder=bench.folder)
        )
        (bench.folder / "cabinet.toml").write_bytes(
            (TESTS.parent / "hw-sim/hwsim/sites/cabinet.toml").read_bytes()
        )
        for number in range(LOAD):
            self._load.append(FastGateway(self._enrolled(f"load-{number}"), port, 10**9, pace=0.3))
        bench.start_cabinet()
        for part in ("broker", "sink", "receiver-1", "receiver-2", "gateway"):
            self._start(part)
        for gateway in self._load:
            gateway.start()
        wait_until(lambda: self.booked() > 0, "the first batch is booked", 60)

    def _enrolled(self, name: str) -> SealingGateway:
        home = self.bench.folder / name
        identity.create(home, name)
        (home / "request").write_bytes(identity.request(home))
        words = ("approve", self.bench.hub, home / "request", "--out", home / "bundle")
        self.bench.command("lamppost-hub", "enrol", *words)
        identity.install(home, (home / "bundle").read_bytes())
        return SealingGateway(identity.load(home))

    def close(self) -> None:
        """End every process and line; nothing is checked."""
        for thread in self._threads:
            thread.join(60)
        for gateway in self._load:
            gateway.stop()
        for process in self._processes.values():
            process.kill()
            process.wait()
        self.bench.close()
        for line in self._lines.values():
            line.close()

    def _start(self, part: str) -> None:
        hub, lines = self.bench.hub, self._lines
        if part == "broker":
            words = ["mosquitto", "-c", hub / "broker" / "mosquitto.conf"]
        elif part == "sink":
            words = [sys.executable, "-m", "fakes.broker_process", self._stub_port, self.journal]
        elif part == "gateway":
            words = ["lamppost", "run", self.bench.site_file, "--state", self.bench.gateway_state,
                     "--socket", self.bench.control]  # fmt: skip
        else:
            words = ["lamppost-hub", "receive", hub, "--receiver", part[-1], "--group", "city",
                     "--port", lines["receivers-broker"].port,
                     "--sink", f"postgres:{self.postgres.url(lines['receivers-postgres'].port)}",
                     "--sink", f"ngsi-ld:http://127.0.0.1:{lines['receivers-sink'].port}"]  # fmt: skip
        path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"], "/usr/sbin"])
        with (self.bench.folder / f"{part}.log").open("ab") as log:
            self._processes[part] = subprocess.Popen(
                [str(word) for word in words],
                cwd=TESTS,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env={**os.environ, "PATH": path, "PYTHONUNBUFFERED": "1"},
            )

    @property
    def journal(self) -> Path:
        """What the context broker has answered for."""
        return self.bench.folder / "sink.journal"

    # -- faults ------------------------------------------------------------------------------------------------------

    def choices(self) -> list[str]:
        """Every fault there is, by name; kills count as much as all that networks do."""
        parts = ["gateway", "broker", "receiver-1", "receiver-2", "postgres", "sink"]
        kills = [f"kill {part}" for part in parts]
        freezes = [f"freeze {part}" for part in parts]
        cuts = [f"{mode} {line}" for line in self._lines for mode in MODES]
        return kills * 5 + freezes + cuts

    def fault(self, what: str, seconds: float) -> bool:
        """Begin a fault that ends by itself; False where that part is broken already."""
        part = what.partition(" ")[2]
        if part in self._busy:
            return False
        self._busy.add(part)
        fault = Fault(what)
        self.faults.append(fault)
        thread = threading.Thread(target=self._suffer, args=(fault, seconds))
        self._threads.append(thread)
        thread.start()
        return True

    def active(self) -> int:
        """How many faults there are at this moment."""
        return len(self._busy)

    def _suffer(self, fault: Fault, seconds: float) -> None:
        kind, _, part = fault.what.partition(" ")
        try:
            if kind == "kill":
                self._kill(part, seconds)
            elif kind == "freeze":
                pids = self._pids(part)
                _signal(pids, signal.SIGSTOP)
                time.sleep(seconds)
                _signal(pids, signal.SIGCONT)
            else:
                self._lines[part].mode = kind  # type: ignore[assignment]
                time.sleep(seconds)
                self._lines[part].mode = "pass"
        except BaseException as error:
            self.broken.append(error)
            raise
        finally:
            fault.ended = time.time_ns()
            self._busy.discard(part)

    def _kill(self, part: str, seconds: float) -> None:
        if part == "postgres":
            self.postgres.stop(
                signal.SIGQUIT
            )  # every process of it at once, and recovery afterwards
            time.sleep(seconds)
            self.postgres.start()
            return
        process = self._processes[part]
        early = process.poll()
        process.kill()
        process.wait()
        assert early is None, f"{part} had ended by itself with {early}"
        time.sleep(seconds)
        self._start(part)

    def _pids(self, part: str) -> list[int]:
        if part != "postgres":
            return [self._processes[part].pid]
        children = Path(f"/proc/{self.postgres.pid}/task/{self.postgres.pid}/children")
        return [self.postgres.pid, *map(int, children.read_text().split())]

    def calm(self) -> None:
        """Wait until every fault is over."""
        wait_until(lambda: not self._busy, "all faults end", 120)
        self._threads = [thread for thread in self._threads if thread.is_alive()]

    # -- what is there -----------------------------------------------------------------------------------------------

    def ask(self, sql: str) -> list[tuple[Any, ...]]:
        """Ask PostgreSQL itself, past the lines that fail."""
        with psycopg.connect(self.postgres.url(), connect_timeout=5) as connection:
            return connection.execute(sql.encode()).fetchall()

    def booked(self) -> int:
        """How many batches the ledger has."""
        try:
            return int(self.ask("SELECT count(*) FROM lamppost_hub.entries")[0][0])
        except psycopg.Error:
            return 0

    def behind(self) -> int:
        """How many batches the sinks have not got."""
        return int(
            self.ask(
                "SELECT coalesce(sum((SELECT count(*) FROM lamppost_hub.entries e WHERE e.gateway = c.gateway"
                " AND e.position > c.through)), 0) FROM lamppost_hub.cursors c"
                f" WHERE c.sink NOT LIKE '%{EXPRESS}' AND c.sink NOT LIKE '%{NEWEST}'"
            )[0][0]
        )

    def finish(self) -> dict[str, Any]:
        """End the gateways, let everything arrive, end the rest; what was found at every place."""
        self.calm()
        for load in self._load:
            load.enough()
        wait_until(
            lambda: all(load.done.is_set() for load in self._load), "the load is proved", 120
        )
        wait_until(self.bench.connected, "the gateway is connected", 120)
        gateway = self._processes["gateway"]
        gateway.send_signal(signal.SIGTERM)
        gateway.wait(120)
        ring = self.bench.buffer()
        wait_until(lambda: self.behind() == 0, "the sinks have everything", 180)
        audit = self.bench.command("lamppost-hub", "audit", self.bench.hub, "--gateway", GATEWAY)
        for part in ("receiver-1", "receiver-2"):
            self._processes[part].send_signal(signal.SIGTERM)
            assert self._processes[part].wait(60) == 0
        self._processes["sink"].kill()
        self._processes["sink"].wait()
        return {
            "ring": ring,
            "audit": audit.splitlines()[-1],
            "load_batches": sum(load.batches for load in self._load),
            "load_readings": sum(load.batches for load in self._load) * READINGS,
            "load_sent": sum(load.sent for load in self._load),
            "load_problems": [problem for load in self._load for problem in load.problems],
            **self._table(),
            **self._broker(),
        }

    def _table(self) -> dict[str, Any]:
        count = "SELECT count(*) FROM "
        return {
            "batches": self.booked(),
            "of_readings": self.ask(
                count + "lamppost_hub.entries e JOIN lamppost_hub.streams s ON s.number = e.stream"
                " WHERE substr(s.epoch, 1, 6) <> 'alert-'"
            )[0][0],
            "deliveries": self.ask(count + "lamppost.deliveries")[0][0],
            "readings": int(self.ask("SELECT sum(readings) FROM lamppost.measurements")[0][0]),
            "repeated_rows": self.ask(
                count + "(SELECT 1 FROM lamppost.measurements GROUP BY entity, quantity, member,"
                " dataset, time HAVING count(*) > 1) AS twice"
            )[0][0],
            "in_gaps": int(
                self.ask("SELECT coalesce(sum(last - first + 1), 0) FROM lamppost.gaps")[0][0]
            ),
            "dead_letters": self.ask(count + "lamppost_hub.dead_letters")[0][0],
            "streams": self.ask("SELECT DISTINCT state FROM lamppost_hub.streams"),
            "refused": self.ask("SELECT name, count FROM lamppost_hub.counters ORDER BY name"),
        }

    def _broker(self) -> dict[str, Any]:
        broker = DurableBroker(self.journal)
        broker.close()
        history = broker.store().history
        readings = sum(
            readings_in([{"id": identity, "type": "t", name: instance}])
            for identity, attributes in history.items()
            for name, instances in attributes.items()
            for instance in instances
        )
        return {"broker_readings": readings, "broker_repeated": broker.repeated()}

    def outcomes(self) -> list[tuple[str, int, float, float]]:
        """By fault: how often, and how long after its end the next batch was booked (median, longest; s)."""
        booked = [
            row[0] for row in self.ask("SELECT received FROM lamppost_hub.entries ORDER BY 1")
        ]
        waits: dict[str, list[float]] = {}
        for fault in self.faults:
            after = next((at for at in booked if at > fault.ended), None)
            waits.setdefault(fault.what, []).append(
                float("nan") if after is None else (after - fault.ended) / 1e9
            )
        return [
            (what, len(found), sorted(found)[len(found) // 2], max(found))
            for what, found in sorted(waits.items())
        ]


def rage(town: Town, count: int, choose: random.Random, tell: Callable[[str], None]) -> None:
    """Break `count` things, up to three at a time; every fifty see that batches are booked again."""
    choices = town.choices()
    while len(town.faults) < count:
        if town.active() < 3:
            town.fault(choose.choice(choices), choose.uniform(0.1, 2.0))
        time.sleep(choose.uniform(0.0, 0.7))
        if town.broken:
            raise town.broken[0]
        if len(town.faults) % 50 == 0 and town.active():
            town.calm()
            before = town.booked()
            began = time.monotonic()
            wait_until(lambda: town.booked() > before + 2, "batches are booked after faults", 120)  # noqa: B023
            tell(f"{len(town.faults)} faults, {town.booked()} batches,"
                 f" on again after {time.monotonic() - began:.1f} s")  # fmt: skip


def _signal(pids: list[int], number: signal.Signals) -> None:
    for pid in pids:
        try:
            os.kill(pid, number)
        except ProcessLookupError:
            continue
