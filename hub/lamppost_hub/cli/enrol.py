"""`lamppost-hub enrol serve | token | approve | revoke | list | approve-epoch`."""

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


@command.command()
@hub_argument
@click.argument("gateway")
@click.option("--hours", type=click.IntRange(1, 8760), default=24, show_default=True)
@click.option(
    "--replace", is_flag=True, help="the hardware or card is new, or a revoked gateway comes back"
)
@json_option
def token(root: Path, gateway: str, hours: int, replace: bool, as_json: bool) -> None:
    """Make a one-time token for GATEWAY. It is shown once; an older one of the same gateway ends."""
    from lamppost_hub.ca import fingerprint
    from lamppost_hub.clock import SystemClock
    from lamppost_hub.folder import HubFolder
    from lamppost_hub.founding import SERVER_CA, open_database
    from lamppost_hub.tokens import Tokens

    folder = HubFolder(root)
    database = open_database(folder)
    made = Tokens(database).make(gateway, SystemClock().utc(), hours=hours, replace=replace)
    database.close()
    pin = fingerprint(folder.ca / f"{SERVER_CA}.pem")
    lines = [
        f"token {made}",
        f"pin   {pin}",
        f"valid for {hours} h, once; on the gateway: lamppost enrol {gateway} --hub URL --pin PIN",
    ]
    content = {"gateway": gateway, "token": made, "pin": pin, "hours": hours}
    finish("hub-enrol-token", content, lines, f"made for {gateway}", as_json=as_json)


@command.command()
@hub_argument
@click.option("--host", default="127.0.0.1", show_default=True, help="address to listen on")
@click.option("--port", type=click.IntRange(0, 65535), default=8443, show_default=True)
def serve(root: Path, host: str, port: int) -> None:
    """The enrolment server (EST, RFC 7030) until SIGTERM; it serves released configuration too.

    Prints one line `ready URL` once it listens.
    """
    from lamppost_hub.cli.serving import serve_until_stopped
    from lamppost_hub.clock import SystemClock
    from lamppost_hub.folder import HubFolder
    from lamppost_hub.front_door import enrolment

    folder, clock = HubFolder(root), SystemClock()
    serve_until_stopped(folder, host, port, enrolment(folder, clock), clock)
