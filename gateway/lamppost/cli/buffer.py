"""`lamppost buffer`: what the ring holds, with the daemon or without it."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import click
import orjson

from lamppost.cli.main import socket_option, state_option
from lamppost.errors import HubError, StoreError


@click.group()
def command() -> None:
    """The ring: what is stored, what the hub has proved."""


@command.command()
@state_option
@socket_option
@click.option("--json", "as_json", is_flag=True, help="one object, schema lamppost.buffer-status/1")
def status(state: Path, socket: Path, as_json: bool) -> None:
    """How many readings are stored, sealed, proved at the hub, evicted."""
    found = _from_daemon(socket) or _from_files(state)
    if as_json:
        click.echo(orjson.dumps(found, option=orjson.OPT_INDENT_2).decode())
        return
    click.echo(f"via {found['via']}: epoch {found['epoch']}, state {found['state']}")
    click.echo(f"stored   {found['appended']} readings since this epoch began")
    click.echo(f"waiting  {found['waiting']} readings, {found['held']} sealed batches in flight")
    click.echo(f"proved   {found['batches_settled']} batches by a verified receipt")
    click.echo(f"evicted  {found['evicted']} readings, each named in a signed gap")
    if coarse := found.get("coarse"):
        _coarse(coarse)
    click.echo(f"disk     {found['bytes_used']} of {found['bytes_limit']} bytes")
    healthy = found["state"] == "ok"
    click.echo(
        "OK" if healthy else f"PROBLEM buffer.{found['state']}: look at: lamppost doctor buffer"
    )
    if not healthy:
        raise SystemExit(1)


def _coarse(found: dict[str, Any]) -> None:
    width = found["window_seconds"]
    what = f"windows of {width / 60:g} min" if width else "windows"
    state = "" if found["state"] == "ok" else f", state {found['state']}"
    click.echo(
        f"reduced  {found['reduced']} readings to {what},"
        f" {found['bytes_used']} of {found['bytes_limit']} bytes{state}"
    )


def _from_daemon(socket: Path) -> dict[str, Any] | None:
    from lamppost.status.control import ask

    try:
        return ask(socket, {"do": "buffer"})
    except HubError:
        return None


def _from_files(state: Path) -> dict[str, Any]:
    from lamppost.cli import card
    from lamppost.status.report import buffer_report

    with card.opened(state) as ring:
        found = buffer_report(ring.stats(), ring.head(), via="direct")
    return {**found, "coarse": card.coarse(state)}


def _print(found: dict[str, Any]) -> None:
    click.echo(orjson.dumps(found, option=orjson.OPT_INDENT_2).decode())


@command.command()
@state_option
@click.option("-n", "count", type=click.IntRange(1, 100_000), default=20, show_default=True)
@click.option("--json", "as_json", is_flag=True, help="one object, schema lamppost.buffer-peek/1")
def peek(state: Path, count: int, as_json: bool) -> None:
    """The newest readings. Changes nothing; the daemon may run or not."""
    from lamppost.cli import card

    with card.opened(state) as ring:
        found = list(card.rows(ring, state, ring.last - count))
        last = ring.last
    if as_json:
        _print(
            {
                "schema": "lamppost.buffer-peek/1",
                "via": "direct",
                "newest": last,
                "readings": found,
            }
        )
        return
    for row in found:
        value = "-" if row.value is None else row.value
        when = row.utc or f"+{row.boottime_ns / 1e9:.0f}s"
        click.echo(f"{row.number:>9} {when:27} {row.device}/{row.point} {value} {row.reason}")
    click.echo(f"OK {len(found)} of {last + 1} readings shown" if found else "OK the ring is empty")


@command.command()
@state_option
@click.option(
    "--format",
    "form",
    type=click.Choice(["csv", "jsonl", "parquet"]),
    default="csv",
    show_default=True,
)
@click.option(
    "--out", type=click.Path(path_type=Path, dir_okay=False), help="a file instead of stdout"
)
@click.option("--after", type=int, default=-1, help="only readings with a greater number")
@click.option(
    "--json",
    "as_json",
    is_flag=True,
    help="with --out: one object, schema lamppost.buffer-export/1",
)
def export(state: Path, form: str, out: Path | None, after: int, as_json: bool) -> None:
    """All readings still in the ring, as a table. Changes nothing. Raw: personal devices are not masked."""
    from lamppost.cli import card, tables

    if form == "parquet" and not tables.has_parquet():
        raise click.UsageError("Parquet needs pyarrow: pip install 'lamppost[parquet]'")
    if out is None and (as_json or form == "parquet"):
        raise click.UsageError("name a file with --out")
    skipped: list[str] = []
    with card.opened(state) as ring:
        found = card.rows(ring, state, after, skipped)
        if out is None:
            count = tables.WRITERS[form](found, sys.stdout)
        else:
            out.touch(0o600)  # raw readings are nobody else's business
            if form == "parquet":
                count = tables.write_parquet(found, out)
            else:
                with out.open("w", encoding="utf-8", newline="") as file:
                    count = tables.WRITERS[form](found, file)
    if as_json:
        answer = {"readings": count, "unreadable": skipped, "file": str(out), "format": form}
        _print({"schema": "lamppost.buffer-export/1", "via": "direct", **answer})
    else:
        for line in skipped:
            click.echo(line, err=True)
        verdict = (
            f"PROBLEM {len(skipped)} records are unreadable: lamppost buffer verify"
            if skipped
            else (f"OK {count} readings exported")
        )
        click.echo(verdict, err=out is None)
    if skipped:
        raise SystemExit(1)


@command.command()
@state_option
@click.option("--json", "as_json", is_flag=True, help="one object, schema lamppost.buffer-verify/1")
def verify(state: Path, as_json: bool) -> None:
    """Read every byte of the ring and name what is damaged. Changes nothing; the daemon must be stopped."""
    from lamppost.cli import card

    if card.is_written(state):
        raise StoreError(
            "a daemon writes this ring at the moment: what it has half written would look damaged",
            code="store.in-use",
            hint="stop it first: systemctl stop lamppost",
        )
    unreadable: list[str] = []
    with card.opened(state) as ring:
        checked = ring.verify()
        readable = sum(1 for _ in card.rows(ring, state, -1, unreadable))
        gaps = ring.gaps(-1)
        stats = ring.stats()
    lost = [g for g in gaps if g.why not in ("evicted", "reduced")]
    damaged = [*checked.damaged, *card.coarse_damage(state), *unreadable]
    sound = not damaged and not lost and stats.state == "ok"
    if as_json:
        _print(
            {
                "schema": "lamppost.buffer-verify/1",
                "via": "direct",
                "ok": sound,
                "state": stats.state,
                "epoch": stats.epoch,
                "segments": checked.segments,
                "blocks": checked.blocks,
                "bytes_read": checked.bytes_read,
                "readings": readable,
                "damaged": damaged,
                "gaps": [{"first": g.span.first, "last": g.span.last, "why": g.why} for g in gaps],
            }
        )
    else:
        for place in damaged:
            click.echo(f"damaged  {place}")
        for gap in gaps:
            click.echo(f"missing  readings {gap.span.first} to {gap.span.last}: {gap.why}")
        click.echo(
            f"read     {checked.blocks} blocks in {checked.segments} segments, {checked.bytes_read} bytes"
        )
        click.echo(
            f"OK {readable} readings, all sound"
            if sound
            else f"PROBLEM ring.damaged: {readable} readings are sound; save them: lamppost buffer export --out FILE"
        )
    if not sound:
        raise SystemExit(1)
