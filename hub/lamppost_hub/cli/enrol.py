"""`lamppost-hub enrol approve | revoke | list | approve-epoch`."""

from __future__ import annotations

from pathlib import Path

import click

from lamppost_hub.cli.main import finish, hub_argument, json_option


@click.group()
def command() -> None:
    """Who may send: let gateways in, lock them out, approve their resets."""


@command.command()
@hub_argument
@click.argument(
    "request_file", metavar="REQUEST", type=click.Path(path_type=Path, exists=True, dir_okay=False)
)
@click.option(
    "--out",
    required=True,
    type=click.Path(path_type=Path, dir_okay=False),
    help="the bundle to write",
)
@click.option(
    "--replace", is_flag=True, help="the hardware or card is new, or a revoked gateway comes back"
)
@json_option
def approve(root: Path, request_file: Path, out: Path, replace: bool, as_json: bool) -> None:
    """Check REQUEST, enrol its gateway and write the bundle for it."""
    from lamppost.envelope.enrolment import read_request
    from lamppost_hub import founding
    from lamppost_hub.clock import SystemClock
    from lamppost_hub.files import durable_write
    from lamppost_hub.folder import HubFolder

    folder = HubFolder(root)
    database = founding.open_database(folder)
    request = read_request(founding.read_request_file(request_file))
    issued, bundle = founding.approve(folder, database, request, SystemClock(), replace=replace)
    durable_write(out, bundle, mode=0o644)
    database.close()
    content = {
        "gateway": request.gateway,
        "key": request.envelope_key.kid.hex(),
        "serial": issued.serial,
        "not_after_ns": issued.not_after,
        "bundle": str(out),
    }
    lines = [f"gateway {request.gateway}", f"key     {request.envelope_key.kid.hex()}"]
    finish(
        "hub-enrol-approve",
        content,
        lines,
        f"enrolled; bring {out} to the gateway",
        as_json=as_json,
    )


@command.command()
@hub_argument
@click.argument("gateway")
@json_option
def revoke(root: Path, gateway: str, as_json: bool) -> None:
    """Refuse everything of GATEWAY from now on, on an open session too."""
    from lamppost_hub.folder import HubFolder
    from lamppost_hub.founding import open_database
    from lamppost_hub.registry import Registry

    database = open_database(HubFolder(root))
    Registry(database).revoke(gateway)
    database.close()
    verdict = f"{gateway} is revoked; the receiver refuses it from its next message on"
    finish("hub-enrol-revoke", {"gateway": gateway}, [], verdict, as_json=as_json)


@command.command("list")
@hub_argument
@json_option
def show(root: Path, as_json: bool) -> None:
    """All enrolled gateways."""
    from lamppost_hub.cli.text import moment
    from lamppost_hub.folder import HubFolder
    from lamppost_hub.founding import open_database
    from lamppost_hub.registry import Registry

    database = open_database(HubFolder(root))
    found = Registry(database).gateways()
    database.close()
    rows = [
        {
            "gateway": gateway.id,
            "state": gateway.state,
            "key": gateway.kid.hex(),
            "enrolled_ns": gateway.enrolled,
            "seen_ns": gateway.seen,
            "not_after_ns": gateway.not_after,
        }
        for gateway in found
    ]
    lines = [
        f"{gateway.id:20} {gateway.state:12} certificate until {moment(gateway.not_after)}"
        for gateway in found
    ]
    finish("hub-enrol-list", {"gateways": rows}, lines, f"{len(rows)} gateways", as_json=as_json)


@command.command("approve-epoch")
@hub_argument
@click.argument("gateway")
@click.argument("epoch")
@json_option
def approve_epoch(root: Path, gateway: str, epoch: str, as_json: bool) -> None:
    """Let GATEWAY begin again with EPOCH; its older epochs are closed for ever."""
    from lamppost_hub import founding
    from lamppost_hub.clock import SystemClock
    from lamppost_hub.folder import HubFolder

    folder = HubFolder(root)
    database = founding.open_database(folder)
    founding.approve_epoch(folder, database, gateway, epoch, SystemClock())
    database.close()
    verdict = f"{gateway} continues with epoch {epoch}"
    finish(
        "hub-enrol-approve-epoch",
        {"gateway": gateway, "epoch": epoch},
        [],
        verdict,
        as_json=as_json,
    )
