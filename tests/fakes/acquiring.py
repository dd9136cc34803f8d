"""The acquisition of a site file in a process of its own, so that it may run under the preload shim or be killed.

As a program: prints each sample as a line of JSON, answers "status" on its input, ends at the end of its input.
"""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import msgspec

from lamppost import acquire
from lamppost.acquire.registry import Registry
from lamppost.clock import SystemClock
from lamppost.config import load
from lamppost.model import Sample

HEAD = '[site]\ngateway = "gw"\nhub = "hub"\n[uplink]\nhost = "localhost"\n'


class Acquiring:
    """The process, and what it delivered; also a context manager. `folder` holds its site file and its state."""

    def __init__(self, folder: Path, site: str, env: Mapping[str, str]) -> None:
        self.samples: list[dict[str, Any]] = []
        self.state = folder / "state"
        self.state.mkdir(exist_ok=True)
        file = folder / "site.toml"
        file.write_text(HEAD + site, encoding="utf-8")
        self._news = threading.Condition()
        self._statuses: list[list[dict[str, Any]]] = []
        self._errors = (folder / "stderr").open("a+", encoding="utf-8")
        self._process = subprocess.Popen(
            [sys.executable, __file__, str(file), str(self.state)],
            env=dict(env),
            cwd=folder,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            text=True,
        )
        self._thread = threading.Thread(target=self._listen, daemon=True)
        self._thread.start()

    def __enter__(self) -> Acquiring:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    # --- what came

    def of(self, device: str) -> list[dict[str, Any]]:
        """Samples of one device, oldest first."""
        with self._news:
            return [sample for sample in self.samples if sample["device"] == device]

    def reasons(self, device: str) -> Counter[str]:
        """How often each quality came with the readings of a device."""
        return Counter(r for sample in self.of(device) for r in sample["reasons"].values())

    def newest(self, device: str) -> dict[str, Any]:
        """The newest value of every point of a device."""
        found: dict[str, Any] = {}
        for sample in self.of(device):
            found.update({k: v for k, v in sample["values"].items() if v is not None})
        return found

    def wait(self, seen: Callable[[], object], what: str = "", seconds: float = 25.0) -> None:
        """Until `seen` holds; looked at after each sample."""
        deadline = time.monotonic() + seconds
        with self._news:
            while not seen():
                left = deadline - time.monotonic()
                if left <= 0 or self._process.poll() is not None:
                    raise AssertionError(f"never: {what}\n{self.samples[-5:]}\n{self.said()}")
                self._news.wait(min(left, 0.5))

    def wait_for(self, device: str, reason: str, after: int = 0, seconds: float = 25.0) -> None:
        """Until a sample of the device, beyond the first `after` of all, has only readings of this quality."""
        self.wait(
            lambda: any(
                s["device"] == device and set(s["reasons"].values()) == {reason}
                for s in self.samples[after:]
            ),
            f"{device} {reason}",
            seconds,
        )

    def status(self) -> list[dict[str, Any]]:
        """Every link as it is now."""
        count = len(self._statuses)
        assert self._process.stdin is not None
        self._process.stdin.write("status\n")
        self._process.stdin.flush()
        self.wait(lambda: len(self._statuses) > count, "status")
        return self._statuses[-1]

    def said(self) -> str:
        """What the process wrote to its error output."""
        self._errors.flush()
        return Path(self._errors.name).read_text(encoding="utf-8")

    # --- its end

    def stop(self) -> None:
        """Stop it as the daemon would."""
        if self._process.stdin is not None and not self._process.stdin.closed:
            self._process.stdin.close()
        self._end()

    def kill(self) -> None:
        """Kill it, as a power cut would."""
        self._process.kill()
        if self._process.stdin is not None:
            self._process.stdin.close()
        self._end()

    def _end(self) -> None:
        try:
            self._process.wait(15)
        finally:
            self._process.kill()
            self._process.wait()
            self._thread.join()
            if self._process.stdout is not None:
                self._process.stdout.close()
            self._errors.close()

    def _listen(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            said = json.loads(line)
            with self._news:
                if isinstance(said, list):
                    self._statuses.append(said)
                else:
                    self.samples.append(said)
                self._news.notify_all()
        with self._news:
            self._news.notify_all()


def _print(sample: Sample) -> None:
    said = {
        "device": sample.device,
        "at": sample.at.ns / 1e9,
        "values": {reading.point: reading.value for reading in sample.readings},
        "reasons": {reading.point: reading.quality.reason for reading in sample.readings},
    }
    print(json.dumps(said), flush=True)


async def _main(file: Path, state: Path) -> None:
    registry = Registry.load()
    site = load.site(file.read_bytes(), registry.find)
    acquisition = acquire.build(site, registry, SystemClock(), _print, state)
    running = asyncio.create_task(acquisition.run())
    reader = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(reader), sys.stdin
    )
    while await reader.readline():
        said = [asdict(bus) for bus in acquisition.status()]
        print(json.dumps(said, default=msgspec.to_builtins), flush=True)
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


if __name__ == "__main__":
    asyncio.run(_main(Path(sys.argv[1]), Path(sys.argv[2])))
