"""The MQTT side of the uplink against a real Mosquitto with TLS 1.3: each failure by its own name."""

from __future__ import annotations

import asyncio
import random
import socket
import ssl
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import aiomqtt
import pytest

from fakes.mosquitto import Broker
from fakes.pki import Authority
from fakes.uplink_world import Hub, Identity, Ring, Settings, signer
from lamppost.clock import SystemClock
from lamppost.errors import HubError, LamppostError, TrustError
from lamppost.uplink import Uplink
from lamppost.uplink.mqtt import RECEIVE_MAXIMUM, BrokerAddress, MqttTransport
from lamppost.uplink.tls import TlsFiles
from lamppost.uplink.transport import Ack

pytestmark = pytest.mark.broker

GATEWAY = "gw-0001"


class Material:
    """Two authorities, a broker's certificate, a gateway's and the hub's."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.gateways = Authority(folder, "gateway CA")
        self.servers = Authority(folder, "server CA")
        self.server = self.servers.issue("localhost", file="server", server=True)
        self.gateway = TlsFiles(*self.gateways.issue(GATEWAY), self.servers.pem)
        self.hub = TlsFiles(*self.gateways.issue("hub"), self.servers.pem)

    def broker(self, tls: str = "tlsv1.3") -> Broker:
        return Broker(self.folder, self.gateways.pem, *self.server, tls)


@pytest.fixture(scope="module")
def material(tmp_path_factory: pytest.TempPathFactory) -> Material:
    return Material(tmp_path_factory.mktemp("pki"))


@pytest.fixture
def broker(material: Material) -> Iterator[Broker]:
    running = material.broker()
    running.start()
    yield running
    running.kill()


def address(material: Material, broker: Broker, **changes: object) -> BrokerAddress:
    plain = BrokerAddress("localhost", broker.port, GATEWAY, material.gateway)
    return replace(plain, **changes)  # type: ignore[arg-type]


async def refused(at: BrokerAddress) -> LamppostError:
    transport = MqttTransport(at)
    with pytest.raises(LamppostError) as caught:
        await transport.connect()
    await transport.close()
    return caught.value


async def test_publish_and_receive(material: Material, broker: Broker) -> None:
    gateway = MqttTransport(address(material, broker))
    await gateway.connect()
    assert await gateway.publish(f"lamppost/{GATEWAY}/up", b"early") is Ack.NOBODY
    hub = Receiver(material, broker)
    await hub.connect()
    try:
        acks = [gateway.publish(f"lamppost/{GATEWAY}/up", bytes([n]) * 30_000) for n in range(40)]
        assert set(await asyncio.gather(*acks)) == {Ack.TAKEN}
        assert [(await hub.next())[0] for _ in range(40)] == list(range(40))
        await hub.answer(b"receipt")
        async for message in gateway.messages():
            assert (message.topic, message.payload) == (f"lamppost/{GATEWAY}/down", b"receipt")
            break
    finally:
        await gateway.close()
        await hub.close()


async def test_a_descriptor_that_the_loop_has_given_up_is_a_lost_connection(
    material: Material, broker: Broker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """uvloop does that after an error on it; the next publish must not end the daemon."""

    def given_up(*_: object) -> None:
        raise RuntimeError("unable to perform operation; the handler is closed")

    gateway = MqttTransport(address(material, broker))
    await gateway.connect()
    with monkeypatch.context() as patch:
        patch.setattr(asyncio.get_running_loop(), "add_writer", given_up)
        with pytest.raises(HubError) as lost:
            await gateway.publish(f"lamppost/{GATEWAY}/up", b"early")
        assert lost.value.code == "uplink.lost"
    await gateway.close()
    await gateway.connect()
    assert await gateway.publish(f"lamppost/{GATEWAY}/up", b"again") is Ack.NOBODY
    await gateway.close()


async def test_what_is_urgent_passes_what_still_waits(material: Material, broker: Broker) -> None:
    gateway, hub = MqttTransport(address(material, broker)), Receiver(material, broker)
    await gateway.connect()
    await hub.connect("lamppost/+/alert")
    try:
        acks = [gateway.publish(f"lamppost/{GATEWAY}/up", bytes([n]) * 30_000) for n in range(90)]
        acks += [
            gateway.publish(f"lamppost/{GATEWAY}/alert", bytes([200 + n]), urgent=True)
            for n in range(3)
        ]
        assert set(await asyncio.gather(*acks)) == {Ack.TAKEN}
        order = [(await hub.next())[0] for _ in range(93)]
        places = [order.index(200 + n) for n in range(3)]
        assert places == sorted(places)
        assert places[0] == RECEIVE_MAXIMUM - 1  # one place is kept for it
        assert places[2] < 2 * RECEIVE_MAXIMUM + 3
        assert [n for n in order if n < 200] == list(range(90))
    finally:
        await gateway.close()
        await hub.close()


async def test_sockets_are_quick_and_watched(material: Material, broker: Broker) -> None:
    gateway = MqttTransport(address(material, broker, user_timeout=7.0))
    await gateway.connect()
    connection = gateway._connection
    assert connection is not None
    sock = connection._sock
    assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
    assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT) == 7000
    assert sock.version() == "TLSv1.3"
    await gateway.close()
    assert sock.fileno() == -1


async def test_foreign_topic_is_an_error(material: Material, broker: Broker) -> None:
    gateway = MqttTransport(address(material, broker))
    await gateway.connect()
    with pytest.raises(HubError) as caught:
        await gateway.publish("lamppost/gw-0002/up", b"forged")
    assert caught.value.code == "uplink.not-authorised"
    assert await gateway.publish(f"lamppost/{GATEWAY}/up", b"own") is Ack.NOBODY
    await gateway.close()


async def test_broker_killed_in_the_middle_of_a_publish(material: Material, broker: Broker) -> None:
    gateway = MqttTransport(address(material, broker))
    await gateway.connect()
    listening = asyncio.ensure_future(anext(aiter(gateway.messages())))
    broker.freeze()
    ack = gateway.publish(f"lamppost/{GATEWAY}/up", b"x" * 100_000)
    await asyncio.sleep(0.1)
    assert not ack.done()
    broker.kill()
    async with asyncio.timeout(2):
        with pytest.raises(HubError) as caught:
            await ack
        with pytest.raises(HubError) as heard:
            await listening
    assert caught.value.code == heard.value.code == "uplink.lost"
    with pytest.raises(HubError):
        await gateway.publish(f"lamppost/{GATEWAY}/up", b"later")
    await gateway.close()


async def test_reconnects_after_a_restart(material: Material, broker: Broker) -> None:
    gateway = MqttTransport(address(material, broker))
    await gateway.connect()
    broker.kill()
    with pytest.raises(HubError):
        await anext(aiter(gateway.messages()))
    assert (await refused(address(material, broker))).code == "uplink.unreachable"
    broker.start()
    await gateway.connect()
    assert await gateway.publish(f"lamppost/{GATEWAY}/up", b"again") is Ack.NOBODY
    await gateway.close()


async def test_silent_broker_is_found_by_the_ping(material: Material, broker: Broker) -> None:
    """Half open: the far end is there for the kernel and answers nothing."""
    gateway = MqttTransport(address(material, broker, keepalive=1))
    await gateway.connect()
    broker.freeze()
    async with asyncio.timeout(10):
        with pytest.raises(HubError) as caught:
            await anext(aiter(gateway.messages()))
    assert caught.value.code == "uplink.lost"
    assert "Keep alive timeout" in str(caught.value)
    broker.thaw()
    await gateway.close()


async def test_broker_that_never_answers(material: Material) -> None:
    """TLS comes up, CONNECT gets no answer."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*material.server)

    async def mute(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    server = await asyncio.start_server(mute, "127.0.0.1", 0, ssl=context)
    port = server.sockets[0].getsockname()[1]
    at = BrokerAddress("localhost", port, GATEWAY, material.gateway, timeout=0.5)
    error = await refused(at)
    assert error.code == "uplink.unreachable"
    assert "no answer to CONNECT" in str(error)
    server.close()
    await server.wait_closed()


@pytest.mark.parametrize(
    ("first_day", "last_day", "alert"),
    [(-10, -1, "certificate expired"), (1, 10, "bad certificate")],
)
async def test_client_certificate_outside_its_dates(
    material: Material, broker: Broker, first_day: int, last_day: int, alert: str
) -> None:
    own = material.gateways.issue(GATEWAY, file="dated", first_day=first_day, last_day=last_day)
    error = await refused(address(material, broker, files=TlsFiles(*own, material.servers.pem)))
    assert isinstance(error, TrustError)
    assert error.code == "uplink.refused-certificate"
    assert alert in str(error)


async def test_client_certificate_of_a_foreign_authority(
    material: Material, broker: Broker
) -> None:
    rogue = Authority(material.folder, "rogue CA").issue(GATEWAY, file="rogue")
    error = await refused(address(material, broker, files=TlsFiles(*rogue, material.servers.pem)))
    assert error.code == "uplink.refused-certificate"
    assert "unknown ca" in str(error)


async def test_server_of_a_foreign_authority(material: Material, broker: Broker) -> None:
    other = Authority(material.folder, "other server CA")
    files = replace(material.gateway, server_ca=other.pem)
    error = await refused(address(material, broker, files=files))
    assert isinstance(error, TrustError)
    assert error.code == "uplink.wrong-server"
    assert "commonName=server CA" in str(error)


async def test_server_with_another_name(material: Material) -> None:
    certificate = material.servers.issue("elsewhere", server=True, names=("broker.example",))
    broker = Broker(material.folder, material.gateways.pem, *certificate)
    broker.start()
    try:
        error = await refused(address(material, broker))
    finally:
        broker.kill()
    assert error.code == "uplink.wrong-server"
    assert "localhost" in str(error)


async def test_expired_server_points_at_the_clock(material: Material) -> None:
    certificate = material.servers.issue("late", server=True, first_day=-9, last_day=-1)
    broker = Broker(material.folder, material.gateways.pem, *certificate)
    broker.start()
    try:
        error = await refused(address(material, broker))
    finally:
        broker.kill()
    assert error.code == "uplink.clock"


async def test_tls_1_2_is_refused(material: Material) -> None:
    """Mosquitto's `tls_version` is a minimum, so the old server is one of Python's."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    context.load_cert_chain(*material.server)
    with socket.create_server(("127.0.0.1", 0)) as server:
        answering = asyncio.create_task(asyncio.to_thread(shake_hands_once, server, context))
        at = BrokerAddress("localhost", server.getsockname()[1], GATEWAY, material.gateway)
        error = await refused(at)
        await answering
    assert error.code == "uplink.tls-version"


def shake_hands_once(server: socket.socket, context: ssl.SSLContext) -> None:
    """Blocking, because asyncio's own server drops the connection before its alert is sent."""
    accepted, _ = server.accept()
    with accepted, pytest.raises(ssl.SSLError):
        context.wrap_socket(accepted, server_side=True)


async def test_not_a_tls_port(material: Material) -> None:
    async def web(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        writer.close()

    server = await asyncio.start_server(web, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    error = await refused(BrokerAddress("localhost", port, GATEWAY, material.gateway))
    assert error.code == "uplink.unreachable"
    server.close()
    await server.wait_closed()


async def test_missing_and_foreign_key_files(material: Material, broker: Broker) -> None:
    gone = replace(material.gateway, key=material.folder / "gone.key")
    error = await refused(address(material, broker, files=gone))
    assert error.code == "uplink.certificate-files"
    assert "gone.key" in str(error)
    foreign = replace(material.gateway, key=material.hub.key)
    assert (
        await refused(address(material, broker, files=foreign))
    ).code == "uplink.certificate-files"


async def test_a_renewed_certificate_is_used_from_the_next_connection(
    material: Material, broker: Broker
) -> None:
    old = material.gateways.issue(GATEWAY, file="renewed", first_day=-10, last_day=-1)
    transport = MqttTransport(address(material, broker, files=TlsFiles(*old, material.servers.pem)))
    with pytest.raises(TrustError):
        await transport.connect()
    material.gateways.issue(GATEWAY, file="renewed")
    await transport.connect()
    await transport.close()


async def test_last_will_only_when_it_was_not_closed(material: Material, broker: Broker) -> None:
    hub = Receiver(material, broker, topic="state")
    await hub.connect()
    polite, rude = (
        MqttTransport(address(material, broker)),
        MqttTransport(address(material, broker)),
    )
    await polite.connect()
    await polite.close()
    await rude.connect()
    assert rude._connection is not None
    rude._connection.drop()
    async with asyncio.timeout(5):
        assert await hub.next() == b"disconnected"
    assert hub.waiting == 0
    await rude.close()
    await hub.close()


async def test_second_client_with_the_same_certificate(material: Material, broker: Broker) -> None:
    first, clone = (
        MqttTransport(address(material, broker)),
        MqttTransport(address(material, broker)),
    )
    await first.connect()
    await clone.connect()
    with pytest.raises(LamppostError) as caught:
        await anext(aiter(first.messages()))
    if caught.value.code != "uplink.taken-over":  # Mosquitto 2.0 hangs up without the reason code
        assert caught.value.code == "uplink.lost"
        assert "cloned card" in str(caught.value)
    await first.close()
    await clone.close()


async def test_all_batches_settle_once_while_the_broker_dies_again_and_again(
    material: Material, broker: Broker
) -> None:
    hub = Hub(signer(material.folder, "hub-key"))
    ring = Ring(proved=lambda seq: seq in hub.receipted)
    ring.hold(300)
    identity = Identity(
        GATEWAY,
        {hub.key.kid: hub.key.public},
        material.gateway.certificate,
        material.gateway.key,
        material.gateway.server_ca,
    )
    site = Settings("localhost", broker.port, receipt_timeout=2.0)
    uplink = Uplink(site, identity, ring, SystemClock(), chance=random.Random(3))
    clock = SystemClock()
    tasks = [
        asyncio.create_task(uplink.run()),
        asyncio.create_task(answer_all(material, broker, hub)),
    ]
    try:
        for part in (60, 120, 180):
            async with asyncio.timeout(30):
                while len(ring.settled) < part:
                    await asyncio.sleep(0.002)
            broker.kill()
            broker.start()
        assert await uplink.drained(clock.monotonic() + 60)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    assert ring.settled == list(range(300))
    assert hub.stored == [f"batch {n}".encode() for n in range(300)]
    assert uplink.status().connections == 4


async def answer_all(material: Material, broker: Broker, hub: Hub) -> None:
    """The hub's receiver; it comes back after the broker does."""
    while True:
        receiver = Receiver(material, broker)
        try:
            await receiver.connect()
            while True:
                for answer in hub.receive(await receiver.next()):
                    await receiver.answer(answer)
        except aiomqtt.MqttError:
            await receiver.close()
            await asyncio.sleep(0.05)


class Receiver:
    """The hub's side of the broker, by the library that the gateway does not use."""

    def __init__(self, material: Material, broker: Broker, topic: str = "up") -> None:
        context = ssl.create_default_context(cafile=material.servers.pem)
        context.load_cert_chain(material.hub.certificate, material.hub.key)
        self._client = aiomqtt.Client(
            "localhost",
            broker.port,
            tls_context=context,
            protocol=aiomqtt.ProtocolVersion.V5,
            timeout=2,
        )
        self._topic = topic

    async def connect(self, *more: str) -> None:
        await self._client.__aenter__()
        for topic in (f"lamppost/+/{self._topic}", *more):
            await self._client.subscribe(topic, qos=1)

    async def next(self) -> bytes:
        payload = (await anext(aiter(self._client.messages))).payload
        assert isinstance(payload, bytes)
        return payload

    @property
    def waiting(self) -> int:
        return len(self._client.messages)

    async def answer(self, payload: bytes) -> None:
        await self._client.publish(f"lamppost/{GATEWAY}/down", payload, qos=1)

    async def close(self) -> None:
        lost = self._client._disconnected
        if lost.done():
            lost.exception()  # seen: aiomqtt leaves it to the garbage collector to complain
        await self._client.__aexit__(None, None, None)
