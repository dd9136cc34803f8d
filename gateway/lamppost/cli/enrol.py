"""`lamppost enrol`: keys are made here and never leave; the hub answers with certificates and its own keys."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import click

from lamppost.cli.main import state_option
from lamppost.errors import TrustError


@click.command()
@click.argument("gateway")
@click.option(
    "--local",
    "hub_folder",
    type=click.Path(path_type=Path, exists=True, file_okay=False),
    required=True,
    help="state folder of a hub on this machine (made by lamppost-hub init)",
)
@state_option
def command(gateway: str, hub_folder: Path, state: Path) -> None:
    """Enrol as GATEWAY at a hub whose folder is on this machine: bench, demo, single-box sites."""
    from lamppost.envelope import identity

    folder = state / "identity"
    identity.create(folder, gateway)
    request, bundle = folder / "request.json", folder / "bundle.json"
    request.write_bytes(identity.request(folder))
    _approve(hub_folder, request, bundle)
    identity.install(folder, bundle.read_bytes())
    request.unlink()
    bundle.unlink()
    found = identity.load(folder)
    click.echo(f"gateway {found.gateway}, hub {found.hub}")
    click.echo(f"OK enrolled; start it with: lamppost run SITE.toml --state {state}")


def _approve(hub_folder: Path, request: Path, bundle: Path) -> None:
    """The hub decides, by its own program: gateway code never imports hub code."""
    program = shutil.which("lamppost-hub")
    if program is None:
        raise TrustError(
            "lamppost-hub is not installed on this machine",
            code="trust.no-local-hub",
            hint="install the extra: pip install 'lamppost[hub]', or enrol at a remote hub",
        )
    done = subprocess.run(
        [program, "enrol", "approve", str(hub_folder), str(request), "--out", str(bundle)],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        lines = (done.stderr + done.stdout).strip().splitlines() or ["no reason given"]
        raise TrustError(
            "the hub refused: " + " ".join(lines),
            code="trust.enrolment-refused",
            hint=f"look at the gateways it knows: lamppost-hub enrol list {hub_folder}",
        )
