"""`lamppost firstboot`: from a seed on the boot partition to an enrolled gateway with its first configuration.

Every step may be done again, so the unit simply starts it once more until it succeeds. It tells the truth where a
person without a network can see it: a log on the boot partition, one line on the console, the board's LED.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from lamppost.cli.main import state_option
from lamppost.errors import HubError, LamppostError, TrustError

if TYPE_CHECKING:
    from lamppost.cli.telltale import Telltale

SEED = "lamppost/seed.toml"
ROOT = "tuf-root.json"


@click.command()
@click.option(
    "--boot",
    type=click.Path(path_type=Path, exists=True, file_okay=False),
    default=Path("/boot/firmware"),
    show_default=True,
    help="the boot partition",
)
@click.option(
    "--site",
    type=click.Path(path_type=Path, dir_okay=False),
    default=Path("/etc/lamppost/site.toml"),
    show_default=True,
    help="where the first configuration goes",
)
@click.option(
    "--batch-key",
    type=click.Path(path_type=Path, dir_okay=False),
    default=Path("/etc/lamppost/batch.pub"),
    show_default=True,
    help="the only key that may have signed the seed, if this file is there",
)
@state_option
def command(boot: Path, site: Path, batch_key: Path, state: Path) -> None:
    """Become the gateway that the seed names. Does nothing where that is done already."""
    from lamppost.cli.telltale import Telltale
    from lamppost.clock import SystemClock

    tell = Telltale(boot / "lamppost", SystemClock())
    seed_file = boot / SEED
    if not seed_file.exists():
        _without_seed(state, seed_file)
        return
    tell.works(f"first boot, board {_board() or 'without serial number'}")
    try:
        gateway = _become(seed_file, site, batch_key, state, tell)
    except LamppostError as error:
        tell.failed(f"{error.code}: {error}; {error.hint}")
        raise
    seed_file.unlink()
    tell.done(f"{gateway} is enrolled and configured")
    click.echo(f"OK {gateway} is enrolled and configured")


def _without_seed(state: Path, seed_file: Path) -> None:
    from lamppost.envelope import identity

    try:
        found = identity.load(state / "identity")
    except TrustError:
        raise TrustError(
            f"there is no seed in {seed_file}",
            code="seed.absent",
            hint="write one: lamppost-kit seed BOOT-PARTITION …, or enrol by hand: lamppost enrol",
        ) from None
    click.echo(f"OK nothing to do: this is {found.gateway}")


def _become(seed_file: Path, site: Path, batch_key: Path, state: Path, tell: Telltale) -> str:
    from lamppost.envelope import identity
    from lamppost.envelope.public import PublicKey
    from lamppost.envelope.seed import read_seed
    from lamppost.files import durable_write
    from lamppost.uplink import est

    trusted = PublicKey.from_pem(batch_key.read_text("ascii")) if batch_key.exists() else None
    seed, key = read_seed(_bytes_of(seed_file), trusted)
    tell.step(f"seed of batch {seed.batch} for {seed.gateway}, signed by {key.kid.hex()[:16]}")
    folder = state / "identity"
    envelope_key = identity.create(folder, seed.gateway)
    tell.step(f"key {envelope_key.kid.hex()[:16]} made on this board")
    ca = est.server_ca(seed.hub, seed.pin)
    request = identity.request(folder, board=_board())
    bundle = est.enrol(seed.hub, ca, request, gateway=seed.gateway, token=seed.token)
    identity.install(folder, bundle)
    identity.remember_hub(folder, seed.hub)
    tell.step(f"enrolled at {identity.load(folder).hub}")
    if seed.root:
        durable_write(folder / ROOT, seed.root.encode(), 0o640)
    if not site.exists():
        durable_write(site, _first_configuration(state, seed.hub, seed.group), 0o640)
    tell.step(f"configuration in {site}")
    return seed.gateway


def _first_configuration(state: Path, url: str, group: str) -> bytes:
    """The site file that the hub has published for this gateway, verified like every later one."""
    from lamppost.clock import SystemClock
    from lamppost.envelope import identity
    from lamppost.ota.refusal import ConfigRefused
    from lamppost.ota.sources import Credentials, HttpsSource
    from lamppost.ota.trust import Repository

    found = identity.load(state / "identity")
    try:
        root = (state / "identity" / ROOT).read_bytes()
    except OSError:
        raise ConfigRefused("ota.no-root", "neither seed nor hub brought the root") from None
    files = Credentials(found.tls_certificate, found.tls_key, found.server_ca)
    source = HttpsSource(url, files, check_time=True)
    repository = Repository(state / "ota" / "tuf", root, source, SystemClock().utc())
    target = f"{group}/{found.gateway}/site.toml"
    offer = repository.look(target).offer
    if offer is None:
        raise HubError(
            f"the hub has no {target}",
            code="ota.nothing-published",
            hint="the operator publishes it: lamppost-hub publish; this board tries again by itself",
            retry=True,
        )
    return repository.fetch(offer)


def _bytes_of(path: Path) -> bytes:
    from lamppost.envelope.seed import MAX_SEED

    with path.open("rb") as file:
        return file.read(MAX_SEED + 1)


def _board() -> str:
    from lamppost.files import board_serial

    return board_serial()
