"""`python -m hwsim.site FILE.toml --control SOCKET`: a simulated cabinet in one process, with a control socket.

One JSON object a line in, one out: `{"do": "unplug", "line": "rs485-1"}` gives `{"ok": true}`, or
`{"ok": false, "error": "..."}`. Prints `ready` once every path exists; ends cleanly on SIGTERM and SIGINT.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import re
import signal
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from hwsim.cabinet import Cabinet, SiteFileError
from hwsim.device import Babbler, Device
from hwsim.i2c import I2cBus
from hwsim.line import Line
from hwsim.mbus_tcp import MBusTcpServer
from hwsim.modbus_tcp import ModbusTcpServer


class Control:
    """What the control socket can do to a cabinet: each public method is a word of `do`."""

    def __init__(self, cabinet: Cabinet) -> None:
        self._cabinet = cabinet
        self._babblers: dict[str, Device] = {}

    def answer(self, line: bytes) -> dict[str, Any]:
        """One request line to one answer; a bad request is answered, never raised."""
        try:
            request = json.loads(line)
            do = self.words()[request.pop("do")]
            return {"ok": True, **(do(**request) or {})}
        except (SiteFileError, ValueError, TypeError, AttributeError) as error:
            return {"ok": False, "error": str(error).removeprefix("Control.")}
        except KeyError as error:
            return {
                "ok": False,
                "error": f"unknown {error}; do is one of {', '.join(self.words())}",
            }

    def words(self) -> dict[str, Callable[..., dict[str, Any] | None]]:
        """What may be done, by its word."""
        words = ("unplug", "plug", "off", "on", "silence", "revive", "fault", "noise", "change", "inject",
                 "babble", "hush", "stick", "release", "stats", "reset", "truth", "answered")  # fmt: skip
        return {word: getattr(self, word) for word in words}

    def _line(self, name: str) -> Line:
        found = self._cabinet.link(name)
        if not isinstance(found, Line):
            raise SiteFileError(f"{name} is no serial line")
        return found

    def unplug(self, line: str) -> None:
        """Pull out a line's adapter, cut a server's power, or let bluetoothd die."""
        self._cabinet.adapter(line).unplug()

    def plug(self, line: str) -> None:
        """Put it back."""
        self._cabinet.adapter(line).plug()

    def off(self, line: str) -> None:
        """Switch a radio off."""
        self._power(line, on=False)

    def on(self, line: str) -> None:
        """And on again."""
        self._power(line, on=True)

    def _power(self, line: str, *, on: bool) -> None:
        if line not in self._cabinet.radios:
            raise SiteFileError(f"{line} is no radio")
        self._cabinet.radios[line].power(on)

    def silence(self, line: str, unit: int | str | None = None) -> None:
        """A device stops answering: unit, M-Bus or I2C address, pin, radio address; without `unit` the sensors."""
        self._cabinet.set_silent(line, unit, silent=True)

    def revive(self, line: str, unit: int | str | None = None) -> None:
        """It answers again."""
        self._cabinet.set_silent(line, unit, silent=False)

    def fault(self, line: str, unit: int | None = None, **faults: Any) -> None:
        """Set faults of a unit, an M-Bus meter or (without `unit`) the sensors by name, see `modbus.Faults`."""
        for each in self._cabinet.faulty(line, unit):
            each.faults.set(**faults)

    def change(self, line: str, **how: Any) -> None:
        """Another `baud`, `form`, `echo` or `bit_error_rate` of a serial line."""
        self._line(line).change(**how)

    def stick(self, line: str) -> None:
        """Somebody holds an I2C bus down."""
        self._bus(line).stuck = True

    def release(self, line: str) -> None:
        """And lets go."""
        self._bus(line).stuck = False

    def _bus(self, name: str) -> I2cBus:
        if name not in self._cabinet.board.buses:
            raise SiteFileError(f"{name} is no I2C bus")
        return self._cabinet.board.buses[name]

    def noise(self, line: str, bit_error_rate: float) -> None:
        """Flip bits at this rate."""
        self._line(line).set_noise(bit_error_rate)

    def inject(self, line: str, hex: str) -> None:  # noqa: A002
        """Bytes from nowhere."""
        self._line(line).inject(bytes.fromhex(hex))

    def babble(self, line: str) -> None:
        """A broken unit holds the line until `hush`."""
        if line not in self._babblers:
            self._babblers[line] = Babbler()
            self._line(line).attach(self._babblers[line])

    def hush(self, line: str) -> None:
        """The babbling unit is taken off."""
        self._line(line).detach(self._babblers.pop(line))

    def stats(self, line: str | None = None) -> dict[str, Any]:
        """Counters of one line, or of all by name under `lines` and `servers`."""
        cabinet = self._cabinet
        if line is not None:
            found = cabinet.link(line)
            return {
                "stats": _line_stats(found) if isinstance(found, Line) else _server_stats(found)
            }
        return {
            "lines": {name: _line_stats(found) for name, found in cabinet.lines.items()},
            "servers": {
                **{name: _server_stats(found) for name, found in cabinet.servers.items()},
                **{name: _server_stats(found) for name, found in cabinet.converters.items()},
            },
        }

    def reset(self, line: str) -> None:
        """Count from zero again."""
        self._line(line).reset_stats()

    def truth(self, line: str, unit: int | None = None, at: float | None = None) -> dict[str, Any]:
        """The true values of a meter or sensor now, or `at` a moment of CLOCK_MONOTONIC."""
        moment = time.monotonic() if at is None else at
        return {"at": moment, "truth": self._cabinet.truthful(line, unit).truth(moment)}

    def answered(self, line: str, unit: int) -> dict[str, Any]:
        """When this unit answered which request: rows of moment, function, address, count."""
        rows = list(self._cabinet.unit(line, unit).answered)
        return {"answered": [[row.at, row.function, row.address, row.count] for row in rows]}


def _line_stats(line: Line) -> dict[str, Any]:
    return {
        **line.stats().as_dict(),
        "use": line.use(),
        "path": str(line.path),
        "opened": line.opened(),
    }


def _server_stats(server: ModbusTcpServer | MBusTcpServer) -> dict[str, Any]:
    if isinstance(server, ModbusTcpServer):
        counted = {"requests": server.requests}
    else:
        counted = {"collisions": server.collisions}
    return {
        **counted,
        "connections": server.connections,
        "host": server.host,
        "port": server.port,
    }


_SPANS = {"ms": 0.001, "s": 1.0, "min": 60.0, "h": 3600.0}


def seconds_of(text: object) -> float:
    """`"60s"`, `"5min"` as seconds. Raises SiteFileError."""
    found = re.fullmatch(r"(\d+(?:\.\d+)?)\s*(ms|s|min|h)", str(text))
    if found is None:
        raise SiteFileError(f'{text!r} is no time: write "60s" or "5min"')
    return float(found[1]) * _SPANS[found[2]]


class Script:
    """What a file's `[[event]]` tables do, and when; a wrong one is refused before anything runs."""

    def __init__(self, cabinet: Cabinet) -> None:
        self._control = Control(cabinet)
        self._steps: list[tuple[float, dict[str, Any]]] = []
        for given in cabinet.events:
            step = dict(given)
            at = seconds_of(step.pop("at", ""))
            if step.get("do") not in self._control.words():
                known = ", ".join(self._control.words())
                raise SiteFileError(f"event at {at:g} s: do is one of {known}")
            if step.get("line", next(iter(cabinet.names()), None)) not in cabinet.names():
                raise SiteFileError(f"event at {at:g} s: no line {step['line']!r}")
            self._steps.append((at, step))
        self._steps.sort(key=lambda step: step[0])

    async def run(self, say: Callable[[str], None]) -> None:
        """Do each step at its time after now; `say` is told a line for each."""
        begun = time.monotonic()
        for at, step in self._steps:
            await asyncio.sleep(max(0.0, begun + at - time.monotonic()))
            answer = self._control.answer(json.dumps(step).encode())
            shown = " ".join(f"{key}={value}" for key, value in step.items() if key != "do")
            failed = "" if answer["ok"] else f": {answer['error']}"
            say(f"{at:6g} s  {step['do']} {shown}{failed}")


async def serve(
    cabinet: Cabinet,
    control: Path,
    *,
    ready: Callable[[], str] = lambda: "ready",
    seconds: float | None = None,
) -> None:
    """Run the cabinet and its script until a signal ends it, or `seconds` are over."""
    words, script = Control(cabinet), Script(cabinet)
    writers: set[asyncio.StreamWriter] = set()

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writers.add(writer)
        try:
            while line := await reader.readline():
                writer.write(json.dumps(words.answer(line)).encode() + b"\n")
                await writer.drain()
        except (ConnectionError, ValueError):
            pass  # the peer went away, or sent a line without an end
        finally:
            writers.discard(writer)
            writer.close()

    ended = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, ended.set)
    control.unlink(missing_ok=True)
    with cabinet:
        server = await asyncio.start_unix_server(talk, control)
        print(ready(), flush=True)
        playing = asyncio.create_task(script.run(lambda line: print(line, flush=True)))
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(ended.wait(), seconds)
        playing.cancel()
        await asyncio.gather(playing, return_exceptions=True)
        server.close()
        for writer in writers:
            writer.transport.abort()
    control.unlink(missing_ok=True)


def main(arguments: Sequence[str] | None = None) -> int:
    """Read the file and run; 2 if the file is wrong."""
    parser = argparse.ArgumentParser(prog="python -m hwsim.site", description=__doc__)
    parser.add_argument("file", type=Path, help="the cabinet's TOML file")
    parser.add_argument("--control", type=Path, required=True, help="unix socket to create")
    parser.add_argument(
        "--at", type=Path, default=None, help="folder of the device paths (default: the file's)"
    )
    given = parser.parse_args(arguments)
    try:
        cabinet = Cabinet.load(given.file, given.at)
    except (OSError, ValueError) as error:
        print(f"{given.file}: {error}", file=sys.stderr)
        return 2
    asyncio.run(serve(cabinet, given.control))
    return 0


if __name__ == "__main__":
    sys.exit(main())
