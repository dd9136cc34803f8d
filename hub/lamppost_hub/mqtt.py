"""MQTT 5 over TLS 1.3 for the receiver: the hub's one importer of the MQTT client.

aiomqtt is kept, with its gaps closed here by overriding its callbacks (pinned below version 3): it drops the reason
code of a PUBACK, acknowledges messages on arrival, waits out its time-out where the broker is gone already or hangs
up on our certificate, and would load certificates in the event loop.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
import ssl
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiomqtt
import paho.mqtt.client as paho
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode

from lamppost.errors import HubError, LamppostError, TrustError
from lamppost_hub.transport import Incoming, Session

log = logging.getLogger("lamppost_hub.mqtt")
_quiet = logging.getLogger("lamppost_hub.mqtt.client")
_quiet.setLevel(logging.CRITICAL)  # whatever it says leaves here as a HubError

READINGS, ALERTS, STATES = "lamppost/+/up", "lamppost/+/alert", "lamppost/+/state"
IN_HAND = 128  # messages that the broker may hand out before the first is acknowledged: the receiver's memory
UNACKNOWLEDGED = 20  # of ours; less where the broker says so
SESSION_SECONDS = 3600  # how long the broker keeps what arrives while no receiver runs
ANSWER_SECONDS = 600  # an answer that nobody fetched; the gateway asks again by sending again

_HINTS = {
    "hub.broker-unreachable": "check that the broker runs at the host and port of hub.toml; the receiver keeps trying",
    "hub.broker-tls": "the broker's certificate is not the hub's own: compare tls/server.pem with its configuration",
    "hub.broker-refused": "compare the broker's cafile with ca/device-root.pem and look into its log",
    "hub.broker-acl": "write the broker's files again (lamppost-hub broker-config) and restart the broker",
    "hub.broker-lost": "nothing to do: the receiver connects again by itself",
    "hub.certificate-files": "restore the files below tls/ and ca/, or make the receiver's certificate again",
}


@dataclass(frozen=True, slots=True)
class BrokerAddress:
    """Where the broker is, who we are there, and how patient to be (seconds).

    `name` is the common name of the certificate, which the broker makes the user name and client id. With `group`
    several receivers share the messages (MQTT 5 shared subscription). A silent broker is noticed after `keepalive`
    twice, a dead connection at once.
    """

    host: str
    port: int
    name: str
    certificate: Path
    key: Path
    server_ca: Path
    group: str | None = None
    topics: tuple[str, ...] = (READINGS, ALERTS, STATES)
    timeout: float = 5.0
    keepalive: int = 4


class MqttBroker:
    """`transport.Broker` over a real one."""

    def __init__(self, address: BrokerAddress) -> None:
        self._address = address

    async def connect(self) -> Session:
        """Dial, CONNECT, SUBSCRIBE. The certificate files are read anew each time, off the event loop."""
        try:
            context = await asyncio.to_thread(_tls_context, self._address)
        except OSError as error:
            raise _fault("hub.certificate-files", str(error)) from error
        session = _Session(self._address, context)
        await session.open()
        return session


class _Client(aiomqtt.Client):
    """aiomqtt's connection handling with our own message queue, acknowledgements and publish window."""

    def __init__(self, address: BrokerAddress, context: ssl.SSLContext) -> None:
        connect = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call]
        connect.SessionExpiryInterval = SESSION_SECONDS
        connect.ReceiveMaximum = IN_HAND
        super().__init__(
            address.host,
            address.port,
            protocol=aiomqtt.ProtocolVersion.V5,
            identifier=address.name,
            tls_context=context,
            clean_start=False,
            properties=connect,
            keepalive=address.keepalive,
            timeout=address.timeout,
            logger=_quiet,
            socket_options=[
                (socket.IPPROTO_TCP, socket.TCP_NODELAY, 1),
                (socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, int(2000 * address.keepalive)),
            ],
        )
        self._client.manual_ack_set(True)
        self._client._ssl_wrap_socket = self._shake_hands  # type: ignore[method-assign]
        self._address = address
        self._context = context
        self._client.connect_timeout = address.timeout
        self.arrived: deque[Incoming] = deque()
        self.unacknowledged: set[int] = set()
        self.window = UNACKNOWLEDGED
        self.changed = asyncio.Event()

    def _shake_hands(self, tcp_sock: socket.socket) -> ssl.SSLSocket:
        # Runs in aiomqtt's connecting thread. Unlike paho's own, it closes the socket when the handshake fails.
        tcp_sock.settimeout(self._address.timeout)
        return self._context.wrap_socket(tcp_sock, server_hostname=self._address.host)

    def _on_connect(
        self,
        client: paho.Client,
        userdata: Any,
        flags: paho.ConnectFlags,
        reason_code: ReasonCode,
        properties: Properties | None = None,
    ) -> None:
        self.window = min(UNACKNOWLEDGED, getattr(properties, "ReceiveMaximum", UNACKNOWLEDGED))
        super()._on_connect(client, userdata, flags, reason_code, properties)

    def _on_disconnect(
        self,
        client: paho.Client,
        userdata: Any,
        flags: paho.DisconnectFlags,
        reason_code: ReasonCode,
        properties: Properties | None = None,
    ) -> None:
        if not self._connected.done():  # aiomqtt would wait for a CONNACK that cannot come any more
            self._connected.set_exception(aiomqtt.MqttCodeError(reason_code, "hung up on CONNECT"))
        super()._on_disconnect(client, userdata, flags, reason_code, properties)
        self.changed.set()

    def _on_message(self, client: paho.Client, userdata: Any, message: paho.MQTTMessage) -> None:
        try:
            topic = message.topic
        except UnicodeDecodeError:
            topic = ""
        self.arrived.append(
            Incoming(topic, bytes(message.payload), message.mid if message.qos else 0)
        )
        self.changed.set()

    def _on_publish(
        self,
        client: paho.Client,
        userdata: Any,
        mid: int,
        reason_code: ReasonCode,
        properties: Properties,
    ) -> None:
        self.unacknowledged.discard(mid)
        if reason_code.is_failure:
            log.error(
                "the broker refuses an answer: %s (%s)", reason_code, _HINTS["hub.broker-acl"]
            )
        self.changed.set()

    def gone(self) -> bool:
        """Whether the connection has ended, for whatever reason."""
        return self._disconnected.done()

    def drop(self) -> None:
        """Close the socket if it is still open, and look at why the connection ended: somebody has to."""
        self._client._sock_close()
        for future in (self._connected, self._disconnected):
            if future.done() and not future.cancelled():
                future.exception()

    def put(self, topic: str, payload: bytes) -> None:
        """PUBLISH with QoS 1, without waiting."""
        expiry = Properties(PacketTypes.PUBLISH)  # type: ignore[no-untyped-call]
        expiry.MessageExpiryInterval = ANSWER_SECONDS
        self.unacknowledged.add(self._client.publish(topic, payload, qos=1, properties=expiry).mid)

    def acknowledge(self, mid: int) -> None:
        """PUBACK."""
        self._client.ack(mid, 1)


class _Session:
    """`transport.Session` over one connection."""

    def __init__(self, address: BrokerAddress, context: ssl.SSLContext) -> None:
        self._address = address
        self._client = _Client(address, context)

    async def open(self) -> None:
        """Connect and subscribe."""
        try:
            await self._client.__aenter__()
        except aiomqtt.MqttError as error:
            self._client.drop()
            raise self._explained(error) from error
        try:
            await self._subscribe()
        except BaseException:
            await self.close()
            raise

    async def _subscribe(self) -> None:
        group = f"$share/{self._address.group}/" if self._address.group else ""
        try:
            async with asyncio.timeout(self._address.timeout):
                for topic in self._address.topics:
                    reasons = await self._client.subscribe(group + topic, qos=1)
                    if any(getattr(reason, "is_failure", False) for reason in reasons):
                        raise _fault(
                            "hub.broker-acl", f"subscribing to {group}{topic}: {reasons[0]}"
                        )
        except (aiomqtt.MqttError, TimeoutError) as error:
            raise _fault("hub.broker-lost", f"while subscribing: {error}") from error

    async def receive(self, limit: int) -> list[Incoming]:
        """Wait for messages; what has arrived before the connection broke is still given out."""
        arrived = self._client.arrived
        while not arrived:
            await self._change()
        return [arrived.popleft() for _ in range(min(limit, len(arrived)))]

    async def send(self, topic: str, payload: bytes) -> None:
        """Publish; waits while the window of unacknowledged messages is full."""
        while len(self._client.unacknowledged) >= self._client.window:
            await self._change()
        self._check()
        self._client.put(topic, payload)

    def done(self, messages: Sequence[Incoming]) -> None:
        """PUBACK each."""
        self._check()
        for message in messages:
            if message.mark:
                self._client.acknowledge(message.mark)

    async def close(self) -> None:
        """DISCONNECT if there still is somebody, and give the socket back."""
        with contextlib.suppress(aiomqtt.MqttError, TimeoutError, OSError):
            async with asyncio.timeout(2.0):
                await self._client.__aexit__(None, None, None)
        self._client.drop()

    async def _change(self) -> None:
        self._check()
        self._client.changed.clear()
        await self._client.changed.wait()

    def _check(self) -> None:
        if self._client.gone():
            raise _fault(
                "hub.broker-lost", f"{self._address.host} port {self._address.port} hung up"
            )

    def _explained(self, error: aiomqtt.MqttError) -> LamppostError:
        at = f"{self._address.host} port {self._address.port}"
        cause = error.__context__  # aiomqtt keeps only the text
        if isinstance(cause, ssl.SSLCertVerificationError):
            return _fault("hub.broker-tls", f"{at}: {cause.verify_message}")
        if isinstance(cause, OSError):
            return _fault("hub.broker-unreachable", f"{at}: {error}")
        if "timed out" in str(error):
            return _fault("hub.broker-unreachable", f"{at}: no answer to CONNECT")
        return _fault("hub.broker-refused", f"{at}: {error}")


def _tls_context(address: BrokerAddress) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=str(address.server_ca))
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.load_cert_chain(address.certificate, address.key)
    return context


def _fault(code: str, message: str) -> LamppostError:
    trust = code in ("hub.broker-tls", "hub.certificate-files")
    return (TrustError if trust else HubError)(message, code=code, hint=_HINTS[code], retry=True)
