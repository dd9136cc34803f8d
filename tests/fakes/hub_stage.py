"""A hub with Mosquitto and `lamppost-hub receive` as real processes, and a gateway's plain MQTT line to it."""

from __future__ import annotations

import contextlib
import io
import json
import queue
import signal
import socket
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion

from fakes.mosquitto import free_port, program
from lamppost.envelope import identity
from lamppost.envelope.receipt import Statement
from lamppost.model import Receipt
from lamppost_hub.cli import main
from lamppost_hub.intake import Answer
from lamppost_hub.transport import Incoming
from unit.hub.world import SealingGateway

PATIENCE = 30.0  # seconds until a test that waits in vain fails


class Line:
    """A gateway's MQTT connection; answers come out of `answers`, PUBACK reasons out of `acks`."""

    def __init__(self, gateway: SealingGateway, port: int) -> None:
        self.gateway = gateway
        self.answers: queue.Queue[Receipt | Statement] = queue.Queue()
        self.acks: queue.Queue[int] = queue.Queue()
        self._subscribed = threading.Event()
        self._client = paho.Client(
            CallbackAPIVersion.VERSION2, client_id=gateway.name, protocol=paho.MQTTv5
        )
        trust = ssl.create_default_context(cafile=str(gateway.identity.server_ca))
        trust.load_cert_chain(gateway.identity.tls_certificate, gateway.identity.tls_key)
        self._client.tls_set_context(trust)
        self._client.on_connect = lambda client, *_: client.subscribe(
            f"lamppost/{gateway.name}/down", 1
        )
        self._client.on_subscribe = lambda *_: self._subscribed.set()
        self._client.on_publish = lambda _c, _u, _m, reason, _p: self.acks.put(reason.value)
        self._client.on_message = lambda _c, _u, message: self.answers.put(
            gateway.read(Answer(message.topic, bytes(message.payload)))
        )
        self._client.connect("localhost", port)
        self._client.loop_start()
        assert self._subscribed.wait(PATIENCE)

    def put(self, message: Incoming) -> int:
        """Publish and return the PUBACK's reason code."""
        self._client.publish(message.topic, message.payload, 1)
        return self.acks.get(timeout=PATIENCE)

    def ask(self, message: Incoming) -> Receipt | Statement:
        """Publish and return the hub's answer."""
        self.put(message)
        return self.answers.get(timeout=PATIENCE)

    def insist(self, message: Incoming) -> Receipt | Statement:
        """Publish until there is an answer, as a gateway does whose receipt does not come."""
        for _ in range(int(PATIENCE)):
            self.put(message)
            try:
                return self.answers.get(timeout=1.0)
            except queue.Empty:
                continue
        raise AssertionError("no answer")

    def close(self) -> None:
        self._client.disconnect()
        self._client.loop_stop()


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


class Stage:
    """A hub's folder with a broker and a receiver as processes; ends what it started."""

    def __init__(self, path: Path, database: str = "") -> None:
        self.path = path
        self.hub = path / "hub"
        self.port = free_port()
        self.lines: list[Line] = []
        self.broker: subprocess.Popen[bytes] | None = None
        self.receiver: subprocess.Popen[str] | None = None
        where = ("--database", database) if database else ()
        self.command("init", self.hub, "--id", "hub.test", "--port", self.port, *where)
        self.command("broker-config", self.hub, "--port", self.port)

    def command(self, *words: object, code: int = 0) -> str:
        """Run `lamppost-hub` in this process and return what it printed."""
        out, found = self._run(words)
        assert found == code, out
        return out

    def raw(self, *words: object) -> str:
        """The same, whatever the exit code."""
        return self._run(words)[0]

    @staticmethod
    def _run(words: tuple[object, ...]) -> tuple[str, int]:
        printed = io.StringIO()
        try:
            with contextlib.redirect_stdout(printed):
                main([str(word) for word in words])
        except SystemExit as end:
            return printed.getvalue(), int(end.code or 0)
        return printed.getvalue(), 0

    def start_broker(self) -> None:
        self.broker = subprocess.Popen(
            [program(), "-c", str(self.hub / "broker" / "mosquitto.conf")],
            stderr=subprocess.DEVNULL,
        )

        while not _listens(self.port):
            assert self.broker.poll() is None
            time.sleep(0.02)

    def kill_broker(self) -> None:
        assert self.broker is not None
        self.broker.kill()
        self.broker.wait()

    def start_receiver(self, *options: str) -> None:
        """Start it and wait for its line; the broker may come up meanwhile."""
        with (self.path / "receiver.log").open("a") as log:
            self.receiver = subprocess.Popen(
                [sys.executable, "-m", "lamppost_hub", "receive", str(self.hub), *options],
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
            )
        assert self.receiver.stdout is not None
        assert self.receiver.stdout.readline().startswith("ready hub.test")

    def end_receiver(self, how: signal.Signals) -> tuple[int, str]:
        assert self.receiver is not None
        self.receiver.send_signal(how)
        rest, _ = self.receiver.communicate(timeout=PATIENCE)
        return self.receiver.returncode, rest

    def enrol(self, name: str) -> SealingGateway:
        home = self.path / name
        identity.create(home, name)
        (home / "request").write_bytes(identity.request(home))
        self.command("enrol", "approve", self.hub, home / "request", "--out", home / "bundle")
        identity.install(home, (home / "bundle").read_bytes())
        return SealingGateway(identity.load(home))

    def line(self, gateway: SealingGateway) -> Line:
        line = Line(gateway, self.port)
        self.lines.append(line)
        return line

    def fleet(self, settled: Callable[[dict[str, Any]], bool] = lambda _: True) -> dict[str, Any]:
        """`fleet show`, once the sinks have caught up and `settled` holds."""
        for _ in range(100):
            found: dict[str, Any] = json.loads(self.raw("fleet", "show", self.hub, "--json"))
            if not any(found["queues"].values()) and settled(found):
                return found
        raise AssertionError(found)

    def close(self) -> None:
        for line in self.lines:
            line.close()
        for process in (self.receiver, self.broker):
            if process is not None and process.poll() is None:
                process.kill()
            if process is not None:
                process.wait()
                if process.stdout is not None:
                    process.stdout.close()
