"""Pages made from the command tree itself: docs/reference/cli.md, exit-codes.md, and man pages.

`python -m lamppost.cli.manual cli|exits` prints a page; `python -m lamppost.cli.manual man FOLDER` writes lamppost.1
and a page a command (man-pages(7), in plain roff).
"""

from __future__ import annotations

import inspect
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import click

from lamppost import __version__
from lamppost.cli.main import tree

_CLI = """# The command `lamppost`

This page is made from the program: `python -m lamppost.cli.manual cli`. Do not edit it by hand.

Results go to stdout, progress and notes to stderr. The last line is the verdict: `OK …`, or `PROBLEM …` with the most
important finding and what to type next. `--json` gives one object with a versioned `schema`, `--ndjson` one a line.
With the daemon up, commands ask it (`via: daemon`) and it lends a bus for at most two minutes; without it they look
themselves (`via: direct`). Nothing here writes to a device. Exit codes: [exit-codes.md](exit-codes.md).

`LAMPPOST_SOCKET`, `LAMPPOST_STATE` and `LAMPPOST_SITE` stand for `--socket`, `--state` and `--site`. Completion:
`eval "$(_LAMPPOST_COMPLETE=bash_source lamppost)"` (or `zsh_source`, `fish_source`).
"""
EXITS = (
    (0, "all is well"),
    (1, "a check found a problem; the last line names it"),
    (2, "the command was typed wrongly"),
    (3, "the daemon is needed and does not run"),
    (4, "the bus or the port is busy; the holder is named"),
    (5, "no permission; the group to join is named"),
    (6, "no answer: of a device, of the daemon, of everybody on a bus"),
    (7, "the configuration is invalid or missing"),
    (8, "trust: keys, certificates, signatures"),
    (130, "Ctrl-C"),
)
_WARNED = "Warnings (what a doctor shows as WARNING) leave it at 0."


def commands() -> Iterator[tuple[str, click.Command]]:
    """Every command and group with its full name, in alphabetic order, groups before their members."""
    yield from _below("lamppost", tree)


def _below(name: str, command: click.Command) -> Iterator[tuple[str, click.Command]]:
    yield name, command
    if isinstance(command, click.Group):
        context = click.Context(command)
        for child in command.list_commands(context):
            found = command.get_command(context, child)
            if found is not None and not found.hidden:
                yield from _below(f"{name} {child}", found)


def cli_page() -> str:
    """docs/reference/cli.md."""
    lines = [_CLI]
    for name, command in commands():
        if isinstance(command, click.Group):
            if command is not tree:
                lines.append(f"## {name}\n\n{_help(command)}\n")
            continue
        mark = "##" if name.count(" ") == 1 else "###"
        lines.append(f"{mark} {_usage(name, command)}\n\n{_help(command)}\n")
        if rows := list(_options(command)):
            lines.append("| option | |\n|---|---|")
            lines += [f"| `{words}` | {text} |" for words, text in rows]
            lines.append("")
    return "\n".join(lines).rstrip() + "\n"


def exits_page() -> str:
    """docs/reference/exit-codes.md."""
    rows = "\n".join(f"| {code} | {text} |" for code, text in EXITS)
    return (
        "# Exit codes of `lamppost`\n\n"
        "This page is made from the program: `python -m lamppost.cli.manual exits`.\n\n"
        f"| code | meaning |\n|---|---|\n{rows}\n\n{_WARNED}\n"
        "Which error leads where: the area of its code ([errors.md](errors.md)); which finding: the first one shown\n"
        "([findings.md](findings.md)).\n"
    )


def man_page(name: str, command: click.Command) -> str:
    """One page in roff."""
    title = name.replace(" ", "-").upper()
    short = _help(command).partition(".")[0]
    lines = [
        f'.TH {title} 1 "" "lamppost {__version__}" "Lamppost"',
        ".SH NAME",
        f"{name.replace(' ', '-')} \\- {_roff(short)}",
        ".SH SYNOPSIS",
        f".B {name}",
        _roff(_usage(name, command).removeprefix(name).strip()),
        ".SH DESCRIPTION",
        _roff(_help(command)),
    ]
    if isinstance(command, click.Group):
        lines.append(".SH COMMANDS")
        for child, found in commands():
            if child.startswith(f"{name} ") and child.count(" ") == name.count(" ") + 1:
                lines += [".TP", f".B {child}", _roff(_help(found).partition(".")[0])]
    if rows := list(_options(command)):
        lines.append(".SH OPTIONS")
        for words, text in rows:
            lines += [".TP", f".B {_roff(words)}", _roff(text)]
    if command is tree:
        lines.append(".SH EXIT STATUS")
        for code, text in EXITS:
            lines += [".TP", f".B {code}", _roff(text)]
    return "\n".join(lines) + "\n"


def write_man(folder: Path) -> list[Path]:
    """Write lamppost.1 and lamppost-COMMAND.1 for every command."""
    folder.mkdir(parents=True, exist_ok=True)
    made = []
    for name, command in commands():
        path = folder / f"{name.replace(' ', '-')}.1"
        path.write_text(man_page(name, command), encoding="utf-8")
        made.append(path)
    return made


def _help(command: click.Command) -> str:
    return " ".join(inspect.cleandoc(command.help or "").split())


def _usage(name: str, command: click.Command) -> str:
    given = [p for p in command.params if isinstance(p, click.Argument)]
    return " ".join([name, *(p.make_metavar(click.Context(command)) for p in given)])


def _options(command: click.Command) -> Iterator[tuple[str, str]]:
    for option in command.params:
        if not isinstance(option, click.Option) or option.hidden:
            continue
        words = ", ".join(option.opts)
        if not option.is_flag and not option.count:
            words += f" {option.make_metavar(click.Context(command))}"
        text = option.help or ""
        default = option.default
        if option.show_default and isinstance(default, str | int | float | Path):
            text = f"{text} (default {default})".strip()
        if option.required:
            text = f"{text} (required)".strip()
        yield words.replace("|", "\\|"), text.replace("|", "\\|")


def _roff(text: str) -> str:
    shown = re.sub(r"([\\-])", r"\\\1", text)
    return "\\&" + shown if shown.startswith((".", "'")) else shown


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["cli"]:
            print(cli_page(), end="")
        case ["exits"]:
            print(exits_page(), end="")
        case ["man", where]:
            print(f"OK {len(write_man(Path(where)))} pages in {where}")
        case _:
            sys.exit("cli, exits, or man FOLDER")
