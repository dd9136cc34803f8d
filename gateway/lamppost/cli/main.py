"""The command tree, loaded lazily, and what all commands share: exit codes and how an error is shown."""

from __future__ import annotations

import importlib
import io
import re
import sys
from pathlib import Path
from typing import Any

import click

from lamppost import __version__
from lamppost.cli.terminal import WIDEST, note, say, width, wrapped
from lamppost.errors import LamppostError, TrustError

COMMANDS = {
    "page": ("lamppost.cli.page", "the local page: open, close"),
    "bundle": ("lamppost.cli.bundle", "a file for the support: create, inspect"),
    "trust": ("lamppost.cli.trust", "keys and certificates: show, verify"),
    "uplink": ("lamppost.cli.uplink", "batches to the hub: status, test, tail"),
    "net": ("lamppost.cli.net", "the way to the hub: check, modem"),
    "maint": ("lamppost.cli.maint", "tell the hub that somebody works here"),
    "logs": ("lamppost.cli.logs", "what the gateway program wrote"),
    "identity": ("lamppost.cli.identity", "which gateway this is, for a label or a phone"),
    "clock": ("lamppost.cli.clock", "the time: show, wait"),
    "buffer": ("lamppost.cli.buffer", "what the ring holds, and what the hub has proved"),
    "bus": ("lamppost.cli.bus", "links: list, scan, probe, sniff, soak, raw"),
    "config": ("lamppost.cli.config", "what runs, what was tried; check, test, rollback"),
    "device": ("lamppost.cli.device", "models: search, show, new, lint, decode, selftest, sim"),
    "doctor": ("lamppost.cli.doctor", "every check; what is wrong, why, and what to do"),
    "enrol": ("lamppost.cli.enrol", "make this gateway's keys and join a hub"),
    "explain": ("lamppost.cli.explain", "the page of a finding, without a network"),
    "key": ("lamppost.cli.key", "where the key is; a token or a credential for it"),
    "refused": ("lamppost.cli.refused", "direct mode: what the context broker would not take"),
    "firstboot": ("lamppost.cli.firstboot", "become the gateway that the card's seed names"),
    "sensors": ("lamppost.cli.sensors", "devices: list, read, test, info"),
    "run": ("lamppost.cli.run", "the daemon"),
    "watch": ("lamppost.cli.watch", "live table of the newest values"),
    "wipe": ("lamppost.cli.wipe", "this machine stops being its gateway"),
    "status": ("lamppost.cli.status", "one screen: is this gateway doing its job?"),
}

EXIT_PROBLEM, EXIT_NO_DAEMON, EXIT_BUSY, EXIT_PERMISSION = 1, 3, 4, 5
EXIT_NO_ANSWER, EXIT_CONFIG, EXIT_TRUST = 6, 7, 8
_EXITS = {
    "daemon.not-running": EXIT_NO_DAEMON,
    "daemon.no-permission": EXIT_PERMISSION,
    "daemon.no-answer": EXIT_NO_ANSWER,
    "link.busy": EXIT_BUSY,
    "store.in-use": EXIT_BUSY,
    "link.permission": EXIT_PERMISSION,
    "link.no-answer": EXIT_NO_ANSWER,
}
_EXITS_BY_AREA = {
    "config": EXIT_CONFIG,
    "device": EXIT_CONFIG,
    "ota": EXIT_CONFIG,
    "trust": EXIT_TRUST,
    "envelope": EXIT_TRUST,
    "receipt": EXIT_TRUST,
}


_COMMAND = re.compile(r"\blamppost [a-z][a-z-]*(?: [a-zA-Z0-9_./=-]+)*(?=[;,.)]|$| [(])")
"""A command to type, within a hint."""


class _LazyTree(click.Group):
    """Lists commands from the table above and imports one only to run it."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        command: click.Command = importlib.import_module(COMMANDS[cmd_name][0]).command
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, COMMANDS[name][1]) for name in self.list_commands(ctx)])


@click.group(cls=_LazyTree, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="lamppost")
def tree() -> None:
    """Lamppost: city sensors and meters to the hub, nothing lost."""


def exit_code(error: LamppostError) -> int:
    """The exit code of an error: by its code, else by its area, else 8 where trust failed, else 1."""
    area = error.code.partition(".")[0]
    otherwise = EXIT_TRUST if isinstance(error, TrustError) else EXIT_PROBLEM
    return _EXITS.get(error.code) or _EXITS_BY_AREA.get(area, otherwise)


def main(arguments: list[str] | None = None) -> Any:
    """Entry point of the console script. An expected error ends with one PROBLEM line and its exit code."""
    try:
        return tree.main(
            arguments, prog_name="lamppost", standalone_mode=False, terminal_width=width() - 2
        )
    except click.ClickException as usage:
        said = io.StringIO()
        usage.show(said)
        _note(said.getvalue())
        sys.exit(usage.exit_code)
    except (click.Abort, KeyboardInterrupt):
        sys.exit(130)
    except LamppostError as error:
        tell(error)
        sys.exit(exit_code(error))


def _note(text: str) -> None:
    """To stderr. A log keeps one line: only a terminal has a width."""
    for line in text.splitlines():
        for piece in wrapped(line) if sys.stderr.isatty() else (line,):
            note(piece)


def tell(error: LamppostError) -> None:
    """What happened to stderr; what to do, in the closing line or, where it is too long for that, above it."""
    _note(str(error))
    closing = f"PROBLEM {error.code}: {error.hint}"
    if len(closing) > WIDEST or "\n" in closing:
        for number, line in enumerate(error.hint.splitlines()):
            for piece in wrapped(line, "        " if number else "next    "):
                say(piece)
        code, closing = f"PROBLEM {error.code}", f"PROBLEM {error.code}: see next"
        if (command := _COMMAND.search(error.hint)) is not None:
            named = f"{code}; type: {command[0].strip()}"
            closing = named if len(named) <= WIDEST else closing
    say(closing)


# `readable=False`: what this user may not open is no misuse of the command; it is told with an exit code of its own.


def state_option(command: Any) -> Any:
    """`--state`: the folder of ring, identity and generations."""
    return click.option(
        "--state",
        type=click.Path(path_type=Path, file_okay=False, readable=False),
        default=Path("/var/lib/lamppost"),
        envvar="LAMPPOST_STATE",
        show_default=True,
        help="folder of ring and identity",
    )(command)


def socket_option(command: Any) -> Any:
    """`--socket`: where the daemon answers."""
    return click.option(
        "--socket",
        type=click.Path(path_type=Path, dir_okay=False, readable=False),
        default=Path("/run/lamppost/control.sock"),
        envvar="LAMPPOST_SOCKET",
        show_default=True,
        help="unix socket of the daemon",
    )(command)


def site_option(command: Any) -> Any:
    """`--site`: the site file."""
    return click.option(
        "--site",
        type=click.Path(path_type=Path, dir_okay=False, readable=False),
        default=Path("/etc/lamppost/site.toml"),
        envvar="LAMPPOST_SITE",
        show_default=True,
        help="site file of this gateway",
    )(command)
