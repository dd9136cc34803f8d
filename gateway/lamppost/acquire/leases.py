"""Lends a bus to a technician for a while: his requests run between those of the poller, which pauses meanwhile.

A lease ends when it is given back, when its time is up, and when nothing was heard of its holder for HEARTBEAT
seconds: whoever asks over a socket and dies holds up nobody. Readings missed meanwhile are marked `maintenance`.
"""

from __future__ import annotations

import asyncio
import contextlib
import secrets
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol, runtime_checkable

from lamppost.acquire.port import Opens, Port
from lamppost.clock import Clock
from lamppost.errors import LinkError
from lamppost.links import faults
from lamppost.links.bus import LONGEST_LEASE
from lamppost.links.modbus_link import Table

HEARTBEAT = 5.0
"""Seconds without a word of the holder after which a lease ends."""


@runtime_checkable
class Raw(Protocol):
    """A link that sends bytes as they are; what they mean differs, see `exchange` of each link."""

    async def exchange(self, request: bytes, seconds: float, count: int = 0) -> bytes:
        """Send; what came back, empty if nothing did in so many seconds. Raises LinkError."""
        ...


@runtime_checkable
class Registers(Protocol):
    """A link that reads Modbus registers."""

    async def read(
        self, unit: int, table: Table, address: int, count: int, *, timeout: float | None = None
    ) -> Sequence[int]:
        """See `modbus_link.ModbusLink`."""
        ...


@runtime_checkable
class Tunable(Protocol):
    """A serial link: its speed and the look of its characters can be changed."""

    def tune(self, line: Any) -> None:
        """Close it, and open it with other `serial.LineSettings` from now on; None: as the site says."""
        ...

    async def open(self) -> None:
        """Open it. Raises LinkError."""
        ...


@dataclass(frozen=True, slots=True)
class Lease:
    """What was lent. `id` is known to its holder only; `until` in monotonic seconds."""

    id: str
    link: str
    kind: str
    where: str
    who: str
    until: float


@dataclass(frozen=True, slots=True)
class _Job:
    work: Callable[[], Awaitable[Any]]
    done: asyncio.Future[Any]


class Leases:
    """The leases of all links of a site; one a link at a time."""

    def __init__(self, ports: Mapping[str, Port[Opens]], clock: Clock) -> None:
        self._ports = ports
        self._clock = clock
        self._held: dict[str, _Holder] = {}

    async def lend(
        self, link: str, seconds: float = LONGEST_LEASE, who: str = "a technician"
    ) -> Lease:
        """Lend a link, from the end of the present request on, for at most `seconds` and LONGEST_LEASE.

        Raises LinkError `link.unknown`, and `link.busy` while it is lent to another.
        """
        port = self._ports.get(link)
        if port is None:
            raise faults.unknown(link, self._ports)
        holder = _Holder(port, min(seconds, LONGEST_LEASE), who)
        await holder.begin()
        until = self._clock.monotonic() + holder.seconds
        lease = Lease(secrets.token_hex(8), link, port.kind, port.bus.link.where, who, until)
        self._held[lease.id] = holder
        return lease

    def beat(self, lease: str) -> None:
        """The holder is still there. Every other request says so too. Raises LinkError `link.lease-over`."""
        self._holder(lease).beat()

    async def exchange(self, lease: str, request: bytes, seconds: float, count: int = 0) -> bytes:
        """Send bytes and return what came back: until silence, or `count` bytes; empty where nothing came.

        On modbus-rtu, serial and mbus the bytes are as on the wire (no request: listen); on modbus-tcp unit id and
        PDU; on i2c the address, what is written to it, and then `count` bytes are read. Raises LinkError.
        """
        holder = self._holder(lease)
        link = holder.port.bus.link
        if not isinstance(link, Raw):
            raise faults.no_exchange(holder.port.name, holder.port.kind, "requests")
        found: bytes = await holder.run(lambda: link.exchange(request, seconds, count))
        return found

    async def read(
        self, lease: str, unit: int, table: Table, address: int, count: int, seconds: float
    ) -> Sequence[int]:
        """Registers of a Modbus unit as `modbus_link.ModbusLink.read` does. Raises LinkError."""
        holder = self._holder(lease)
        link = holder.port.bus.link
        if not holder.port.kind.startswith("modbus") or not isinstance(link, Registers):
            raise faults.no_exchange(holder.port.name, holder.port.kind, "Modbus registers")
        found: Sequence[int] = await holder.run(
            lambda: link.read(unit, table, address, count, timeout=seconds)
        )
        return found

    async def tune(
        self,
        lease: str,
        baud: int,
        parity: Literal["N", "E", "O"] = "N",
        stop_bits: Literal[1, 2] = 1,
        data_bits: Literal[7, 8] = 8,
    ) -> None:
        """Other line settings until the lease ends. Raises LinkError, `link.settings` among them."""
        holder = self._holder(lease)
        link = holder.port.bus.link
        if not isinstance(link, Tunable):
            raise faults.no_exchange(holder.port.name, holder.port.kind, "line settings")
        from lamppost.links.serial import LineSettings

        line = LineSettings(baud, parity, stop_bits, data_bits)
        await holder.run(lambda: holder.tune(link, line))

    async def give_back(self, lease: str) -> None:
        """The lease is not needed any more; harmless if it is over."""
        holder = self._held.pop(lease, None)
        if holder is not None:
            await holder.end()

    async def end(self) -> None:
        """End all leases: the gateway stops."""
        for lease in list(self._held):
            await self.give_back(lease)

    def _holder(self, lease: str) -> _Holder:
        self._held = {name: each for name, each in self._held.items() if not each.over}
        holder = self._held.get(lease)
        if holder is None:
            raise faults.lease_over()
        return holder


class _Holder:
    """The task that holds one bus and runs what its technician asks, one after another."""

    def __init__(self, port: Port[Opens], seconds: float, who: str) -> None:
        self.port = port
        self.seconds = seconds
        self._who = who
        self._jobs: asyncio.Queue[_Job | None] = asyncio.Queue()  # None: a sign of life
        self._tuned: Tunable | None = None
        self._line: Any = None  # the settings it is tuned to; None: those of the site
        self._granted: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._task: asyncio.Task[None] | None = None

    @property
    def over(self) -> bool:
        """Whether it has ended."""
        return self._task is None or self._task.done()

    async def begin(self) -> None:
        """Return once the bus is held. Raises LinkError `link.busy`."""
        self._task = asyncio.create_task(self._hold(), name=f"lease {self.port.name}")
        try:
            await self._granted
        except asyncio.CancelledError:
            await self.end()
            raise

    async def run(self, work: Callable[[], Awaitable[Any]]) -> Any:
        """Its result. Raises LinkError, `link.lease-over` if the lease ends first."""
        job = _Job(work, asyncio.get_running_loop().create_future())
        self._jobs.put_nowait(job)
        return await job.done

    def beat(self) -> None:
        """The holder is still there."""
        self._jobs.put_nowait(None)

    async def tune(self, link: Tunable, line: Any) -> None:
        """Other line settings while it is held; where it cannot have them, those of before. Raises LinkError."""
        self._tuned = link
        link.tune(line)
        try:
            await link.open()
        except LinkError:
            link.tune(self._line)
            raise
        self._line = line

    async def end(self) -> None:
        """Give the bus back now."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])

    async def _hold(self) -> None:
        try:
            async with self.port.bus.lease(self.seconds, self._who) as link:
                self._granted.set_result(None)
                try:
                    await self._serve(link)
                finally:
                    await self._untune()
        except LinkError as error:  # busy, or the time is up
            if not self._granted.done():
                self._granted.set_exception(error)
        finally:
            while not self._jobs.empty():
                job = self._jobs.get_nowait()
                if job is not None and not job.done.done():
                    job.done.set_exception(faults.lease_over())

    async def _serve(self, link: Opens) -> None:
        while True:
            try:
                async with asyncio.timeout(HEARTBEAT) as silence:
                    job = await self._jobs.get()
            except TimeoutError:
                if not silence.expired():
                    raise
                return
            if job is not None:
                await _do(job, link)

    async def _untune(self) -> None:
        if self._tuned is not None:
            self._tuned.tune(None)
            with contextlib.suppress(LinkError):
                await self._tuned.open()


async def _do(job: _Job, link: Opens) -> None:
    if job.done.done():
        return
    try:
        await link.open()
        result = await job.work()
    except LinkError as error:
        _tell(job, error)
    except asyncio.CancelledError:
        _tell(job, faults.lease_over())
        raise
    else:
        if not job.done.done():
            job.done.set_result(result)


def _tell(job: _Job, error: LinkError) -> None:
    if not job.done.done():
        job.done.set_exception(error)
