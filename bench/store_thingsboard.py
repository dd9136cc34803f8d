"""One player of bench/store.py: thingsboard-gateway's own SQLite storage class, in the environment it is installed in.

python bench/store_thingsboard.py FOLDER SECONDS EVERY
python bench/store_thingsboard.py FOLDER cpu GROUPS

20 messages a second with 20 values each, as its connectors hand them over; every EVERY seconds all that is stored is
taken and acknowledged. It speaks the players' protocol: ready, a line, done, a line. With `cpu`: ready, then for each
line GROUPS groups of 50 messages, and the CPU seconds that storing them took. Imports nothing of Lamppost.
"""

from __future__ import annotations

import json
import logging
import os
import random
import struct
import sys
import time
from threading import Event
from typing import Any

from thingsboard_gateway.storage.sqlite.sqlite_event_storage import (  # type: ignore[import-not-found]
    SQLiteEventStorage,
)

KEYS = [
    f"{quantity}.l{phase}"
    for quantity in ("voltage", "current", "power.active", "power.apparent", "power.reactive", "power.factor")
    for phase in (1, 2, 3)
] + ["frequency", "energy.import"]  # fmt: skip


def messages(turn: int, dice: random.Random, meters: int = 20) -> list[str]:
    """One second: a message for each meter."""
    found = []
    for meter in range(meters):
        raw = struct.pack("20f", *[230 + dice.gauss(0, 3) for _ in KEYS])
        values = dict(zip(KEYS, struct.unpack("20f", raw), strict=True))
        telemetry = [{"ts": 1_800_000_000_000 + turn * 1000, "values": values}]
        found.append(
            json.dumps(
                {
                    "deviceName": f"meter-{meter:02}",
                    "deviceType": "default",
                    "attributes": [],
                    "telemetry": telemetry,
                }
            )
        )
    return found


def acknowledge(store: Any) -> None:
    """What the uplink does with what the storage gives it, until there is nothing."""
    while store.get_event_pack():
        store.event_pack_processing_done()


def opened(folder: str) -> Any:
    """The storage with the settings that it is shipped with."""
    logger = logging.getLogger("storage")
    logger.setLevel(logging.CRITICAL)
    logger.trace = lambda *_, **__: None  # type: ignore[attr-defined]
    return SQLiteEventStorage({"data_file_path": folder + "/data/"}, logger, Event())


def cpu(folder: str, groups: int) -> None:
    """A round for each line on stdin; the making of the messages is not counted."""
    store, dice = opened(folder), random.Random(1)
    work = [messages(turn, dice, 50) for turn in range(groups)]
    print("ready", flush=True)
    for _ in sys.stdin:
        start = time.process_time()
        for group in work:
            for message in group:
                store.put(message)
        while not store.write_queue.empty():
            time.sleep(0.1)
        time.sleep(0.5)  # its thread looks five times a second, and commits
        print(time.process_time() - start, flush=True)
    store.stop()


def main(folder: str, seconds: int, every: int) -> None:
    """Play."""
    store, dice = opened(folder), random.Random(1)
    for message in messages(0, dice):
        store.put(message)
    time.sleep(1)
    acknowledge(store)
    os.sync()
    print("ready", flush=True)
    sys.stdin.readline()
    start = time.monotonic()
    for turn in range(1, seconds + 1):
        for message in messages(turn, dice):
            store.put(message)
        if turn % every == 0:
            acknowledge(store)
        time.sleep(max(0.0, start + turn - time.monotonic()))
    print("done", flush=True)
    sys.stdin.readline()
    store.stop()


if __name__ == "__main__":
    if sys.argv[2] == "cpu":
        cpu(sys.argv[1], int(sys.argv[3]))
    else:
        main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
