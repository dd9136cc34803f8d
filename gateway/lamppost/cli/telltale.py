"""What a first boot shows to somebody without a network: a log file on the boot partition, the console, an LED.

LED: slow blinking while it works, fast while it fails and tries again, steady light when it is done.
"""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

import click

from lamppost.clock import Clock

LOG = "lamppost-firstboot.log"
LEDS = Path("/sys/class/leds")
NAMES = ("ACT", "led0")  # the activity LED, by the board's generation
SLOW, FAST = 1000, 125  # milliseconds of a half period


class Telltale:
    """Says each step everywhere at once. What cannot be said somewhere (no LED, a full partition) is no failure."""

    def __init__(self, folder: Path, clock: Clock, *, leds: Path = LEDS) -> None:
        self._log = folder / LOG
        self._led = next((leds / name for name in NAMES if (leds / name).is_dir()), None)
        self._clock = clock

    def works(self, text: str) -> None:
        """It begins."""
        self._blink(SLOW)
        self.step(text)

    def step(self, text: str) -> None:
        """Something is done."""
        self._say(text)

    def failed(self, text: str) -> None:
        """It is not done, and why; it will be tried again."""
        self._blink(FAST)
        self._say(f"PROBLEM {text}")

    def done(self, text: str) -> None:
        """The whole is done."""
        self._light()
        self._say(f"OK {text}")

    def _say(self, text: str) -> None:
        # the clock may stand anywhere at a first boot: seconds since power-on are what is true
        line = f"{self._clock.now().ns / 1e9:8.1f} s  {text}"
        click.echo(line, err=True)
        with suppress(OSError):
            descriptor = os.open(self._log, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
            try:
                os.write(descriptor, f"{line}\n".encode())
                os.fsync(descriptor)
            finally:
                os.close(descriptor)

    def _blink(self, half: int) -> None:
        self._set("trigger", "timer")
        self._set("delay_on", str(half))
        self._set("delay_off", str(half))

    def _light(self) -> None:
        self._set("trigger", "none")
        self._set("brightness", "1")

    def _set(self, name: str, value: str) -> None:
        if self._led is not None:
            with suppress(OSError):
                (self._led / name).write_text(value)
