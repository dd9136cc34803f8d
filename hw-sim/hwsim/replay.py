"""Devices made of bytes that are given: frames spoken unasked, answers to known requests, and any device gone bad."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from hwsim.device import Device, Reply
from hwsim.i2c import Nack
from hwsim.mbus import checksum
from hwsim.modbus import Faults
from hwsim.streaming import Streaming


class Frames(Streaming):
    """Speaks these frames (hex) one after another, for ever, one every `period` seconds."""

    def __init__(self, frames: Sequence[str], *, period: float = 1.0) -> None:
        super().__init__(period)
        self.replay([bytes.fromhex(frame) for frame in frames], repeat=True)


class Answers(Device):
    """Says to each request (hex) that it knows what is given for it, `delay` seconds later; to others nothing.

    Of several answers to one request the next comes each time, after the last the first again.
    """

    def __init__(self, answers: Mapping[str, str | Sequence[str]], *, delay: float = 0.02) -> None:
        self._answers = {
            bytes.fromhex(heard): [bytes.fromhex(s) for s in ([said] if isinstance(said, str) else said)]
            for heard, said in answers.items()
        }  # fmt: skip
        self.delay = delay

    def hear(self, frame: bytes, now: float) -> Iterable[Reply]:
        del now
        if answer := self.answer(frame):
            yield self.delay, answer

    def answer(self, frame: bytes) -> bytes:
        """What it says to a request; empty where it knows none."""
        turn = self._answers.get(frame)
        if not turn:
            return b""
        turn.append(turn.pop(0))
        return turn[-1]


class I2cAnswers:
    """The same on I2C: what is read after a write (hex), each read the next of its answers."""

    def __init__(self, answers: Mapping[str, str | Sequence[str]]) -> None:
        self._answers = Answers(answers)
        self._said = b""

    def write(self, data: bytes, now: float) -> None:
        """Take a command; unknown ones are acknowledged and mean nothing."""
        del now
        self._said = self._answers.answer(data)

    def read(self, count: int, now: float) -> bytes:
        """What is said to the last command; raises Nack where that is nothing."""
        del now
        if not self._said:
            raise Nack
        return self._said[:count]


class Faulty(Device):
    """Any device with the faults of `modbus.Faults` that bytes can have, whether it answers or speaks unasked.

    `wrong_unit` puts another address into a long frame of M-Bus and makes its sum anew.
    """

    def __init__(self, device: Device, **faults: Any) -> None:
        self.device = device
        self.faults = Faults()
        self.faults.set(**faults)
        self.said = 0
        """What it would have said without faults, in frames."""

    def attached(self, now: float) -> None:
        self.device.attached(now)

    def hear(self, frame: bytes, now: float) -> Iterable[Reply]:
        for delay, answer in self.device.hear(frame, now):
            self.said += 1
            if spoken := self._spoken(answer):
                late = self.faults.late if self.faults.hits("late", self.said) else 0.0
                yield delay + self.faults.delay + late, spoken
                if self.faults.hits("twice", self.said):
                    yield delay, spoken

    def next_talk(self) -> float | None:
        return self.device.next_talk()

    def talk(self, now: float, byte_time: float) -> bytes:
        said = self.device.talk(now, byte_time)
        self.said += bool(said)
        return self._spoken(said)

    def _spoken(self, frame: bytes) -> bytes:
        faults = self.faults
        if not frame or faults.dead or faults.hits("drop", self.said):
            return b""
        if len(frame) < 3:  # an acknowledgement: nothing in it to damage
            return frame
        if faults.hits("truncate", self.said):
            return frame[: len(frame) // 2]
        if faults.hits("crc", self.said):
            return frame[:-2] + bytes((frame[-2] ^ 0x55,)) + frame[-1:]
        if faults.hits("wrong_unit", self.said) and frame[:1] == b"\x68":
            body = frame[4:5] + bytes((frame[5] % 250 + 1,)) + frame[6:-2]
            return frame[:4] + body + bytes((checksum(body),)) + frame[-1:]
        return frame
