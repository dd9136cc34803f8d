"""Two streams on one connection: alerts pass readings, whatever the line, and neither stops the other. Virtual time."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path

import pytest

from fakes.uplink_world import GATEWAY, Identity, Settings, signer
from fakes.virtual_clock import VirtualClock, run
from lamppost.envelope.keys import FileSigner
from lamppost.envelope.merkle import MerkleLog, leaf_hash
from lamppost.envelope.receipt import issue_receipt, issue_statement
from lamppost.envelope.seal import ALERT
from lamppost.model import Batch, Span
from lamppost.uplink import Thrift, Uplink
from lamppost.uplink.transport import Ack, Incoming

READINGS, ALERTS = "0" * 32, ALERT + "a" * 32
KB = 1000


def batch(epoch: str, seq: int, size: int) -> Batch:
    message = f"{epoch} {seq} ".encode().ljust(size, b".")
    return Batch(epoch, seq, Span(seq, seq), sha256(message).digest(), leaf_hash(message), message)


@dataclass
class Box:
    """`lanes.Outbox` over a list."""

    epoch: str
    batches: list[Batch] = field(default_factory=list)
    settled: list[int] = field(default_factory=list)

    def hold(self, count: int, size: int) -> None:
        first = len(self.settled) + len(self.batches)
        self.batches += [batch(self.epoch, first + n, size) for n in range(count)]

    def held(self) -> list[Batch]:
        return list(self.batches)

    def settle(self, epoch: str, seq: int) -> bool:
        assert (epoch, seq) == (self.epoch, self.batches[0].seq)
        self.settled.append(self.batches.pop(0).seq)
        return True


class SlowLine:
    """A `Transport` of so many bytes a second to a hub that answers at once; `refuse` is said to readings."""

    def __init__(self, key: FileSigner, rate: float) -> None:
        self.key, self.rate = key, rate
        self.logs = {READINGS: MerkleLog(), ALERTS: MerkleLog()}
        self.arrived: list[tuple[float, str, str, int]] = []
        self.free = 0.0
        self.nobody = False
        self.refuse = ""
        self.said: asyncio.Queue[bytes] = asyncio.Queue()

    async def connect(self) -> None:
        self.said = asyncio.Queue()

    def publish(self, topic: str, payload: bytes, *, urgent: bool = False) -> asyncio.Future[Ack]:
        loop = asyncio.get_running_loop()
        done: asyncio.Future[Ack] = loop.create_future()
        self.free = max(self.free, loop.time()) + len(payload) / self.rate
        loop.call_at(self.free + 0.02, self._arrive, topic, payload, done)
        return done

    def _arrive(self, topic: str, payload: bytes, done: asyncio.Future[Ack]) -> None:
        if done.done():
            return
        done.set_result(Ack.NOBODY if self.nobody else Ack.TAKEN)
        if self.nobody:
            return
        epoch, seq = payload.split()[0].decode(), int(payload.split()[1])
        self.arrived.append((asyncio.get_running_loop().time(), topic, epoch, seq))
        if self.refuse and epoch == READINGS:
            fields: dict[str, str | int] = {"kind": "refused", "code": self.refuse}
            self.said.put_nowait(issue_statement(self.key, GATEWAY, fields))
            return
        log = self.logs[epoch]
        if seq == log.size:
            log.append(leaf_hash(payload))
        if seq < log.size:
            self.said.put_nowait(
                issue_receipt(
                    self.key, gateway=GATEWAY, epoch=epoch, seq=seq, log_size=log.size,
                    root=log.root(), path=log.inclusion(seq),
                )
            )  # fmt: skip

    async def messages(self) -> AsyncIterator[Incoming]:
        while True:
            yield Incoming(f"lamppost/{GATEWAY}/down", await self.said.get())

    async def close(self) -> None:
        pass


class World:
    """An uplink with both boxes over a slow line."""

    def __init__(self, clock: VirtualClock, folder: Path, rate: float) -> None:
        key = signer(folder)
        self.clock = clock
        self.line = SlowLine(key, rate)
        self.readings, self.alerts = Box(READINGS), Box(ALERTS)
        identity = Identity(GATEWAY, {key.kid: key.public})
        self.uplink = Uplink(
            Settings(), identity, self.readings, clock, alerts=self.alerts, transport=self.line
        )

    async def __aenter__(self) -> World:
        self._running = asyncio.create_task(self.uplink.run())
        return self

    async def __aexit__(self, *_: object) -> None:
        self._running.cancel()
        await asyncio.gather(self._running, return_exceptions=True)

    async def alert(self) -> float:
        """Seconds until the hub has an alert, from the moment it was held."""
        self.alerts.hold(1, 1200)
        self.uplink.notify()
        begin, wanted = self.clock.monotonic(), len(self.alerts.settled) + len(self.alerts.batches)
        async with asyncio.timeout(600):
            while len(self.alerts.settled) < wanted:
                await asyncio.sleep(0.01)
        return max(at for at, _, epoch, _ in self.line.arrived if epoch == ALERTS) - begin


@pytest.mark.parametrize(
    ("rate", "size"), [(30 * KB, 10 * KB), (200 * KB, 80 * KB), (1000 * KB, 200 * KB)]
)
def test_an_alert_reaches_the_hub_within_two_seconds_of_a_busy_line(
    tmp_path: Path, rate: float, size: int
) -> None:
    async def main(clock: VirtualClock) -> tuple[list[float], int]:
        async with World(clock, tmp_path, rate) as w:
            w.readings.hold(round(90 * rate / size), size)  # a minute and a half of this line
            w.uplink.notify()
            await asyncio.sleep(20)
            took = []
            for _ in range(20):
                took.append(await w.alert())
                await asyncio.sleep(1.7)
            left = len(w.readings.batches)
            async with asyncio.timeout(600):
                assert await w.uplink.drained(clock.monotonic() + 500)
            assert w.readings.settled == list(range(len(w.readings.settled)))
            assert w.alerts.settled == list(range(20))
            return took, left

    took, left = run(main)
    assert left > 0, "the backlog was still draining"
    assert max(took) <= 2.0, took


def test_each_stream_goes_to_its_own_topic(tmp_path: Path) -> None:
    async def main(clock: VirtualClock) -> SlowLine:
        async with World(clock, tmp_path, 100 * KB) as w:
            w.readings.hold(3, KB)
            w.alerts.hold(2, KB)
            w.uplink.notify()
            assert await w.uplink.drained(clock.monotonic() + 60)
            status = w.uplink.status()
            assert (status.alerts_sent, status.alerts_held, status.batches_sent) == (2, 0, 5)
            return w.line

    line = run(main)
    assert {(epoch, topic) for _, topic, epoch, _ in line.arrived} == {
        (READINGS, f"lamppost/{GATEWAY}/up"),
        (ALERTS, f"lamppost/{GATEWAY}/alert"),
    }


def test_readings_that_are_refused_do_not_hold_up_alerts(tmp_path: Path) -> None:
    async def main(clock: VirtualClock) -> None:
        async with World(clock, tmp_path, 100 * KB) as w:
            w.line.refuse = "envelope.unknown-hub-key"
            w.readings.hold(5, KB)
            w.uplink.notify()
            await asyncio.sleep(5)
            assert w.uplink.status().code == "envelope.unknown-hub-key"
            assert await w.alert() < 1.0
            assert w.readings.settled == []

    run(main)


def test_an_alert_that_nobody_heard_is_sent_again_within_seconds(tmp_path: Path) -> None:
    async def main(clock: VirtualClock) -> float:
        async with World(clock, tmp_path, 100 * KB) as w:
            w.line.nobody = True
            w.alerts.hold(1, KB)
            w.readings.hold(1, KB)
            w.uplink.notify()
            await asyncio.sleep(1000)
            w.line.nobody = False
            begin = clock.monotonic()
            assert await w.uplink.drained(begin + 100)
            return clock.monotonic() - begin

    assert run(main) < 6.0


def test_when_the_month_is_spent_readings_wait_and_alerts_go(tmp_path: Path) -> None:
    class Spent:
        monthly: int | None = 1
        spent = 0
        at = Thrift.ALERTS_ONLY

        def message(self, size: int) -> None:
            self.spent += size

        def connected(self) -> None: ...

        def pings(self, count: float) -> None: ...

        def level(self) -> Thrift:
            return self.at

    async def main(clock: VirtualClock) -> None:
        key = signer(tmp_path)
        line, readings, alerts, meter = SlowLine(key, 100 * KB), Box(READINGS), Box(ALERTS), Spent()
        identity = Identity(GATEWAY, {key.kid: key.public})
        uplink = Uplink(
            Settings(), identity, readings, clock, alerts=alerts, meter=meter, transport=line
        )
        running = asyncio.create_task(uplink.run())
        readings.hold(3, KB)
        alerts.hold(1, KB)
        uplink.notify()
        await asyncio.sleep(300)
        assert (readings.settled, alerts.settled) == ([], [0])
        assert uplink.status().thrift == "alerts-only"
        meter.at = Thrift.FULL
        await asyncio.sleep(61)  # it looks once a minute
        assert readings.settled == [0, 1, 2]
        assert meter.spent > 4 * KB
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)

    run(main)
