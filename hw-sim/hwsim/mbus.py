"""Wired M-Bus meters (EN 13757-2): reset, read-out, primary and secondary addressing; their frames are given.

A meter answers with captured long frames as they are, except that its primary address, if another is given, is put
in and the sum made anew.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from hwsim.device import Device, Reply

ACK = b"\xe5"
_SHORT, _LONG, _STOP = 0x10, 0x68, 0x16
_SND_NKE, _SND_UD, _REQ_UD2 = 0x40, 0x43, 0x4B
_FCB, _FCV = 0x20, 0x10
_SELECTED, _ANSWER_ALL, _SILENT_ALL = 0xFD, 0xFE, 0xFF
_CI_SELECT, _CI_RESET = 0x52, 0x50


def checksum(body: bytes) -> int:
    """The low byte of the sum."""
    return sum(body) & 0xFF


def short(control: int, address: int) -> bytes:
    """A short frame."""
    body = bytes((control, address))
    return bytes((_SHORT,)) + body + bytes((checksum(body), _STOP))


def long(control: int, address: int, ci: int, data: bytes = b"") -> bytes:
    """A long frame (control frame without data)."""
    body = bytes((control, address, ci)) + data
    return bytes((_LONG, len(body), len(body), _LONG)) + body + bytes((checksum(body), _STOP))


def parse(frame: bytes) -> tuple[int, int, bytes] | None:
    """Control, address, and CI with data; None if the frame is damaged."""
    if len(frame) == 5 and frame[0] == _SHORT and frame[4] == _STOP:
        body = frame[1:3]
    elif (
        len(frame) >= 9 and frame[0] == frame[3] == _LONG and frame[1] == frame[2] == len(frame) - 6
    ):
        body = frame[4:-2]
    else:
        return None
    if checksum(body) != frame[-2] or frame[-1] != _STOP:
        return None
    return body[0], body[1], body[2:]


class MBusMeter(Device):
    """One meter. `frames`: the long frames of one read-out, in order; `address`: primary, default the frame's own.

    `secondary`: eight bytes, default those of the first frame's variable header (CI 72h).
    """

    def __init__(
        self,
        frames: Sequence[bytes],
        *,
        address: int | None = None,
        secondary: bytes | None = None,
        delay: float = 0.02,
    ) -> None:
        parsed = [parse(frame) for frame in frames]
        first = parsed[0]
        if first is None or None in parsed:
            raise ValueError("not an M-Bus long frame with a right sum")
        self.address = first[1] if address is None else address
        self.secondary = first[2][1:9] if secondary is None else secondary
        self.delay = delay
        self.dead = False
        self.wrong_sum_every = 0
        self.readouts = 0
        """Frames told so far."""
        self.selected = False
        self._frames = [
            long(p[0], self.address, p[2][0], p[2][1:]) for p in parsed if p is not None
        ]
        self._at = -1
        self._bit: int | None = None

    def hear(self, frame: bytes, now: float) -> Iterable[Reply]:
        del now
        parsed = parse(frame)
        if parsed is None or self.dead:
            return
        control, address, body = parsed
        kind = control & ~(_FCB | _FCV)
        if kind == _SND_UD and address == _SELECTED and body[:1] == bytes((_CI_SELECT,)):
            self.selected = self._matches(body[1:9])
            self._restart()
            if self.selected:
                yield self.delay, ACK
            return
        if not self._is_for_me(address):
            return
        answer = self._obey(kind, control, body, address)
        if answer and address != _SILENT_ALL:
            yield self.delay, answer

    def _obey(self, kind: int, control: int, body: bytes, address: int) -> bytes:
        if kind == _SND_NKE:
            self._restart()
            if address == _SELECTED:
                self.selected = False
            return ACK
        if kind == _SND_UD:
            if body[:1] == bytes((_CI_RESET,)):
                self._restart()
            return ACK
        return self._next(control) if kind == _REQ_UD2 else b""

    def _is_for_me(self, address: int) -> bool:
        mine = address in (self.address, _ANSWER_ALL, _SILENT_ALL)
        return mine or (address == _SELECTED and self.selected)

    def _restart(self) -> None:
        self._at, self._bit = -1, None

    def _matches(self, wanted: bytes) -> bool:
        """Whether a selection is ours: F nibbles in the id and FF bytes in the rest match anything."""
        if len(wanted) != 8:
            return False
        nibbles = all(
            w in (0xF, m)
            for want, have in zip(wanted[:4], self.secondary[:4], strict=True)
            for w, m in ((want >> 4, have >> 4), (want & 15, have & 15))
        )
        maker = wanted[4:6] in (b"\xff\xff", self.secondary[4:6])
        rest = all(
            want in (0xFF, have) for want, have in zip(wanted[6:], self.secondary[6:], strict=True)
        )
        return nibbles and maker and rest

    def _next(self, control: int) -> bytes:
        """The next frame of the read-out; the same again if the master repeats its frame count bit."""
        bit = control & _FCB if control & _FCV else None
        if bit is None or bit != self._bit or self._at < 0:
            self._at = (self._at + 1) % len(self._frames)
        self._bit = bit
        self.readouts += 1
        frame = self._frames[self._at]
        if self.wrong_sum_every and self.readouts % self.wrong_sum_every == 0:
            frame = frame[:-2] + bytes((frame[-2] ^ 0x55, _STOP))
        return frame
