"""A gateway that does nothing but seal and send: one chain, a window of batches in flight, until all have receipts."""

from __future__ import annotations

import json
import queue
import ssl
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion

from lamppost.envelope.receipt import ReceiptClaim, Statement, read_down, verify_receipt
from lamppost.errors import LamppostError
from lamppost.model import Receipt
from lamppost_hub.transport import Incoming
from unit.hub.world import SealingGateway

READINGS = 10  # of one batch
SILENCE = 2.0  # seconds without a receipt until the window is sent again
BEGAN = datetime(2026, 1, 1, tzinfo=UTC)


def measured(gateway: str, number: int) -> bytes:
    """A meter's power in window `number`, as a broker keeps it: once in its history."""
    at = (BEGAN + timedelta(minutes=number)).strftime("%Y-%m-%dT%H:%M:%SZ")
    power = {
        "type": "Property",
        "value": float(number),
        "observedAt": at,
        "urn:lamppost:count": {"type": "Property", "value": READINGS},
    }
    entity = {
        "id": f"urn:ngsi-ld:ACMeasurement:{gateway}:meter",
        "type": "https://smartdatamodels.org/dataModel.Energy/ACMeasurement",
        "https://smartdatamodels.org/dataModel.Energy/activePower": power,
    }
    return json.dumps([entity]).encode()


class FastGateway:
    """Runs in threads of its own. `done` is set when all `batches` are proved; `pace` is the pause before each (s)."""

    def __init__(
        self,
        sealing: SealingGateway,
        port: int,
        batches: int,
        window: int = 8,
        pace: float = 0.0,
        readings: int = READINGS,
        content: Callable[[str, int], bytes] = measured,
    ) -> None:
        self.sealing = sealing
        self.done = threading.Event()
        self.sent = 0
        self.problems: list[str] = []
        self.batches = batches
        self._messages: list[Incoming] = []
        self._pace = pace
        self._ending = False
        self._readings = readings
        self._content = content
        self._proved: set[int] = set()
        self._window = window
        self._heard: queue.Queue[Receipt | Statement] = queue.Queue()
        self._client = self._connected(port)
        self._thread = threading.Thread(target=self._run, daemon=True)

    def _connected(self, port: int) -> paho.Client:
        identity = self.sealing.identity
        client = paho.Client(
            CallbackAPIVersion.VERSION2, client_id=self.sealing.name, protocol=paho.MQTTv5
        )
        trust = ssl.create_default_context(cafile=str(identity.server_ca))
        trust.load_cert_chain(identity.tls_certificate, identity.tls_key)
        client.tls_set_context(trust)
        client.reconnect_delay_set(1, 1)
        topic = f"lamppost/{self.sealing.name}/down"
        client.on_connect = lambda c, *_: c.subscribe(topic, 1)
        client.on_message = lambda _c, _u, message: self._hear(bytes(message.payload))
        client.connect_async("localhost", port, keepalive=5)
        return client

    def start(self) -> None:
        self._client.loop_start()
        self._thread.start()

    def enough(self) -> None:
        """Seal no more; once it is `done`, `batches` is how many there were."""
        self._ending = True

    def _limit(self) -> int:
        if self._ending:
            self.batches = len(self._messages)
        return self.batches

    def stop(self) -> None:
        self.done.set()
        self._thread.join()
        self._client.disconnect()
        self._client.loop_stop()

    def _hear(self, payload: bytes) -> None:
        try:
            said = read_down(payload, self.sealing.name, self.sealing.identity.hub_signing)
            self._heard.put(
                verify_receipt(said, self.sealing.batches[said.seq].leaf)
                if isinstance(said, ReceiptClaim)
                else said
            )
        except LamppostError as error:
            self.problems.append(str(error))

    def _put(self, number: int) -> None:
        if number == len(self._messages):
            time.sleep(self._pace)
            content = self._content(self.sealing.name, number)
            self._messages.append(self.sealing.next(self._readings, content=content))
        message = self._messages[number]
        self.sent += 1
        self._client.publish(message.topic, message.payload, 1)

    def _run(self) -> None:
        following = 0
        settled = 0
        while not self.done.is_set() and len(self._proved) < self._limit():
            while settled in self._proved:
                settled += 1
            while following < min(self._limit(), settled + self._window):
                self._put(following)
                following += 1
            following = self._listen(following, settled)
        self.done.set()

    def _listen(self, following: int, settled: int) -> int:
        deadline = time.monotonic() + SILENCE
        while time.monotonic() < deadline:
            try:
                said = self._heard.get(timeout=0.2)
            except queue.Empty:
                if self.done.is_set():
                    break
                continue
            if isinstance(said, Receipt):
                self._proved.add(said.seq)
                return following
            if said.kind == "refused":
                self.problems.append(said.code)
            else:
                return min(following, max(said.next, settled))
        return settled
