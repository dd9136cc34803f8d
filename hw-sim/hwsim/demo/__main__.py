"""`python -m hwsim.demo`: what `./dev demo` runs."""

from __future__ import annotations

import argparse
import json
import shutil
import signal
import sys
import tempfile
import time
from contextlib import nullcontext, suppress
from math import inf
from pathlib import Path
from typing import Any

from hwsim.demo.bench import Bench, BenchError
from hwsim.demo.screen import Screen
from hwsim.demo.story import CABLE, Story
from hwsim.demo.verdict import Verdict

FLEET_EVERY = 2.0
RECONNECT = 60.0  # a short demo may end while the uplink still waits for its next try


def main() -> int:
    options = _options()
    folder = options.keep or Path(tempfile.mkdtemp(prefix="lamppost-demo-"))
    folder.mkdir(parents=True, exist_ok=True)
    bench = Bench(folder.resolve())
    bench.apart = True
    for ends in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(ends, lambda number, _: sys.exit(128 + number))
    try:
        with Screen(live=sys.stdout.isatty() and not options.json) as screen:
            verdict = _play(bench, options, screen)
    except BenchError as failed:
        print(f"PROBLEM {failed}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    finally:
        bench.close()
        _forget(options.pointer, bench)
        if options.keep is None:
            shutil.rmtree(folder, ignore_errors=True)
    if options.json:
        print(json.dumps(verdict.as_json(), indent=2))
    else:
        print("" if verdict.ok or options.keep else "to read the logs: --keep FOLDER\n", end="")
        print(verdict.line())
    return 0 if verdict.ok else 1


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="./dev demo",
        description="A simulated cabinet, its gateway and a hub, with an outage in the middle.",
    )
    parser.add_argument("--seconds", type=float, help="how long (default 60, at least 20)")
    parser.add_argument(
        "--hold", action="store_true", help="nothing fails by itself; until Ctrl-C, or --seconds"
    )
    parser.add_argument("--json", action="store_true", help="one object, schema lamppost.demo/1")
    parser.add_argument(
        "--keep", type=Path, metavar="FOLDER", help="keep site, logs and databases there"
    )
    parser.add_argument(
        "--pointer", type=Path, help=argparse.SUPPRESS
    )  # ./dev finds the demo by it
    options = parser.parse_args()
    if options.seconds is None:
        options.seconds = inf if options.hold else 60.0
    if options.seconds < 20:
        parser.error("--seconds must be at least 20: two windows of 10 s have to close")
    if options.keep and options.keep.exists() and any(options.keep.iterdir()):
        parser.error(f"--keep {options.keep} is not empty; name a new folder")
    return options


def _play(bench: Bench, options: argparse.Namespace, screen: Screen) -> Verdict:
    screen.note("making keys and certificates; starting cabinet, broker, hub and gateway")
    bench.prepare()
    bench.start_cabinet()
    bench.start_broker()
    bench.start_receiver()
    bench.start_gateway()
    screen.note(_invitation(bench, options.pointer))
    story = Story(bench, options.seconds, options.hold)
    gateway: dict[str, Any] = {}
    hub: dict[str, Any] = {}
    due = 0.0
    with suppress(KeyboardInterrupt) if options.hold else nullcontext():
        while not story.over:
            story.act()
            gateway = bench.status() or gateway
            if story.elapsed >= due:
                hub, due = bench.fleet(), story.elapsed + FLEET_EVERY
            screen.show(story, gateway, hub)
            time.sleep(0.25)
    ended_at = story.elapsed
    while not bench.connected() and story.elapsed < ended_at + RECONNECT:
        time.sleep(0.25)
    screen.note("the gateway stops: it seals what is left and waits for the last receipts")
    bench.stop("gateway")
    ended = {**gateway, "ring": bench.buffer()}
    screen.show(story, ended, bench.fleet())
    return _count(bench, story)


def _invitation(bench: Bench, pointer: Path | None) -> str:
    """What to type in a second terminal; `pointer`: where ./dev looks for the demo that runs."""
    file = bench.technician()
    if pointer is None:
        return (
            f"in a second terminal: . {file}\n  lamppost-sim tell unplug {CABLE}\n  lamppost doctor"
        )
    shutil.copy(file, pointer)
    return f"in a second terminal:\n  ./dev unplug {CABLE}\n  ./dev at-demo lamppost doctor"


def _forget(pointer: Path | None, bench: Bench) -> None:
    """Take the pointer away, unless a later demo made it its own."""
    if pointer and pointer.exists() and str(bench.folder) in pointer.read_text(encoding="utf-8"):
        pointer.unlink()


def _count(bench: Bench, story: Story) -> Verdict:
    """Ask both ends after the gateway has gone: its ring on disk, and the hub's ledger and sink."""
    ring = bench.buffer()
    fleet = bench.fleet()
    mine = next(g for g in fleet["gateways"] if g["gateway"] == "gw-demo")
    return Verdict(
        stored=ring["appended"],
        delivered=fleet["sink"]["readings"],
        in_gaps=mine["readings_in_gaps"],
        duplicates=fleet["sink"]["duplicates"],
        batches=sum(e["batches"] for e in mine["epochs"] if not e["epoch"].startswith("alert-")),
        receipts_verified=ring["batches_settled"],
        outage_seconds=round(story.outage_seconds, 1),
        cable_seconds=round(story.cable_seconds, 1),
        entities={
            kind.rsplit("/", 1)[-1]: count for kind, count in fleet["sink"]["entities"].items()
        },
        bytes_on_the_wire=mine["bytes"],
        seconds=round(story.elapsed, 1),
    )


if __name__ == "__main__":
    sys.exit(main())
