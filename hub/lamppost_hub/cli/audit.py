"""`lamppost-hub audit`."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from lamppost_hub.cli.main import finish, json_option

if TYPE_CHECKING:
    from lamppost_hub.archive import Head
    from lamppost_hub.audit import Report

_FILE = click.Path(path_type=Path, exists=True, dir_okay=False)
_WHEN = click.DateTime(["%Y-%m-%d", "%Y-%m-%dT%H:%M:%S", "%Y-%m-%dT%H:%M:%SZ"])


@click.command()
@click.argument(
    "root", metavar="[DIR]", required=False, type=click.Path(path_type=Path, file_okay=False)
)
@click.option("--gateway", default=None, help="whose archive; needed with DIR")
@click.option("--archive", type=_FILE, default=None, help="an exported file instead of DIR")
@click.option(
    "--from", "since", type=_WHEN, help="verify signatures of batches received from (UTC)"
)
@click.option("--to", "until", type=_WHEN, help="and before (UTC)")
@click.option(
    "--key", "keys", multiple=True, type=_FILE, help="PEM of a key of the gateway, you trust"
)
@click.option(
    "--hub-key", "hub_keys", multiple=True, type=_FILE, help="PEM of a signing key of the hub"
)
@click.option("--against", multiple=True, type=_FILE, help="a note or proof file kept elsewhere")
@click.option("--proof", "reading", type=click.IntRange(0), help="prove this reading (number)")
@click.option(
    "--epoch", default="", help="with --proof: of this epoch; default: the newest that has it"
)
@click.option(
    "--out", type=click.Path(path_type=Path, dir_okay=False), help="the proof file to write"
)
@json_option
def command(
    root: Path | None,
    gateway: str | None,
    archive: Path | None,
    since: datetime | None,
    until: datetime | None,
    keys: tuple[Path, ...],
    hub_keys: tuple[Path, ...],
    against: tuple[Path, ...],
    reading: int | None,
    epoch: str,
    out: Path | None,
    as_json: bool,
) -> None:
    """Prove that nothing of a gateway is missing, moved, edited or added; or name the first break."""
    if (root is None) == (archive is None):
        raise click.UsageError("either DIR or --archive FILE")
    if root is not None and gateway is None:
        raise click.UsageError("--gateway names whose archive in DIR")
    if (reading is None) != (out is None) or (reading is not None and root is None):
        raise click.UsageError("--proof READING, --out FILE and DIR belong together")
    if root is not None and gateway is not None and reading is not None and out is not None:
        _prove(root, gateway, reading, epoch, out, as_json=as_json)
        return

    from lamppost.envelope.keys import PublicKey
    from lamppost_hub.folder import HubFolder
    from lamppost_hub.inspection import Order, audit_file, audit_folder

    order = Order(
        keys=tuple(PublicKey.from_pem(path.read_bytes()) for path in keys),
        hub_keys=tuple(PublicKey.from_pem(path.read_bytes()) for path in hub_keys),
        against=against,
        since=_ns(since) or 0,
        until=_ns(until) or 1 << 63,
    )
    if archive is not None:
        report, head = audit_file(archive, order)
    else:
        assert root is not None
        assert gateway is not None
        report, head = audit_folder(HubFolder(root), gateway, order)
    if gateway not in (None, head.gateway):
        raise click.UsageError(f"the archive is {head.gateway}'s")
    lines = _lines(report)
    if archive is not None and not (keys and hub_keys):
        lines += [
            f"keys taken from the archive: {_kids(head)}",
            "compare them: --key and --hub-key",
        ]
    content = _content(report, head, trusted=bool(keys and hub_keys))
    verdict = _verdict(report, head.gateway)
    finish("hub-audit", content, lines, verdict, as_json=as_json, ok=report.broken is None)


def _prove(root: Path, gateway: str, reading: int, epoch: str, out: Path, *, as_json: bool) -> None:
    import json

    from lamppost.envelope.keys import FileSigner
    from lamppost_hub.files import durable_write
    from lamppost_hub.folder import HubFolder
    from lamppost_hub.founding import open_database
    from lamppost_hub.proof import make_proof

    folder = HubFolder(root)
    database = open_database(folder)
    signer = FileSigner.load(folder.signing_keys()[-1])
    proof = make_proof(database, folder.settings().id, signer, gateway, reading, epoch)
    database.close()
    durable_write(out, (json.dumps(proof, indent=1) + "\n").encode(), mode=0o644)
    content = {part: proof[part] for part in ("gateway", "epoch", "seq", "reading")}
    verdict = f"reading {reading} is in batch {proof['seq']}; proof in {out}"
    finish("hub-audit-proof", {**content, "file": str(out)}, [], verdict, as_json=as_json)


def _ns(when: datetime | None) -> int | None:
    return None if when is None else int(when.replace(tzinfo=UTC).timestamp()) * 1_000_000_000


def _kids(head: Head) -> str:
    keys = [f"gateway {key.kid.hex()}" for key in head.gateway_keys]
    return ", ".join(keys + [f"hub {key.kid.hex()}" for key in head.hub_keys])


def _lines(report: Report) -> list[str]:
    return [
        f"epoch {found.epoch}: {found.batches} batches ({found.verified} verified), {found.readings} readings"
        f" ({found.reduced} as long windows), {found.lost} lost in signed gaps,"
        f" {found.witnesses} signed roots, the last over {found.covered}"
        for found in report.streams
    ]


def _content(report: Report, head: Head, *, trusted: bool) -> dict[str, Any]:
    from dataclasses import asdict

    broken = None if report.broken is None else asdict(report.broken)
    return {
        "hub": head.hub,
        "gateway": head.gateway,
        "keys_given": trusted,
        "epochs": [asdict(found) for found in report.streams],
        "break": broken,
    }


def _verdict(report: Report, gateway: str) -> str:
    if report.broken is not None:
        return f"{report.broken.code}: {gateway}, epoch {report.broken.epoch}: {report.broken.what}"
    batches = sum(found.batches for found in report.streams)
    open_end = sum(found.batches - found.covered for found in report.streams)
    tail = f"; {open_end} are newer than the last checkpoint" if open_end else ""
    return f"{gateway}: {batches} batches, no break{tail}"
