"""`lamppost-hub ca show | renew`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from lamppost_hub.cli.main import finish, hub_argument, json_option

ROOT_YEARS = 2
_NANOSECONDS_A_DAY = 86_400 * 1_000_000_000


@click.group()
def command() -> None:
    """The certificate authorities: how long they last, and how they are renewed."""


@command.command()
@hub_argument
@json_option
def show(root: Path, as_json: bool) -> None:
    """When each certificate of the hub ends. A problem at half of its life, for a root two years before its end."""
    from lamppost_hub.ca import life_of
    from lamppost_hub.cli.text import moment
    from lamppost_hub.clock import SystemClock
    from lamppost_hub.folder import HubFolder
    from lamppost_hub.founding import DEVICE_CA, DEVICE_ROOT, SERVER_CA

    folder, utc = HubFolder(root), SystemClock().utc()
    folder.settings()
    roots = [folder.ca / f"{name}.pem" for name in (DEVICE_ROOT, SERVER_CA)]
    renewed = [folder.ca / f"{DEVICE_CA}.pem", *sorted(folder.tls.glob("*.pem"))]
    found: list[dict[str, Any]] = []
    late: list[tuple[int, Path]] = []
    for path in [*roots, *renewed]:
        life = life_of(path)
        days = (life.ends - utc) // _NANOSECONDS_A_DAY
        due = days < ROOT_YEARS * 365 if path in roots else life.left(utc) < 0.5
        if due:
            late.append((days, path))
        found.append({"file": str(path), "ends_ns": life.ends, "days": days, "due": due})
    lines = [
        f"{Path(row['file']).name:16} until {moment(row['ends_ns'])}  {row['days']:5} days"
        + ("  due" if row["due"] else "")
        for row in found
    ]
    if not late:
        finish("hub-ca-show", {"certificates": found}, lines, "nothing is due", as_json=as_json)
        return
    days, path = min(late)
    verdict = f"{path.name} ends in {days} days; type: {_remedy(root, path, roots)}"
    finish("hub-ca-show", {"certificates": found}, lines, verdict, as_json=as_json, ok=False)


def _remedy(root: Path, path: Path, roots: list[Path]) -> str:
    if path in roots:
        return "see how-to/key-ceremony.md, a new root"
    if path.stem.startswith("hub-"):
        return "restart that receiver, it renews its own"
    return f"lamppost-hub ca renew {root} --offline FOLDER"


@command.command()
@hub_argument
@click.option(
    "--offline",
    type=click.Path(path_type=Path, file_okay=False, exists=True),
    required=True,
    help="where the root keys are, such as a mounted stick",
)
@json_option
def renew(root: Path, offline: Path, as_json: bool) -> None:
    """Another issuing CA, broker's and receiver's certificate. What the old ones signed stays valid to its end."""
    from lamppost_hub.clock import SystemClock
    from lamppost_hub.folder import HubFolder
    from lamppost_hub.founding import renew_authorities

    renew_authorities(HubFolder(root), SystemClock(), offline=offline)
    lines = [f"ca/device-ca, tls/server and tls/hub in {root} are new"]
    verdict = "renewed; take the stick away, restart the broker and the receiver"
    finish("hub-ca-renew", {"folder": str(root)}, lines, verdict, as_json=as_json)
