"""`lamppost enrol`: keys are made here and never leave; the hub answers with certificates and its own keys."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import click

from lamppost.cli.main import state_option
from lamppost.errors import TrustError

MAX_FILE = 1 << 18


@click.command()
@click.argument("gateway")
@click.option("--hub", "url", metavar="URL", help="the hub's enrolment server, https://…")
@click.option("--pin", metavar="SHA256", help="of the hub's server CA, printed with the token")
@click.option(
    "--token-file",
    type=click.Path(path_type=Path, dir_okay=False, allow_dash=True),
    help="where the one-time token is, - for standard input; without it you are asked",
)
@click.option(
    "--local",
    "hub_folder",
    type=click.Path(path_type=Path, exists=True, file_okay=False),
    help="state folder of a hub on this machine (made by lamppost-hub init)",
)
@click.option(
    "--request",
    "request_file",
    type=click.Path(path_type=Path, dir_okay=False),
    help="without a network: write the request here and carry it to the hub",
)
@click.option(
    "--install",
    "bundle_file",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="without a network: the bundle that came back",
)
@state_option
def command(
    gateway: str,
    url: str | None,
    pin: str | None,
    token_file: Path | None,
    hub_folder: Path | None,
    request_file: Path | None,
    bundle_file: Path | None,
    state: Path,
) -> None:
    """Enrol this machine as GATEWAY, by one of --hub, --local, or --request and then --install.

    Doing it again is safe: the envelope key stays, and vouches for the gateway where a token was used up.
    """
    ways = [way for way in (url, hub_folder, request_file, bundle_file) if way is not None]
    if len(ways) != 1 or (url is None) != (pin is None):
        raise click.UsageError(
            "give one of: --hub URL --pin SHA256 | --local DIR | --request FILE | --install FILE"
        )
    from lamppost.envelope import identity

    folder = state / "identity"
    identity.create(folder, gateway)
    if request_file is not None:
        request_file.write_bytes(identity.request(folder, board=_board()))
        click.echo(
            f"OK written; at the hub: lamppost-hub enrol approve DIR {request_file} --out FILE"
        )
        return
    if url is not None and pin is not None:
        _by_est(folder, gateway, url, pin, token_file)
    elif hub_folder is not None:
        _by_local_hub(folder, hub_folder)
    elif bundle_file is not None:
        with bundle_file.open("rb") as file:
            identity.install(folder, file.read(MAX_FILE + 1))
    found = identity.load(folder)
    click.echo(f"gateway {found.gateway}, hub {found.hub}")
    click.echo(f"OK enrolled; start it with: lamppost run SITE.toml --state {state}")


def _board() -> str:
    from lamppost.files import board_serial

    return board_serial()


def _by_est(folder: Path, gateway: str, url: str, pin: str, token_file: Path | None) -> None:
    from lamppost.envelope import identity
    from lamppost.uplink import est

    ca = est.server_ca(url, pin)
    request = identity.request(folder, board=_board())
    bundle = est.enrol(url, ca, request, gateway=gateway, token=_token(token_file))
    identity.install(folder, bundle)
    identity.remember_hub(folder, url)


def _token(file: Path | None) -> str:
    if file is None and not sys.stdin.isatty():
        return ""  # the envelope key may vouch already
    if file is None:
        return str(click.prompt("token", hide_input=True, default="", show_default=False)).strip()
    with click.open_file(str(file)) as opened:
        return str(opened.read(1024)).strip()


def _by_local_hub(folder: Path, hub_folder: Path) -> None:
    from lamppost.envelope import identity

    request, bundle = folder / "request.json", folder / "bundle.json"
    request.write_bytes(identity.request(folder, board=_board()))
    _approve(hub_folder, request, bundle)
    identity.install(folder, bundle.read_bytes())
    request.unlink()
    bundle.unlink()


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
