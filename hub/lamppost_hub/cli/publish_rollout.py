"""`lamppost-hub publish stage | sign | release | watch | halt`: a configuration on its way to gateways."""

from __future__ import annotations

import difflib
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from lamppost_hub.cli.main import finish, hub_argument, json_option

if TYPE_CHECKING:
    from lamppost_hub.clock import Clock
    from lamppost_hub.publish.progress import Progress

SHOWN = 40  # lines of differences shown to an approver for each different one


@click.command()
@hub_argument
@click.argument("group")
@click.argument("folder", type=click.Path(path_type=Path, exists=True, file_okay=False))
@click.option(
    "--steps",
    default="5%@now,25%@+1d,100%@+2d",
    show_default=True,
    help="who may take it from when: now, +2h, or 2026-11-24T03:00Z",
)
@click.option(
    "--soak", default="1d", show_default=True, help="after the last step a halt undoes it"
)
@click.option("--urgent", is_flag=True, help="does not wait for maintenance windows and holds")
@click.option("--again", is_flag=True, help="also sites that are unchanged, or failed before")
@click.option("--unchecked", is_flag=True, help="without `lamppost config check`")
@json_option
def stage(
    root: Path,
    group: str,
    folder: Path,
    steps: str,
    soak: str,
    urgent: bool,
    again: bool,
    unchecked: bool,
    as_json: bool,
) -> None:
    """Render the sites of FOLDER (group.toml, gateways/NAME.toml), check them, and lay them out to be signed."""
    from lamppost_hub.clock import SystemClock
    from lamppost_hub.publish import office, render
    from lamppost_hub.publish.repository import Terms
    from lamppost_hub.publish.schedule import read_steps, span

    utc = SystemClock().utc()
    terms = Terms(read_steps(steps, utc), span(soak), urgent, again)
    sites = render.sites(folder)
    if not unchecked:
        render.check(sites)
    with office.repository(root) as repo:
        changed = repo.stage(group, sites, terms, utc)
        pending = repo.pending / group
    lines = [f"{len(changed)} of {len(sites)} gateways change: {', '.join(changed[:10])}"]
    verdict = f"staged; two approvers: lamppost-hub publish sign {pending} --key FILE"
    content = {"group": group, "changed": changed, "pending": str(pending)}
    finish("hub-publish-stage", content, lines, verdict, as_json=as_json)


@click.command()
@click.argument("folder", type=click.Path(path_type=Path, exists=True, file_okay=False))
@click.option(
    "--key", "file", type=click.Path(path_type=Path, exists=True, dir_okay=False), required=True
)
@click.option("--yes", is_flag=True, help="sign without asking")
@json_option
def sign(folder: Path, file: Path, yes: bool, as_json: bool) -> None:
    """Look at what waits in FOLDER (DIR/publish/pending/ROLE, or a copy of it on any machine), and sign it."""
    from lamppost.envelope.keys import FileSigner
    from lamppost_hub.publish import repository, roles

    signer = FileSigner.load(file)
    metadata = roles.read((folder / "role.json").read_bytes())
    for line in _what_is_signed(folder, metadata.signed):
        click.echo(line, err=True)
    if not yes:
        click.confirm("Sign this?", abort=True, err=True)
    signed = repository.sign(folder, signer)
    content = {"folder": str(folder), "signatures": len(signed.signatures)}
    verdict = f"signed, {len(signed.signatures)} signatures; next: lamppost-hub publish release DIR"
    finish("hub-publish-sign", content, [], verdict, as_json=as_json)


@click.command()
@hub_argument
@json_option
def release(root: Path, as_json: bool) -> None:
    """Bring into force what has its signatures. From here on gateways take it, each at its turn."""
    from lamppost_hub.clock import SystemClock
    from lamppost_hub.publish import office

    utc = SystemClock().utc()
    with office.repository(root) as repo:
        released = repo.release(utc)
        groups = [role for role in released if role not in ("root", "targets")]
        mine = [p for p in repo.published() if p.group in groups] if groups else []
        office.tell(repo, [p.gateway for p in mine], utc)
    newest = max((p.serial for p in mine), default=0)
    rollouts = sorted({p.rollout for p in mine if p.serial == newest})
    lines = [f"roll-out {name}" for name in rollouts]
    verdict = f"released: {', '.join(released)}"
    if rollouts:
        verdict += f"; next: lamppost-hub publish watch {root} {rollouts[0]}"
    content = {"roles": released, "rollouts": rollouts}
    finish("hub-publish-release", content, lines, verdict, as_json=as_json)


@click.command()
@hub_argument
@click.argument("rollout")
@json_option
def halt(root: Path, rollout: str, as_json: bool) -> None:
    """Stop ROLLOUT: nobody else takes it, and who took it goes back while its time lasts."""
    from lamppost_hub.clock import SystemClock

    _halt(root, rollout, SystemClock())
    verdict = f"{rollout} is halted; mend the sites and stage them again"
    finish("hub-publish-halt", {"rollout": rollout}, [], verdict, as_json=as_json)


@click.command()
@hub_argument
@click.argument("rollout")
@click.option(
    "--halt-above",
    type=click.FloatRange(0, 100),
    default=2.0,
    show_default=True,
    help="halt when more than so many percent (and more than one gateway) failed",
)
@click.option("--every", default="30s", show_default=True, help="between two looks")
@click.option("--once", is_flag=True, help="look once; never halts")
@json_option
def watch(
    root: Path, rollout: str, halt_above: float, every: str, once: bool, as_json: bool
) -> None:
    """Follow ROLLOUT by what gateways report, until all have it, or halt it when too many fail."""
    import asyncio

    from lamppost_hub.clock import SystemClock
    from lamppost_hub.publish.schedule import span

    clock, shown = SystemClock(), ""
    while True:
        now = _progress(root, rollout, clock)
        line = _summary(now)
        if line != shown and not as_json:
            click.echo(line, err=True)
            shown = line
        if not once and not now.halted and now.too_many_failed(halt_above):
            _halt(root, rollout, clock)
            now = _progress(root, rollout, clock)
        if once or now.halted or now.count("confirmed") == len(now.places):
            break
        asyncio.run(clock.sleep(span(every)))
    _tell(now, as_json)


def _progress(root: Path, rollout: str, clock: Clock) -> Progress:
    from lamppost_hub.folder import HubFolder
    from lamppost_hub.founding import open_database
    from lamppost_hub.publish import office
    from lamppost_hub.publish.progress import progress
    from lamppost_hub.publish.refusal import PublishError
    from lamppost_hub.publish.reports import reports

    folder = HubFolder(root)
    database = open_database(folder)
    try:
        said = reports(database, folder.settings().id)
    finally:
        database.close()
    with office.repository(root) as repo:
        published, halted = repo.published(), rollout in repo.halted()
    found = progress(rollout, published, said, clock.utc(), halted=halted)
    if not found.places:
        raise PublishError("publish.unknown-rollout", f"no gateway is offered {rollout!r}")
    return found


def _halt(root: Path, rollout: str, clock: Clock) -> None:
    from lamppost_hub.publish import office

    utc = clock.utc()
    with office.repository(root) as repo:
        repo.halt(rollout, utc)
        office.tell(repo, [p.gateway for p in repo.published() if p.rollout == rollout], utc)


def _tell(now: Progress, as_json: bool) -> None:
    from dataclasses import asdict

    bad = [p for p in now.places if p.stands in ("failed", "back")]
    lines = [_summary(now)]
    lines += [f"  {p.gateway:20} {p.stands}: {p.code}: {p.reason}" for p in bad[:20]]
    ok = not now.halted and not now.count("failed")
    verdict = f"{now.rollout}: {now.count('confirmed')} of {len(now.places)} confirmed"
    if now.halted:
        verdict = f"{now.rollout} is halted, {now.touched} of {len(now.places)} had it"
    elif not ok:
        verdict = f"{now.rollout}: {now.count('failed')} failed; halt it: lamppost-hub publish halt"
    content = {
        "rollout": now.rollout,
        "halted": now.halted,
        "gateways": [asdict(p) for p in now.places],
    }
    finish("hub-publish-watch", content, lines, verdict, as_json=as_json, ok=ok)


def _summary(now: Progress) -> str:
    counts = Counter(place.stands for place in now.places)
    words = [
        f"{counts[s]} {s}"
        for s in ("confirmed", "trial", "failed", "back", "due", "waiting")
        if counts[s]
    ]
    return f"{now.rollout}: {', '.join(words)}" + (", HALTED" if now.halted else "")


def _what_is_signed(folder: Path, signed: Any) -> list[str]:
    """What an approver must see: for whom, when, and what differs from what runs."""
    from lamppost_hub.cli.text import moment
    from lamppost_hub.publish import roles

    head = f"{folder.name}, version {signed.version}, valid until {signed.expires:%Y-%m-%d}"
    lines = [head]
    if folder.name in roles.TOP:
        return lines + roles.summary(signed)
    changed = sorted((folder / "now").glob("*.toml"))
    custom = next(
        t.unrecognized_fields["custom"]
        for t in signed.targets.values()
        if t.path.split("/")[1] == changed[0].stem
    )
    lines += [f"serial {custom['serial']}, {len(changed)} gateways change:"]
    lines += [f"  {share / 100:g} % from {moment(at * 10**9)}" for share, at in custom["steps"]]
    lines += [f"  halted before {moment(custom['until'] * 10**9)} it goes back"]
    different: dict[str, list[str]] = {}
    for file in changed:
        before = (folder / "before" / file.name).read_text().splitlines()
        now = file.read_text().splitlines()
        delta = [
            d
            for d in difflib.unified_diff(before, now, lineterm="", n=1)
            if d[:3] not in ("---", "+++")
        ]
        different.setdefault("\n".join(delta), []).append(file.stem)
    for delta_text, gateways in different.items():
        lines.append(
            ", ".join(gateways[:8])
            + (f" and {len(gateways) - 8} more" if len(gateways) > 8 else "")
        )
        shown = delta_text.splitlines()
        lines += [f"  {line}" for line in shown[:SHOWN]]
        if len(shown) > SHOWN:
            lines.append(f"  … {len(shown) - SHOWN} more lines, see {folder / 'now'}")
    return lines


COMMANDS = (stage, sign, release, watch, halt)
