"""`lamppost config show | diff | history | test | rollback | fetch`: by the daemon where it runs, else on its files."""

from __future__ import annotations

import difflib
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import orjson

from lamppost.cli.main import socket_option, state_option
from lamppost.errors import HubError, LamppostError, StoreError
from lamppost.status.control import ask

if TYPE_CHECKING:
    from lamppost.ota.generations import Generations
    from lamppost.ota.state import Generation

_FILE = click.Path(path_type=Path, exists=True, dir_okay=False)
LOCAL = Path("/etc/lamppost/site.toml")
TRIES = 50  # a fifth of a second each


def _json(command: Any) -> Any:
    return click.option("--json", "as_json", is_flag=True, help="one JSON object")(command)


def _local(command: Any) -> Any:
    return click.option(
        "--file",
        "local",
        type=click.Path(path_type=Path, dir_okay=False),
        default=LOCAL,
        show_default=True,
        help="the site file that runs where no signed configuration does",
    )(command)


@click.command()
@state_option
@socket_option
@_local
@_json
def show(state: Path, socket: Path, local: Path, as_json: bool) -> None:
    """The configuration that runs, and where it came from."""
    found, via = _status(state, socket)
    raw = _content(state, found["runs"], local)
    if as_json:
        text = raw.decode("utf-8", "replace")
        _print({"schema": "lamppost.config-show/1", "via": via, **found, "content": text})
    else:
        click.echo(raw.decode("utf-8", "replace").rstrip())
        for line in _lines(found, local):
            click.echo(line)
    _verdict(found)


@click.command()
@click.argument("file", type=_FILE, required=False)
@state_option
@socket_option
@_local
def diff(file: Path | None, state: Path, socket: Path, local: Path) -> None:
    """What differs between FILE and what runs; without FILE, between what ran before and what runs."""
    found, _ = _status(state, socket)
    runs = _content(state, found["runs"], local)
    if file is not None:
        before, after, names = runs, file.read_bytes(), ("running", str(file))
    else:
        if not found["runs"]:
            click.echo("OK the local site file runs, nothing came before it")
            return
        before, after = _content(state, found["before"], local), runs
        names = (_name(found["before"], local), _name(found["runs"], local))
    lines = list(
        difflib.unified_diff(
            before.decode("utf-8", "replace").splitlines(),
            after.decode("utf-8", "replace").splitlines(),
            *names,
            lineterm="",
        )
    )
    for line in lines:
        click.echo(line)
    count = sum(line[:1] in "+-" for line in lines[2:])
    click.echo(f"OK {count} lines differ")


@click.command()
@state_option
@socket_option
@_json
def history(state: Path, socket: Path, as_json: bool) -> None:
    """What was tried here, what became of it and why; the newest last."""
    found, via = _status(state, socket)
    if as_json:
        _print({"schema": "lamppost.config-history/1", "via": via, "history": found["history"]})
        return
    for line in found["history"]:
        serial = f"serial {line['serial']}" if line["serial"] else "local"
        click.echo(f"{line['number']:4} {serial:12} {line['outcome']:12} {_moment(line['at'])}")
        if line["code"]:
            click.echo(f"     {line['code']}: {line['reason']}")
    click.echo(f"OK {len(found['history'])} tried, floor at serial {found['floor']}")


@click.command()
@click.argument("file", type=_FILE)
@state_option
@socket_option
@_local
def test(file: Path, state: Path, socket: Path, local: Path) -> None:
    """Try FILE as this gateway's configuration: what fails its trial goes back by itself within three minutes."""
    content = file.read_bytes()
    text = content.decode("utf-8", "surrogateescape").encode("utf-8", "replace").decode("utf-8")
    numbers: list[int] = []

    def on_files(generations: Generations) -> None:
        from lamppost.ota.state import Baseline

        _fits(content, state, local)
        numbers.append(generations.stage(content, Baseline(), origin="local").number)

    answer = _done(socket, {"do": "config-test", "content": text}, state, on_files)
    if answer is not None:
        number = answer["number"]
        click.echo(f"OK generation {number} is tried; see how it goes: lamppost config history")
    else:
        click.echo(f"OK generation {numbers[0]} is tried when the daemon starts")


@click.command()
@state_option
@socket_option
def rollback(state: Path, socket: Path) -> None:
    """One step back: ends a trial, or returns to what ran before. It is not taken again by itself."""
    from lamppost.clock import SystemClock

    def on_files(generations: Generations) -> None:
        generations.roll_back(SystemClock().utc())

    _done(socket, {"do": "config-rollback"}, state, on_files)
    found, _ = _files_status(state)
    click.echo(f"OK back to {_name(found['runs'], LOCAL)}")


@click.command()
@socket_option
def fetch(socket: Path) -> None:
    """Have the daemon look for a configuration now: on a stick, then at the hub."""
    if _asked(socket, {"do": "config-fetch"}) is None:
        raise HubError(
            f"no daemon answers at {socket}",
            code="daemon.not-running",
            hint="start it with: systemctl start lamppost  (or name its socket with --socket)",
        )
    click.echo("OK it looks; see what it found: lamppost config show")


# -- within ----------------------------------------------------------------------------------------


def _asked(socket: Path, request: Mapping[str, Any]) -> dict[str, Any] | None:
    """The daemon's answer; None where none runs. Raises what the daemon refused."""
    try:
        answer = ask(socket, request)
    except HubError as error:
        if error.code == "daemon.not-running":
            return None
        raise
    if "error" in answer:
        raise LamppostError(
            str(answer.get("message", answer["error"])),
            code=str(answer["error"]),
            hint=str(answer.get("hint", "use a lamppost of the daemon's version")),
        )
    return answer


def _done(
    socket: Path,
    request: Mapping[str, Any],
    state: Path,
    on_files: Callable[[Generations], None],
) -> dict[str, Any] | None:
    """Have it done by the daemon, else on its files; None then. A daemon that just starts again is waited for."""
    for _ in range(TRIES):
        if (answer := _asked(socket, request)) is not None:
            return answer
        try:
            with _files(state) as generations:
                on_files(generations)
            return None
        except StoreError as held:
            if held.code != "store.in-use":
                raise
            threading.Event().wait(0.2)
    with _files(state) as generations:
        on_files(generations)
    return None


def _status(state: Path, socket: Path) -> tuple[dict[str, Any], str]:
    found = _asked(socket, {"do": "config"})
    return (found, "daemon") if found is not None else _files_status(state)


def _files_status(state: Path) -> tuple[dict[str, Any], str]:
    from lamppost.ota.generations import Generations
    from lamppost.ota.report import entry, report

    found = Generations(state / "ota").state
    return {**report(found), "history": [entry(line) for line in found.history]}, "direct"


@contextmanager
def _files(state: Path) -> Iterator[Generations]:
    """The generations themselves, while no daemon holds them."""
    from lamppost.files import locked
    from lamppost.ota.generations import Generations

    state.mkdir(parents=True, exist_ok=True)
    with locked(state / "lock", "state folder"):
        yield Generations(state / "ota")


def _fits(content: bytes, state: Path, local: Path) -> None:
    from lamppost.acquire import site_file
    from lamppost.configuring import fits
    from lamppost.envelope import identity
    from lamppost.errors import TrustError

    site, _ = site_file.parse(content, local)
    try:
        who = identity.load(state / "identity")
    except TrustError:
        who = None
    fits(site, who, site, state)


def _content(state: Path, generation: Mapping[str, Any], local: Path) -> bytes:
    """The bytes of a generation as `report` names it; the local file where there is none."""
    if not generation:
        return local.read_bytes() if local.exists() else b""
    from lamppost.ota.generations import Generations

    named = _generation(generation)
    return Generations(state / "ota").content(named)


def _generation(found: Mapping[str, Any]) -> Generation:
    from lamppost.ota.state import Generation

    return Generation(found["number"], found["sha256"])


def _lines(found: Mapping[str, Any], local: Path) -> Iterator[str]:
    yield ""
    yield f"# {found['state']}: {_name(found['runs'], local)}"
    if found["waits"]:
        turn = f" (from {_moment(found['turn'])})" if found["turn"] else ""
        yield f"# serial {found['offered']} is offered, {found['waits']}{turn}"
    if found["refused"]:
        refused = found["refused"]
        yield f"# serial {refused['serial']} is refused: {refused['code']}: {refused['reason']}"


def _name(generation: Mapping[str, Any], local: Path) -> str:
    if not generation:
        return f"the local site file {local}"
    whence = f"serial {generation['serial']}" if generation["serial"] else "tried on this gateway"
    return f"generation {generation['number']}, {whence}, {generation['sha256'][:12]}"


def _verdict(found: Mapping[str, Any]) -> None:
    """The closing line; exits with 1 where something is wrong."""
    fault, last = found["fault"], found["last"]
    if fault:
        click.echo(f"PROBLEM {fault['code']}: {fault['hint']}")
        raise SystemExit(1)
    if last and last["outcome"] == "reverted" and last["number"] > found["runs"].get("number", 0):
        click.echo(f"PROBLEM {last['code']}: serial {last['serial']} was taken back")
        raise SystemExit(1)
    click.echo(f"OK {found['state']}")


def _moment(utc: int) -> str:
    import datetime as dt

    return dt.datetime.fromtimestamp(utc, dt.UTC).strftime("%Y-%m-%d %H:%M:%SZ")


def _print(found: Mapping[str, Any]) -> None:
    click.echo(orjson.dumps(found, option=orjson.OPT_INDENT_2).decode())


COMMANDS = (show, diff, history, test, rollback, fetch)
