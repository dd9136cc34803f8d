"""`lamppost trust`: who this gateway is, whom it believes, and until when."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import click

from lamppost.cli.bus import reached

if TYPE_CHECKING:
    from lamppost.diagnosis.facts import Facts


@click.group()
def command() -> None:
    """Keys and certificates: show, verify, renew."""


@command.command()
@reached
@click.option("--json", "as_json", is_flag=True, help="one object, schema lamppost.trust-show/1")
def show(socket: Path, state: Path, site: Path, as_json: bool) -> None:
    """Gateway, hub, fingerprints to read over the phone, dates. No key is shown."""
    from lamppost.cli.looks import look

    code = look(
        "lamppost.trust-show/1", ["clock", "trust"], _rows, _well,
        socket=socket, state=state, site=site, as_json=as_json,
    )  # fmt: skip
    if code:
        raise SystemExit(code)


@command.command()
@reached
@click.option("--json", "as_json", is_flag=True, help="one object, schema lamppost.trust-verify/1")
def verify(socket: Path, state: Path, site: Path, as_json: bool) -> None:
    """Do keys, certificate, site file and the hub's broker fit one another? Asks the broker, sends nothing."""
    from lamppost.cli.looks import look

    areas = ["clock", "net", "trust", "config", "uplink"]
    code = look(
        "lamppost.trust-verify/1", areas, _verify_rows, _well,
        socket=socket, state=state, site=site, as_json=as_json,
    )  # fmt: skip
    if code:
        raise SystemExit(code)


@command.command()
@reached
def renew(socket: Path, state: Path, site: Path) -> None:
    """Another certificate from the hub, now. The daemon does it, or without one this command."""
    from lamppost.envelope import identity
    from lamppost.errors import HubError, TrustError
    from lamppost.files import board_serial
    from lamppost.status.control import ask
    from lamppost.uplink.renewal import renew as renewed

    folder = state / "identity"
    try:
        ask(socket, {"do": "renew"})
    except HubError:
        url = identity.hub_url(folder)
        if not url:
            raise TrustError(
                "this gateway was enrolled without an enrolment server",
                code="trust.no-server",
                hint="enrol again with the hub's URL: lamppost enrol GATEWAY --hub URL --pin SHA256",
            ) from None
        renewed(folder, url, board_serial())
        click.echo("OK renewed; the daemon takes it at its next start")
        return
    click.echo("via daemon")
    click.echo("OK asked; in a minute look at: lamppost trust show")


def _rows(facts: Facts) -> Iterator[tuple[str, str]]:
    from lamppost.diagnosis.checks.clock import utc_text

    trust = facts.trust
    if trust is None:
        yield "identity", "this user may not read it: use sudo"
        return
    if trust.code:
        return
    yield "gateway", trust.gateway
    yield "our key", trust.ours
    yield "hub", trust.hub
    yield "hub's key", trust.theirs
    yield "valid", f"from {utc_text(trust.since)} until {utc_text(trust.until)}"


def _verify_rows(facts: Facts) -> Iterator[tuple[str, str]]:
    yield from _rows(facts)
    if facts.tls is not None:
        yield "broker", facts.tls.why or "is the hub's, and takes our certificate"


def _well(facts: Facts) -> str:
    trust = facts.trust
    return f"{trust.gateway} of {trust.hub}" if trust and trust.gateway else "nothing could be seen"
