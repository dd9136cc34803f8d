"""Direct mode as a process: a real daemon writes over TLS to a strict broker, through kills and outages."""

from __future__ import annotations

import random
import shutil
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import orjson
import pytest

from fakes.pki import Authority
from fakes.stub_broker import BROKERS, ORION_TROE, SCORPIO, Fault, Habits, StubBroker
from hwsim.demo.bench import CABINET, SITE, Bench, free_port
from lamppost_hub.delivery import readings_in
from sim.chain import wait_until

DIRECT = """\
[uplink]
mode = "direct"
url = "{url}"
tenant = "lamps"
ca = "broker-ca"
certificate = "gateway-cert"
key = "gateway-key"
drain = "20s"

[uplink.token]
url = "{url}/oauth2/token"
client = "gw-demo"
secret = "broker-secret"
"""
SECRET = "correct horse battery staple"


def site_text() -> str:
    """The demo's site, its [uplink] table taken out, without a hub, and with short windows."""
    head, _, rest = SITE.partition("[uplink]")
    tables = rest[rest.index("[[link]]") :]
    text = head.replace('hub = "{hub}"\n', "") + DIRECT + tables
    return text.replace('window = "10s"', 'window = "2s"').replace(
        'grace = "1s"', 'grace = "500ms"'
    )


class City:
    """A broker behind TLS with its own authority, and one gateway that writes to it."""

    def __init__(self, folder: Path, habits: Habits) -> None:
        self.stub = StubBroker(habits, token="t-1")
        self.stub.clients = {"gw-demo": SECRET}
        self.bench = Bench(folder)
        self.port = free_port()
        self._authority = Authority(folder, "city-ca")
        self._pair = self._authority.issue("localhost", server=True)
        self._serving = ExitStack()
        certificate, key = self._authority.issue("gw-demo")
        keys = self.bench.gateway_state / "credentials"
        keys.mkdir(parents=True)
        for name, source in (
            ("broker-ca", self._authority.pem),
            ("gateway-cert", certificate),
            ("gateway-key", key),
        ):
            shutil.copy(source, keys / name)
        (keys / "broker-secret").write_text(SECRET + "\n")
        for path in keys.iterdir():
            path.chmod(0o600)
        url = f"https://localhost:{self.port}"
        self.bench.site_file.write_text(
            site_text().format(gateway="gw-demo", url=url, folder=folder)
        )
        shutil.copy(CABINET, folder / "cabinet.toml")

    def open(self) -> None:
        """The broker answers."""
        served = self.stub.serve(self.port, pair=self._pair, client_ca=self._authority.pem)
        self._serving.enter_context(served)

    def close(self) -> None:
        """Nobody answers at the broker's address."""
        self._serving.close()

    def readings(self) -> int:
        """All that the broker's history was given, repeated writes counted again."""
        return sum(
            readings_in([{"id": i, "type": "t", name: instance}])
            for i, attributes in list(self.stub.store("lamps").history.items())
            for name, instances in list(attributes.items())
            for instance in list(instances)
        )

    def uplink(self) -> dict[str, Any]:
        found: dict[str, Any] = (self.bench.status() or {}).get("uplink", {})
        return found


@contextmanager
def city(folder: Path, habits: Habits = ORION_TROE) -> Iterator[City]:
    made = City(folder, habits)
    try:
        made.bench.start_cabinet()
        made.open()
        yield made
    finally:
        made.bench.close()
        made.close()


def test_the_daemon_writes_to_a_broker_through_kills_and_an_outage(tmp_path: Path) -> None:
    with city(tmp_path, SCORPIO) as c:
        c.bench.start_gateway()
        wait_until(lambda: c.readings() > 0, "first readings at the broker")
        assert c.uplink()["mode"] == "direct"
        assert "no signed receipts" in c.uplink()["proof"]
        c.stub.faults = [Fault(504, applied=True), Fault(500, applied=True), Fault(429)]
        c.bench.stop("gateway", signal.SIGKILL)
        c.bench.start_gateway()
        before = c.readings()
        wait_until(lambda: c.readings() > before, "readings again after the kill")
        c.close()
        stored = c.bench.buffer()["appended"]
        wait_until(lambda: c.uplink().get("code") == "broker.unreachable", "the outage has a name")
        wait_until(
            lambda: c.bench.buffer()["appended"] > stored + 50, "readings go on into the ring"
        )
        c.bench.stop("gateway", signal.SIGKILL)
        c.open()
        c.bench.start_gateway()
        wait_until(c.bench.connected, "the broker is written to again")
        c.bench.stop("gateway")
        ring = c.bench.buffer()
        assert ring["waiting"] == 0
        assert c.readings() == ring["appended"]
        assert c.stub.repeated() == 0


def test_a_wrong_secret_has_a_name_and_reading_goes_on(tmp_path: Path) -> None:
    with city(tmp_path) as c:
        c.stub.clients = {"gw-demo": "another"}
        c.bench.start_gateway()
        wait_until(lambda: c.uplink().get("code") == "broker.token", "broker.token")
        assert c.uplink()["state"] == "refused"
        wait_until(lambda: c.bench.buffer()["appended"] > 0, "readings are stored")
        assert SECRET not in orjson.dumps(c.bench.status()).decode() + c.bench.log("gateway")
        c.stub.clients = {"gw-demo": SECRET}
        wait_until(lambda: c.readings() > 0, "readings at the broker", timeout=60)


@pytest.mark.long
@pytest.mark.parametrize("habits", BROKERS, ids=lambda h: h.name)
def test_sixty_random_kills_under_faults(tmp_path: Path, habits: Habits) -> None:
    seed = random.randrange(2**32)
    print("seed", seed)
    dice = random.Random(seed)
    kinds = [Fault(s, applied=a) for s in (0, 408, 500, 502, 504) for a in (True, False)]
    kinds = [k for k in kinds if k.status] + [Fault(429), Fault(503), Fault(not_connected=True)]
    with city(tmp_path, habits) as c:
        for round_ in range(60):
            c.stub.faults = [dice.choice(kinds) for _ in range(dice.randrange(6))]
            c.bench.start_gateway()
            time.sleep(dice.uniform(0.2, 3.0))
            c.bench.stop("gateway", signal.SIGKILL)
            if round_ % 10 == 5:
                c.close()
                c.bench.start_gateway()
                time.sleep(dice.uniform(0.5, 4.0))
                c.bench.stop("gateway", signal.SIGKILL)
                c.open()
        c.stub.faults = []
        c.bench.start_gateway()
        wait_until(c.bench.connected, "connected at the end", timeout=90)
        wait_until(lambda: c.uplink()["held"] == 0, "nothing is held", timeout=90)
        c.bench.stop("gateway")
        ring = c.bench.buffer()
        print(
            "readings",
            ring["appended"],
            "requests",
            len(c.stub.requests),
            "threads",
            threading.active_count(),
        )
        assert ring["waiting"] == 0
        assert c.readings() == ring["appended"]
        assert c.stub.repeated() == 0
