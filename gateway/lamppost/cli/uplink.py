"""`lamppost uplink`: what goes to the hub, and whether it could: status, test, tail."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from lamppost.cli.bus import reached
from lamppost.cli.main import socket_option
from lamppost.cli.terminal import paint, say, size, span, wrapped

if TYPE_CHECKING:
    from lamppost.diagnosis.facts import Facts


@click.group()
def command() -> None:
    """The way of batches to the hub: status, test, tail."""


@command.command()
@socket_option
@click.option("--json", "as_json", is_flag=True, help="one object, schema lamppost.uplink-status/1")
def status(socket: Path, as_json: bool) -> None:
    """What the uplink does, how much it sent, what it waits for."""
    from lamppost.status.control import ask

    found = ask(socket, {"do": "status"})
    uplink, ring = found["uplink"], found["ring"]
    well = uplink["state"] == "connected" and not uplink["code"]
    code = uplink["code"] or f"uplink.{uplink['state']}"
    closing = (
        f"OK connected, {ring['waiting']} readings not yet proved"
        if well
        else f"PROBLEM {code}; type: lamppost uplink test"
    )
    if as_json:
        import orjson

        answer = {"schema": "lamppost.uplink-status/1", "via": "daemon", **uplink}
        say(orjson.dumps({**answer, "verdict": closing}, option=orjson.OPT_INDENT_2).decode())
    else:
        for label, text in _rows(uplink, ring):
            for line in wrapped(text, f"{label:9}"):
                say(line)
        say(paint(closing, "good" if well else "bad"))
    if not well:
        raise SystemExit(1)


def _rows(uplink: dict[str, Any], ring: dict[str, Any]) -> Iterator[tuple[str, str]]:
    since = uplink.get("since_seconds_ago")
    yield "state", uplink["state"] + (f" for {span(since)}" if since is not None else "")
    if uplink["code"]:
        yield "why", f"{uplink['code']}: {uplink['message']}"
        yield "hint", uplink["hint"]
    ahead = uplink.get("next_try_seconds_ago")
    if ahead is not None and ahead < 0:
        yield "retry", f"in {-ahead:.0f} s"
    sent = f"{uplink['batches_sent']} batches"
    if uplink.get("bytes_sent"):
        sent += f", {size(uplink['bytes_sent'])}"
    if uplink.get("batches_resent"):
        sent += f", {uplink['batches_resent']} of them again"
    yield "sent", sent
    age = uplink.get("last_receipt_seconds_ago")
    newest = f", the newest {span(age)} ago" if age is not None else ""
    yield "receipts", f"{uplink.get('receipts_verified', 0)} verified{newest}"
    if uplink.get("receipts_bad"):
        yield "bad", f"{uplink['receipts_bad']} receipts refused: {uplink['last_bad']}"
    if uplink.get("batches_refused"):
        yield "refused", f"{uplink['batches_refused']} batches: {uplink['last_refusal']}"
    yield "waiting", f"{ring['waiting']} readings, {ring['held']} sealed batches"


@command.command()
@reached
@click.option("--json", "as_json", is_flag=True, help="one object, schema lamppost.uplink-test/1")
def test(socket: Path, state: Path, site: Path, as_json: bool) -> None:
    """Could this gateway reach its hub now? Name, port, TLS, certificate: without sending anything."""
    from lamppost.cli.looks import look

    code = look(
        "lamppost.uplink-test/1", ["clock", "net", "trust", "uplink"], _test_rows, _test_well,
        socket=socket, state=state, site=site, as_json=as_json,
    )  # fmt: skip
    if code:
        raise SystemExit(code)


def _test_rows(facts: Facts) -> Iterator[tuple[str, str]]:
    from lamppost.cli.net import net_rows

    yield from (row for row in net_rows(facts) if row[0] in ("name", "port", "web"))
    if facts.tls is not None:
        yield (
            "tls",
            facts.tls.why or "the broker is the hub's, and takes this gateway's certificate",
        )
    elif facts.trust is not None and facts.trust.code:
        yield "tls", "not tried: this gateway has no identity"


def _test_well(facts: Facts) -> str:
    return f"{facts.net.host} would take batches now" if facts.net else "nothing to test"


@command.command()
@socket_option
@click.option("--every", default="2s", show_default=True, help="how often to look")
@click.option("--count", "-n", type=click.IntRange(1), help="end after so many lines")
@click.option("--ndjson", is_flag=True, help="one object a line, schema lamppost.uplink-tail/1")
def tail(socket: Path, every: str, count: int | None, ndjson: bool) -> None:
    """A line at each change: state, batches, receipts. Ctrl-C ends it."""
    from lamppost.cli.bus import seconds_of
    from lamppost.clock import SystemClock
    from lamppost.status.control import ask

    clock, last, shown = SystemClock(), None, 0
    pace = max(0.2, seconds_of(every))
    while count is None or shown < count:
        due = clock.monotonic() + pace
        found = ask(socket, {"do": "status"})
        uplink, ring = found["uplink"], found["ring"]
        now = (
            uplink["state"], uplink["code"] or "", uplink["batches_sent"],
            uplink.get("receipts_verified", 0), ring["waiting"],
        )  # fmt: skip
        if now != last:
            last, shown = now, shown + 1
            _tell(now, clock.utc() // 10**9, ndjson=ndjson)
        if count is None or shown < count:
            asyncio.run(clock.sleep_until(due))


def _tell(now: tuple[Any, ...], at: int, *, ndjson: bool) -> None:
    import sys
    from datetime import UTC, datetime

    names = ("state", "code", "batches_sent", "receipts_verified", "waiting")
    if ndjson:
        import orjson

        row = {"schema": "lamppost.uplink-tail/1", "at": at, **dict(zip(names, now, strict=True))}
        say(orjson.dumps(row).decode())
    else:
        state, code, sent, receipts, waiting = now
        when = datetime.fromtimestamp(at, UTC).strftime("%H:%M:%S")
        say(f"{when} {state} {code}".rstrip())
        say(f"         {sent} sent, {receipts} receipts, {waiting} waiting")
    sys.stdout.flush()
