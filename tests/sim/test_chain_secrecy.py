"""Whoever listens on the broker learns sizes and times, and nothing else."""

from __future__ import annotations

import ssl
import threading
from pathlib import Path

import paho.mqtt.client as paho
import pytest
from paho.mqtt.enums import CallbackAPIVersion

from hwsim.demo.bench import GATEWAY, HUB_ID, Bench
from sim.chain import assert_exactly_once, chain, settled, wait_until

pytestmark = pytest.mark.broker

# What stands in every batch's clear text: names, models, ids, units, words of NGSI-LD and of the site.
READABLE = (
    b"urn:ngsi-ld", b"meter-main", b"meter-lamps", b"air-roof", b"sdm630", b"pms5003", b"Device",
    b"ThreePhase", b"AirQuality", b"observedAt", b"voltage", b"energy", b"pm25", b"quality",
    b"smartdatamodels", b"unitCode", b"13.3777", b"52.5163", b"Lamppost demo",
)  # fmt: skip


class Spy:
    """A client that the broker's operator lets read everything."""

    def __init__(self) -> None:
        self.heard: list[tuple[str, bytes]] = []
        self.subscribed = threading.Event()

    def allow(self, bench: Bench) -> None:
        """Enrol a client of its own and open the access list to it, before the broker starts."""
        bench.command("lamppost", "enrol", "spy", "--local", bench.hub, "--state",
                      bench.folder / "spy")  # fmt: skip
        with (bench.hub / "broker" / "acl").open("a") as rules:
            rules.write("\nuser spy\ntopic read #\n")

    def listen(self, bench: Bench) -> paho.Client:
        identity = bench.folder / "spy" / "identity"
        tls = ssl.create_default_context(cafile=str(identity / "server-ca.pem"))
        tls.load_cert_chain(identity / "tls.pem")
        client = paho.Client(CallbackAPIVersion.VERSION2, client_id="spy", protocol=paho.MQTTv5)
        client.tls_set_context(tls)
        client.on_connect = lambda c, *_: c.subscribe("lamppost/#", qos=1)
        client.on_subscribe = lambda *_: self.subscribed.set()
        client.on_message = lambda c, u, m: self.heard.append((m.topic, bytes(m.payload)))
        client.connect("localhost", bench.port)
        client.loop_start()
        return client


def test_a_listener_on_the_broker_reads_nothing(tmp_path: Path) -> None:
    spy = Spy()
    with chain(tmp_path, before_start=spy.allow) as bench:
        client = spy.listen(bench)
        try:
            assert spy.subscribed.wait(10)
            wait_until(
                lambda: sum(t.endswith("/up") for t, _ in spy.heard) >= 3, "three batches heard"
            )
            assert_exactly_once(settled(bench))
        finally:
            client.disconnect()
            client.loop_stop()
    topics = {topic for topic, _ in spy.heard}
    assert topics >= {f"lamppost/{GATEWAY}/up", f"lamppost/{GATEWAY}/down"}
    up = [payload for topic, payload in spy.heard if topic == f"lamppost/{GATEWAY}/up"]
    for payload in up:
        for word in (*READABLE, GATEWAY.encode(), HUB_ID.encode()):
            assert word not in payload, f"{word!r} is readable"
