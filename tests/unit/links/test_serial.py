"""What a serial port does when it fails: errors of the system while it opens, works and closes; another name."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import termios
from pathlib import Path

import pytest
import serial

from hwsim.line import Line
from lamppost.clock import monotonic_ns
from lamppost.errors import LinkError
from lamppost.links.alarm import Alarm
from lamppost.links.rtu import RtuLink
from lamppost.links.serial import LineSettings, SerialLink, SerialPort


@pytest.mark.parametrize(
    ("why", "code"),
    [
        (termios.error(errno.EIO, "Input/output error"), "link.missing"),
        (termios.error(errno.EINVAL, "Invalid argument"), "link.settings"),
        (OSError(errno.EIO, "Input/output error"), "link.missing"),
        (OSError(errno.ENOENT, "No such file"), "link.missing"),
        (OSError(errno.EBUSY, "Device or resource busy"), "link.busy"),
        (OSError(errno.EACCES, "Permission denied"), "link.permission"),
        (serial.SerialException("could not configure port"), "link.missing"),
        (ValueError("Invalid baud rate"), "link.settings"),
    ],
    ids=lambda each: each if isinstance(each, str) else repr(each),
)
async def test_whatever_opening_raises_is_a_link_error(
    why: Exception, code: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuses(*_: object, **__: object) -> None:
        raise why

    monkeypatch.setattr(serial, "Serial", refuses)
    for link in (
        SerialLink(tmp_path / "tty", LineSettings(), locks=tmp_path),
        RtuLink(tmp_path / "tty", LineSettings(), locks=tmp_path),
    ):
        with pytest.raises(LinkError) as refused:
            await link.open()
        assert refused.value.code == code
        assert refused.value.hint


@pytest.mark.parametrize("number", [errno.EIO, errno.ENODEV, errno.ENXIO, errno.EBADF])
async def test_an_error_while_in_use_is_a_lost_link(
    number: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_: object) -> bytes:
        raise OSError(number, os.strerror(number))

    with Line(tmp_path / "tty", 9600):
        for call in ("read", "write"):
            link = SerialLink(tmp_path / "tty", LineSettings(), locks=tmp_path)
            await link.open()
            with monkeypatch.context() as broken:
                broken.setattr(os, call, fails)
                with pytest.raises(LinkError) as lost:
                    await (link.send(b"?") if call == "write" else link.receive(1.0))
            assert lost.value.code == "link.lost"
            link.close()


async def test_closing_a_port_that_is_gone_says_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_: object) -> None:
        raise termios.error(errno.EIO, "Input/output error")

    with Line(tmp_path / "tty", 9600):
        link = SerialLink(tmp_path / "tty", LineSettings(), locks=tmp_path)
        await link.open()
        monkeypatch.setattr(termios, "tcflush", fails)
        link.close()
        assert not list(tmp_path.glob("LCK..*"))
        monkeypatch.undo()
        await link.open()  # nothing of the first one is left to hold it
        link.close()


async def test_an_adapter_that_comes_back_under_another_name(tmp_path: Path) -> None:
    """ttyUSB0 becomes ttyUSB1; the name by id leads to wherever it is."""
    by_id = tmp_path / "usb-FTDI-if00-port0"
    with Line(tmp_path / "ttyUSB0", 9600) as first, Line(tmp_path / "ttyUSB1", 9600) as second:
        by_id.symlink_to(first.path)
        link = SerialLink(by_id, LineSettings(), locks=tmp_path)
        await link.open()
        first.inject(b"one")
        assert await link.exchange(b"", 5.0, 3) == b"one"
        first.unplug()
        with pytest.raises(LinkError) as lost:
            await link.receive(5.0)
        assert lost.value.code == "link.lost"
        link.close()
        with pytest.raises(LinkError) as missing:
            await link.open()
        assert missing.value.code == "link.missing"
        by_id.unlink()
        by_id.symlink_to(second.path)
        await link.open()
        second.inject(b"two")
        assert await link.exchange(b"", 5.0, 3) == b"two"
        link.close()


async def test_what_was_read_for_a_wait_that_is_cancelled_is_there_for_the_next(
    tmp_path: Path,
) -> None:
    with Line(tmp_path / "tty", 9600) as line:
        port = SerialPort.open(tmp_path / "tty", LineSettings(), locks=tmp_path)
        waiting = asyncio.create_task(port.receive(monotonic_ns() + 60 * 10**9))
        await asyncio.sleep(0)
        line.inject(b"abc")
        while not port.heard:
            await asyncio.sleep(0)  # in the loop's turn between the reading and the waiter
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        assert await port.gather(monotonic_ns() + 60 * 10**9, 10**9, 3) == b"abc"
        port.close()


async def test_an_alarm_rings_early_for_nobody() -> None:
    """Whatever it has learnt of its own delay, and after waits that were cancelled."""
    alarm = Alarm()
    for n in range(200):
        due = monotonic_ns() + 1000 * n
        await alarm.until(due)
        assert monotonic_ns() >= due
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(0):
                await alarm.until(monotonic_ns() + 500_000)
    alarm.close()
