"""A bus lent over the socket: one connection is one lease, and hanging up gives it back.

    {"do": "lease", "link": "rs485-1", "seconds": 30, "who": "lamppost bus probe (process 812)"}
    {"do": "exchange", "send": "01040000000271cb", "wait": 0.3, "count": 0}     -> {"heard": "0104..."}
    {"do": "tune", "baud": 19200, "parity": "E", "stop_bits": 1, "data_bits": 8}
    {"do": "beat"}   {"do": "end"}

A Modbus unit and an M-Bus meter can only be read through it: a request that could change them is refused here, whatever
the client is.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

from lamppost.errors import LamppostError, LinkError
from lamppost.status.control import Conversation

LONGEST_WAIT = 30.0
_READS = (1, 2, 3, 4, 0x11, 0x2B)
"""Functions that only read: coils, inputs, registers, server id, device identification."""
_MBUS_SHORT = (0x40, 0x5A, 0x5B, 0x7A, 0x7B, 0x49)
_MBUS_SELECT = 0x52


class Lease(Protocol):
    """What was lent."""

    @property
    def id(self) -> str:
        """Known to its holder only."""
        ...

    @property
    def kind(self) -> str:
        """The kind of link."""
        ...

    @property
    def where(self) -> str:
        """The port or address."""
        ...


class Leases(Protocol):
    """`acquire.leases.Leases`, as far as it is needed here."""

    async def lend(self, link: str, seconds: float, who: str) -> Lease:
        """See there."""
        ...

    def beat(self, lease: str) -> None:
        """See there."""
        ...

    async def exchange(self, lease: str, request: bytes, seconds: float, count: int = 0) -> bytes:
        """See there."""
        ...

    async def tune(
        self, lease: str, baud: int, parity: Any, stop_bits: Any, data_bits: Any
    ) -> None:
        """See there."""
        ...

    async def give_back(self, lease: str) -> None:
        """See there."""
        ...


class Lending:
    """Talks with whoever borrows a bus."""

    def __init__(self, leases: Leases) -> None:
        self._leases = leases

    async def talk(self, request: Mapping[str, Any], line: Conversation) -> None:
        """One lease from its first line to its end."""
        try:
            link, who = str(request["link"]), str(request.get("who", "a technician"))[:80]
            lease = await self._leases.lend(link, float(request.get("seconds", 30.0)), who)
        except LamppostError as error:
            await line.say(_refusal(error))
            return
        except (KeyError, TypeError, ValueError):
            await line.say({"error": "control.unknown-request", "known": ["lease"]})
            return
        try:
            await line.say({"ok": True, "kind": lease.kind, "where": lease.where})
            while (wish := await line.hear()) is not None and wish.get("do") != "end":
                await line.say(await self._done(lease, wish))
        finally:
            await self._leases.give_back(lease.id)

    async def _done(self, lease: Lease, wish: Mapping[str, Any]) -> Mapping[str, Any]:
        try:
            match wish.get("do"):
                case "exchange":
                    data = bytes.fromhex(str(wish.get("send", "")))
                    if not only_reads(lease.kind, data):
                        return _refusal(would_write(lease.kind))
                    wait = min(LONGEST_WAIT, max(0.0, float(wish.get("wait", 0.3))))
                    count = max(0, int(wish.get("count", 0)))
                    heard = await self._leases.exchange(lease.id, data, wait, count)
                    return {"heard": heard.hex()}
                case "tune":
                    await self._leases.tune(
                        lease.id,
                        int(wish["baud"]),
                        wish.get("parity", "N"),
                        int(wish.get("stop_bits", 1)),
                        int(wish.get("data_bits", 8)),
                    )
                    return {"ok": True}
                case "beat":
                    self._leases.beat(lease.id)
                    return {"ok": True}
        except LamppostError as error:
            return _refusal(error)
        except (KeyError, TypeError, ValueError):
            pass
        return {"error": "control.unknown-request", "known": ["exchange", "tune", "beat", "end"]}


def only_reads(kind: str, data: bytes) -> bool:
    """Whether a request cannot change a device. Sensors on a UART of their own have no registers to write."""
    if not data:
        return True
    if kind in ("modbus-rtu", "modbus-tcp"):
        return len(data) >= 2 and data[1] in _READS
    if kind.startswith("mbus"):
        if data[0] == 0x10:
            return len(data) == 5 and data[1] in _MBUS_SHORT
        return data[0] == 0x68 and len(data) > 7 and data[6] == _MBUS_SELECT
    if kind == "i2c":
        return len(data) == 1
    return True


def would_write(kind: str) -> LinkError:
    """`link.read-only`: why a request is refused."""
    return LinkError(
        f"this request could change a device on {kind}",
        code="link.read-only",
        hint="diagnosis only reads: use the maker's own tool, with the gateway stopped",
    )


def _refusal(error: LamppostError) -> dict[str, Any]:
    return {
        "error": error.code, "message": str(error), "hint": error.hint, "retry": error.retry
    }  # fmt: skip
