"""`python -m hwsim.demo`: what `./dev demo` runs."""

from __future__ import annotations

import argparse
import json
import shutil
import signal
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from hwsim.demo.bench import Bench, BenchError
from hwsim.demo.screen import Screen
from hwsim.demo.story import Story
from hwsim.demo.verdict import Verdict

FLEET_EVERY = 2.0
RECONNECT = 60.0  # a short demo may end while the uplink still waits for its next try


def main() -> int:
    options = _options()
    folder = options.keep or Path(tempfile.mkdtemp(prefix="lamppost-demo-"))
    folder.mkdir(parents=True, exist_ok=True)
    bench = Bench(folder.resolve())
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        with Screen(live=sys.stdout.isatty() and not options.json) as screen:
            verdict = _play(bench, options.seconds, screen)
    except BenchError as failed:
        print(f"PROBLEM {failed}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    finally:
        bench.close()
        if options.keep is None:
            shutil.rmtree(folder, ignore_errors=True)
    print(json.dumps(verdict.as_json(), indent=2) if options.json else verdict.line())
    return 0 if verdict.ok else 1


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="./dev demo",
        description="A simulated cabinet, its gateway and a hub, with an outage in the middle.",
    )
    parser.add_argument(
        "--seconds", type=float, default=60.0, help="how long (default 60, at least 20)"
    )
    parser.add_argument("--json", action="store_true", help="one object, schema lamppost.demo/1")
    parser.add_argument(
        "--keep", type=Path, metavar="FOLDER", help="keep site, logs and databases there"
    )
    options = parser.parse_args()
    if options.seconds < 20:
        parser.error("--seconds must be at least 20: two windows of 10 s have to close")
    if options.keep and options.keep.exists() and any(options.keep.iterdir()):
        parser.error(f"--keep {options.keep} is not empty; name a new folder")
    return options


def _play(bench: Bench, seconds: float, screen: Screen) -> Verdict:
    screen.note("making keys and certificates; starting cabinet, broker, hub and gateway")
    bench.prepare()
    bench.start_cabinet()
    bench.start_broker()
    bench.start_receiver()
    bench.start_gateway()
    screen.note(f"find the fault yourself: . {bench.technician()}; ./dev run lamppost doctor bus")
    story = Story(bench, seconds)
    gateway: dict[str, Any] = {}
    hub: dict[str, Any] = {}
    due = 0.0
    while not story.over:
        story.act()
        gateway = bench.status() or gateway
        if story.elapsed >= due:
            hub, due = bench.fleet(), story.elapsed + FLEET_EVERY
        screen.show(story, gateway, hub)
        time.sleep(0.25)
    while not bench.connected() and story.elapsed < seconds + RECONNECT:
        time.sleep(0.25)
    screen.note("the gateway stops: it seals what is left and waits for the last receipts")
    bench.stop("gateway")
    ended = {**gateway, "ring": bench.buffer()}
    screen.show(story, ended, bench.fleet())
    return _count(bench, story)


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
        batches=mine["batches"],
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
