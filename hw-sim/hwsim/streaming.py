"""A device that speaks unasked at its own pace, with playback of given frames."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterable

from hwsim.device import Device


class Streaming(Device):
    """Speaks `frame(now)` every `period` seconds while it is awake and in active mode."""

    def __init__(self, period: float) -> None:
        self.period = period
        self.silent = False
        """Set by a test: the device has died."""
        self.active = True
        """False: it speaks only when asked (passive or query mode)."""
        self.asleep = False
        self.sent: deque[tuple[float, bytes]] = deque(maxlen=10_000)
        """When each frame was spoken, and the frame."""
        self.awake_since = time.monotonic()
        self.next = self.awake_since
        self._epoch = self.awake_since
        self._replay: deque[bytes] | None = None
        self._again = False

    def frame(self, now: float) -> bytes:
        """The frame for this moment."""
        raise NotImplementedError

    def replay(self, frames: Iterable[bytes], *, repeat: bool = False) -> None:
        """From now on speak exactly these frames, then fall silent (or begin again)."""
        self._replay = deque(frames)
        self._again = repeat

    def running(self, now: float | None) -> float:
        """Seconds since power came; `now` None is this moment."""
        return max(0.0, (time.monotonic() if now is None else now) - self._epoch)

    def wake(self, now: float) -> None:
        """End of sleep."""
        self.asleep = False
        self.awake_since = now
        self.next = now + self.period

    def next_frame(self, now: float) -> bytes:
        """The next of the frames played back, else the one for this moment."""
        if not self._replay:
            return self.frame(now)
        frame = self._replay.popleft()
        if self._again:
            self._replay.append(frame)
        return frame

    def attached(self, now: float) -> None:
        self._epoch = self.awake_since = now
        self.next = now + self.period

    def next_talk(self) -> float | None:
        played_out = self._replay is not None and not self._replay
        if self.silent or self.asleep or not self.active or played_out:
            return None
        return self.next

    def talk(self, now: float, byte_time: float) -> bytes:
        del byte_time
        frame = self.next_frame(self.next)
        self.sent.append((self.next, frame))
        self.next = max(self.next + self.period, now)
        return frame
