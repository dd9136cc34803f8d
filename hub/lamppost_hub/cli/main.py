"""The command tree, loaded lazily, and what all commands share: verdicts, JSON and exit codes."""

from __future__ import annotations

import importlib
import json
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NoReturn

import click

from lamppost.errors import LamppostError, SiteError, TrustError

COMMANDS = {
    "init": ("lamppost_hub.cli.init", "make a hub: authorities, keys, database"),
    "ca": ("lamppost_hub.cli.authority", "when certificates end, and the yearly renewal"),
    "enrol": ("lamppost_hub.cli.enrol", "let gateways in, lock them out, approve their resets"),
    "broker-config": ("lamppost_hub.cli.broker", "write Mosquitto's configuration and access list"),
    "key": ("lamppost_hub.cli.keys", "the hub's encryption keys: add, retire, restore"),
    "receive": ("lamppost_hub.cli.receive", "the receiver: prove, store, answer, forward"),
    "publish": (
        "lamppost_hub.cli.publish",
        "signed configuration: stage, sign, release, watch, halt",
    ),
    "quarantine": ("lamppost_hub.cli.quarantine", "gateways of which two seem to exist"),
    "fleet": ("lamppost_hub.cli.fleet", "what has arrived, from whom, and what was refused"),
    "checkpoint": ("lamppost_hub.cli.checkpoint", "sign what every gateway's log is now"),
    "audit": ("lamppost_hub.cli.audit", "prove that nothing is missing, or name the first break"),
    "export-archive": ("lamppost_hub.cli.export", "one gateway's archive as a file for an auditor"),
    "dead-letter": ("lamppost_hub.cli.letters", "batches that a sink refused for good"),
}

EXIT_PROBLEM, EXIT_USAGE, EXIT_CONFIG, EXIT_TRUST = 1, 2, 7, 8


class _LazyTree(click.Group):
    """Lists commands from the table above and imports one only to run it."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        command: click.Command = importlib.import_module(COMMANDS[cmd_name][0]).command
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, words) for name, (_, words) in COMMANDS.items()])


@click.group(cls=_LazyTree, context_settings={"help_option_names": ["-h", "--help"]})
def tree() -> None:
    """Lamppost's hub: receives, proves, stores and forwards."""


def exit_code(error: LamppostError) -> int:
    """7 where a setting or argument is wrong, 8 where trust failed, else 1."""
    if isinstance(error, SiteError):
        return EXIT_CONFIG
    return EXIT_TRUST if isinstance(error, TrustError) else EXIT_PROBLEM


def main(arguments: list[str] | None = None) -> Any:
    """Entry point of the console script. An expected error ends with one PROBLEM line and its exit code."""
    try:
        return tree.main(arguments, prog_name="lamppost-hub", standalone_mode=False)
    except click.ClickException as usage:
        usage.show()
        sys.exit(usage.exit_code)
    except (click.Abort, KeyboardInterrupt):
        sys.exit(130)
    except LamppostError as error:
        click.echo(str(error), err=True)
        click.echo(f"PROBLEM {error.code}: {error.hint}")
        sys.exit(exit_code(error))
    except OSError as error:
        click.echo(str(error), err=True)
        click.echo("PROBLEM hub.files: check the path and who may read and write it")
        sys.exit(EXIT_PROBLEM)


def hub_argument(command: Callable[..., Any]) -> Callable[..., Any]:
    """DIR: the hub's state folder."""
    kind = click.Path(path_type=Path, file_okay=False)
    return click.argument("root", metavar="DIR", type=kind)(command)


def json_option(command: Callable[..., Any]) -> Callable[..., Any]:
    """`--json`: one object instead of text."""
    return click.option("--json", "as_json", is_flag=True, help="one JSON object instead of text")(
        command
    )


def finish(
    schema: str,
    content: Mapping[str, Any],
    lines: list[str],
    verdict: str,
    *,
    as_json: bool,
    ok: bool = True,
) -> None:
    """Print text with the verdict last, or the object; a PROBLEM ends the process with exit code 1."""
    if as_json:
        click.echo(
            json.dumps({"schema": f"lamppost.{schema}/1", "ok": ok, "verdict": verdict, **content})
        )
    else:
        for line in lines:
            click.echo(line)
        click.echo(("OK " if ok else "PROBLEM ") + verdict)
    if not ok:
        _end()


def _end() -> NoReturn:
    sys.exit(EXIT_PROBLEM)
