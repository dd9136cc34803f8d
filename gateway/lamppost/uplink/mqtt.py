"""MQTT 5 over TLS 1.3: the one importer of the MQTT client.

We drive paho's client ourselves instead of through aiomqtt, which hides what matters here: the reason code of a
PUBACK (a forbidden topic looks like success), the TLS alert behind a refused certificate (it looks like a time-out),
and the moment a broker dies in the middle of a publish (it waits its whole time-out).
Each connection gets a new client and a clean session: what is in flight is the sender's knowledge, not the broker's.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import math
import ssl
import struct
from collections import deque
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion
from paho.mqtt.exception import MQTTException
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode
from paho.mqtt.subscribeoptions import SubscribeOptions

from lamppost.errors import LamppostError
from lamppost.uplink.faults import fault
from lamppost.uplink.tls import RevealingSocket, TlsFiles, dial, explain
from lamppost.uplink.transport import Ack, Incoming

log = logging.getLogger(__name__)

MAX_WAITING = (
    512  # messages from the broker not yet looked at; more are dropped, receipts can be had again
)
RECEIVE_MAXIMUM = 20  # publishes without a PUBACK at a time; the broker may ask for fewer
DOWN_PACKET = 64 * 1024  # bytes; asked of the broker with CONNECT, enforced by `tls.MAX_INCOMING`

# MQTT 5 reason codes
_NO_MATCHING_SUBSCRIBERS = 0x10
_UNSPECIFIED = 0x80
_BAD_CLIENT_ID = 0x85
_BAD_USER = 0x86
_NOT_AUTHORISED = 0x87
_TAKEN_OVER = 0x8E
_TOO_LARGE = 0x95
_NONSENSE = (MQTTException, struct.error, LookupError, TypeError, ValueError)
_FORBIDDEN = frozenset({_BAD_CLIENT_ID, _BAD_USER, _NOT_AUTHORISED})


_HUNG_UP = (
    "hung up without a word: a restart, or a second client with this identity (a cloned card)"
)


@dataclass(frozen=True, slots=True)
class BrokerAddress:
    """Where the broker is and how patient to be; times in seconds.

    A half-open connection is found after `user_timeout` while something is being sent, and after
    `keepalive + user_timeout` on an idle line.
    """

    host: str
    port: int
    gateway: str
    files: TlsFiles
    timeout: float = 10.0
    keepalive: int = 15
    user_timeout: float = 10.0
    message_expiry: float | None = None


class MqttTransport:
    """`transport.Transport` over a real broker."""

    def __init__(self, address: BrokerAddress) -> None:
        self._address = address
        self._connection: _Connection | None = None

    async def connect(self) -> None:
        """Dial, CONNECT, SUBSCRIBE; the certificate files are read anew each time."""
        await self.close()
        at = self._address
        sock = await _dialled(at)
        connection = _Connection(sock, at)
        try:
            async with asyncio.timeout(at.timeout):
                await connection.open()
        except TimeoutError:
            connection.drop()
            text = (
                f"{at.host} port {at.port}: TLS is up, but no answer to CONNECT in {at.timeout:g} s"
            )
            raise fault("uplink.unreachable", text) from None
        except BaseException:
            connection.drop()
            raise
        self._connection = connection

    def publish(self, topic: str, payload: bytes, *, urgent: bool = False) -> asyncio.Future[Ack]:
        """QoS 1; the future ends with the PUBACK."""
        if self._connection is None:
            raise fault("uplink.lost", "not connected")
        return self._connection.publish(topic, payload, urgent=urgent)

    async def messages(self) -> AsyncIterator[Incoming]:
        """What arrives on the down topic."""
        connection = self._connection
        if connection is None:
            raise fault("uplink.lost", "not connected")
        while True:
            yield await connection.next_message()

    async def close(self) -> None:
        """DISCONNECT, so that the broker keeps the last will to itself, and close the socket."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.say_goodbye()
            connection.drop()


class _Client(paho.Client):
    """paho's client over a socket that is already connected and encrypted."""

    def __init__(self, sock: ssl.SSLSocket, identifier: str) -> None:
        super().__init__(
            CallbackAPIVersion.VERSION2,
            client_id=identifier,
            protocol=paho.MQTTv5,
            reconnect_on_failure=False,
        )
        self._dialled = sock

    def _create_socket(self) -> Any:
        return self._dialled


class _Connection:
    """One client on one socket, on the running event loop, from CONNECT to its loss."""

    def __init__(self, sock: ssl.SSLSocket, address: BrokerAddress) -> None:
        self._sock = sock
        self._address = address
        self._loop = asyncio.get_running_loop()
        self._opened: asyncio.Future[None] = self._loop.create_future()
        self._subscribed: asyncio.Future[None] = self._loop.create_future()
        self._lost: LamppostError | None = None
        self._queue: deque[tuple[str, bytes, asyncio.Future[Ack]]] = deque()
        self._urgent: deque[tuple[str, bytes, asyncio.Future[Ack]]] = deque()
        self._pending: dict[int, asyncio.Future[Ack]] = {}
        self._unanswered_limit = RECEIVE_MAXIMUM
        self._waiting: list[Incoming] = []
        self._news = asyncio.Event()
        self._misc: asyncio.Task[None] | None = None
        self._descriptor = sock.fileno()
        self._client = _Client(sock, address.gateway)
        self._hook()

    def _hook(self) -> None:
        client = self._client
        client.on_connect = self._on_connect
        client.on_subscribe = self._on_subscribe
        client.on_publish = self._on_publish
        client.on_message = self._on_message
        client.on_disconnect = self._on_disconnect
        client.on_socket_open = self._on_socket_open
        client.on_socket_close = self._on_socket_close
        client.on_socket_register_write = self._on_want_write
        client.on_socket_unregister_write = self._on_written
        client.will_set(f"lamppost/{self._address.gateway}/state", b"disconnected", qos=1)

    async def open(self) -> None:
        """CONNECT with a clean session, then subscribe to the down topic; raises what went wrong."""
        at = self._address
        wishes = _properties(PacketTypes.CONNECT)
        wishes.MaximumPacketSize = DOWN_PACKET
        self._client.connect(at.host, at.port, at.keepalive, clean_start=True, properties=wishes)
        self._misc = self._loop.create_task(self._keep_alive())
        await self._or_lost(self._opened)
        self._client.subscribe(f"lamppost/{at.gateway}/down", options=SubscribeOptions(qos=1))
        await self._or_lost(self._subscribed)

    async def _or_lost(self, done: asyncio.Future[None]) -> None:
        while not done.done() and self._lost is None:
            self._news.clear()
            await self._news.wait()
        if self._lost is not None:
            raise self._lost
        done.result()

    async def _keep_alive(self) -> None:
        while self._client.loop_misc() == paho.MQTT_ERR_SUCCESS:  # noqa: ASYNC110
            await asyncio.sleep(1)

    def publish(self, topic: str, payload: bytes, *, urgent: bool) -> asyncio.Future[Ack]:
        """See `transport.Transport.publish`."""
        done: asyncio.Future[Ack] = self._loop.create_future()
        if self._lost is not None:
            done.set_exception(self._lost)
            return done
        (self._urgent if urgent else self._queue).append((topic, payload, done))
        self._feed()
        return done

    def _feed(self) -> None:
        """Hand on what MQTT's flow control (MQTT 5, 4.9) allows now; one place is kept for what is urgent."""
        while self._urgent and len(self._pending) < self._unanswered_limit:
            self._hand_over(*self._urgent.popleft())
        while self._queue and len(self._pending) < max(1, self._unanswered_limit - 1):
            self._hand_over(*self._queue.popleft())

    def _hand_over(self, topic: str, payload: bytes, done: asyncio.Future[Ack]) -> None:
        extras = _properties(PacketTypes.PUBLISH)
        if self._address.message_expiry is not None:
            extras.MessageExpiryInterval = math.ceil(self._address.message_expiry)
        sent = self._client.publish(topic, payload, qos=1, properties=extras)
        self._pending[sent.mid] = done
        if sent.rc != paho.MQTT_ERR_SUCCESS:
            self._fail(fault("uplink.lost", paho.error_string(sent.rc)))
        elif self._lost is not None:
            self._fail(self._lost)

    async def next_message(self) -> Incoming:
        """The oldest unread message; what arrived before a loss is still handed out."""
        while not self._waiting:
            if self._lost is not None:
                raise self._lost
            self._news.clear()
            await self._news.wait()
        return self._waiting.pop(0)

    def say_goodbye(self) -> None:
        """Send DISCONNECT if the connection still stands; waits for nothing."""
        if self._lost is None:
            self._client.disconnect()
            with contextlib.suppress(OSError):
                self._client.loop_write()

    def drop(self) -> None:
        """Forget the socket and fail whatever waits; safe to call twice."""
        self._unwatch()
        if self._misc is not None:
            self._misc.cancel()
        self._sock.close()
        self._fail(fault("uplink.lost", "closed by this gateway"))

    # --- what paho calls; all on the event loop ---

    def _on_socket_open(self, _client: paho.Client, _user: Any, _sock: Any) -> None:
        self._loop.add_reader(self._descriptor, self._readable)

    def _on_socket_close(self, _client: paho.Client, _user: Any, _sock: Any) -> None:
        self._unwatch()

    def _on_want_write(self, _client: paho.Client, _user: Any, _sock: Any) -> None:
        try:
            self._loop.add_writer(self._descriptor, self._writable)
        except RuntimeError as error:  # uvloop has given the descriptor up, after an error on it
            self._fail(fault("uplink.lost", str(error)))

    def _on_written(self, _client: paho.Client, _user: Any, _sock: Any) -> None:
        self._loop.remove_writer(self._descriptor)

    def _unwatch(self) -> None:
        if self._sock.fileno() == self._descriptor:  # never another socket that got the same number
            self._loop.remove_reader(self._descriptor)
            self._loop.remove_writer(self._descriptor)

    def _readable(self) -> None:
        """Read until TLS holds nothing back: decrypted bytes do not make the descriptor readable again."""
        try:
            while self._client.loop_read() == paho.MQTT_ERR_SUCCESS:
                if self._sock.fileno() < 0 or not self._sock.pending():
                    break
        except _NONSENSE as error:  # paho parses without much doubt: bytes can make it stumble
            log.warning("the broker sent what no MQTT client understands", exc_info=True)
            self._unwatch()
            self._fail(fault("uplink.lost", f"not understood from the broker: {error!r}"))

    def _writable(self) -> None:
        self._client.loop_write()

    def _on_connect(
        self,
        _client: paho.Client,
        _user: Any,
        _flags: Any,
        reason: ReasonCode,
        extras: Properties | None,
    ) -> None:
        if self._opened.done():
            return
        if reason.is_failure:
            self._fail(_refusal(reason, self._address))
            return
        self._unanswered_limit = min(RECEIVE_MAXIMUM, getattr(extras, "ReceiveMaximum", 65535))
        self._opened.set_result(None)
        self._news.set()

    def _on_subscribe(
        self, _client: paho.Client, _user: Any, _mid: int, reasons: list[ReasonCode], _extras: Any
    ) -> None:
        if self._subscribed.done():
            return
        if any(reason.is_failure for reason in reasons):
            text = f"subscribing to lamppost/{self._address.gateway}/down: {reasons[0]}"
            self._fail(fault("uplink.not-authorised", text))
            return
        self._subscribed.set_result(None)
        self._news.set()

    def _on_publish(
        self, _client: paho.Client, _user: Any, mid: int, reason: ReasonCode, _extras: Any
    ) -> None:
        done = self._pending.pop(mid, None)
        self._loop.call_soon(self._feed)  # not here: paho still holds its locks
        if done is None or done.done():
            return
        if not reason.is_failure:
            done.set_result(Ack.NOBODY if reason.value == _NO_MATCHING_SUBSCRIBERS else Ack.TAKEN)
        elif reason.value in _FORBIDDEN:
            done.set_exception(fault("uplink.not-authorised", f"publish refused: {reason}"))
        elif reason.value == _TOO_LARGE:
            done.set_exception(fault("uplink.too-big", f"publish refused: {reason}"))
        else:
            done.set_exception(fault("uplink.slow", f"publish refused: {reason}"))

    def _on_message(self, _client: paho.Client, _user: Any, message: paho.MQTTMessage) -> None:
        if len(self._waiting) < MAX_WAITING:
            self._waiting.append(Incoming(message.topic, bytes(message.payload)))
            self._news.set()

    def _on_disconnect(
        self,
        _client: paho.Client,
        _user: Any,
        flags: paho.DisconnectFlags,
        reason: ReasonCode,
        _extras: Any,
    ) -> None:
        at = self._address
        if flags.is_disconnect_packet_from_server:
            self._fail(_farewell(reason))
            return
        cause = self._sock.fault if isinstance(self._sock, RevealingSocket) else None
        if isinstance(cause, ssl.SSLError):
            explained = explain(cause, at.host, at.port)
            if explained.code != "uplink.unreachable":
                self._fail(explained)
                return
        if self._opened.done():
            text = cause or (_HUNG_UP if reason.value == _UNSPECIFIED else reason)
            self._fail(fault("uplink.lost", f"{at.host} port {at.port}: {text}"))
        else:
            text = f"{at.host} port {at.port} closed the connection before answering ({cause or reason})"
            self._fail(fault("uplink.unreachable", text))

    def _fail(self, why: LamppostError) -> None:
        if self._lost is None:
            self._lost = why
        late = [done for _, _, done in (*self._urgent, *self._queue)]
        for done in (*self._pending.values(), *late):
            if not done.done():
                done.set_exception(self._lost)
                done.exception()  # seen: the sender may have let go of it already
        self._pending.clear()
        self._queue.clear()
        self._urgent.clear()
        self._news.set()


def _properties(packet: int) -> Properties:
    return Properties(packet)  # type: ignore[no-untyped-call]


async def _dialled(at: BrokerAddress) -> ssl.SSLSocket:
    """`dial` in a thread; if the caller is cancelled meanwhile, the socket is closed when it comes."""
    thread = asyncio.get_running_loop().run_in_executor(
        None, dial, at.host, at.port, at.files, at.timeout, at.user_timeout
    )
    try:
        async with asyncio.timeout(3 * at.timeout):  # a dead resolver takes its time
            return await asyncio.shield(thread)
    except TimeoutError:
        thread.add_done_callback(_close_late)
        raise fault("uplink.unreachable", f"{at.host}: the name does not resolve in time") from None
    except asyncio.CancelledError:
        thread.add_done_callback(_close_late)
        raise


def _close_late(thread: asyncio.Future[ssl.SSLSocket]) -> None:
    if not thread.cancelled() and thread.exception() is None:
        thread.result().close()


def _refusal(reason: ReasonCode, at: BrokerAddress) -> LamppostError:
    code = "uplink.not-authorised" if reason.value in _FORBIDDEN else "uplink.unreachable"
    return fault(code, f"{at.host} port {at.port} refused the connection: {reason}")


def _farewell(reason: ReasonCode) -> LamppostError:
    code = {
        _TAKEN_OVER: "uplink.taken-over",
        _NOT_AUTHORISED: "uplink.not-authorised",
        _TOO_LARGE: "uplink.too-big",
    }.get(reason.value, "uplink.lost")
    return fault(code, f"the broker ended the connection: {reason}")
