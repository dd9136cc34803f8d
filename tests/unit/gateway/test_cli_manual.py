"""Pages made from the command tree are what it says; man pages can be read; every command has help and --json."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import click
import pytest

from lamppost.cli import manual
from lamppost.cli.main import _EXITS, _EXITS_BY_AREA, COMMANDS, tree
from lamppost.diagnosis import verdict

CHECKOUT = Path(__file__).resolve().parents[3]
ALL = list(manual.commands())
LEAVES = [(name, c) for name, c in ALL if not isinstance(c, click.Group)]
STREAMS = {"lamppost watch", "lamppost bus sniff", "lamppost uplink tail", "lamppost logs"}
HUMAN = {
    "lamppost run", "lamppost page open", "lamppost page close", "lamppost clock wait", "lamppost firstboot",
    "lamppost trust renew",
}  # fmt: skip
MINE = (
    "bundle", "bus", "clock", "doctor", "explain", "identity", "logs", "maint", "net", "page", "sensors",
    "status", "trust", "uplink", "watch",
)  # fmt: skip


@pytest.mark.parametrize(
    ("page", "made"), [("cli.md", manual.cli_page), ("exit-codes.md", manual.exits_page)]
)
def test_pages_are_as_the_program_says(page: str, made: object) -> None:
    assert callable(made)
    assert (CHECKOUT / "docs/reference" / page).read_text() == made(), (
        f"make it anew: python -m lamppost.cli.manual {page.partition('.')[0].replace('exit-codes', 'exits')}"
        f" > docs/reference/{page}"
    )


@pytest.mark.parametrize(("name", "command"), ALL, ids=[name for name, _ in ALL])
def test_every_command_says_what_it_does(name: str, command: click.Command) -> None:
    assert command.help, name


@pytest.mark.parametrize(("name", "command"), LEAVES, ids=[name for name, _ in LEAVES])
def test_machines_can_read_every_answer(name: str, command: click.Command) -> None:
    if name.split()[1] not in MINE:
        return
    options = {word for p in command.params for word in p.opts}
    if name in STREAMS:
        assert "--ndjson" in options
    elif name not in HUMAN:
        assert "--json" in options


def test_every_schema_is_named_once_and_has_a_version() -> None:
    named = re.findall(r"schema (lamppost\.[a-z-]+/\d+)", manual.cli_page())
    assert len(named) > 25
    assert all(re.fullmatch(r"lamppost\.[a-z-]+/1", schema) for schema in named)


def test_exit_codes_of_errors_and_findings_are_documented() -> None:
    known = {code for code, _ in manual.EXITS}
    used = {
        *_EXITS.values(),
        *_EXITS_BY_AREA.values(),
        *verdict.EXITS.values(),
        *verdict.EXITS_BY_AREA.values(),
    }
    assert used <= known


def test_the_tree_lists_what_there_is() -> None:
    assert list(tree.list_commands(click.Context(tree))) == sorted(COMMANDS)


def test_man_pages_are_sound_roff(tmp_path: Path) -> None:
    made = manual.write_man(tmp_path)
    assert len(made) == len(ALL)
    assert all(path.read_text().startswith(".TH LAMPPOST") for path in made)
    if shutil.which("man") is None:
        pytest.skip("man is not installed: apt-get install man-db")
    done = subprocess.run(
        ["man", "--warnings", "-l", str(tmp_path / "lamppost.1")],
        capture_output=True, text=True, check=False, env={"PATH": "/usr/bin:/bin", "MANWIDTH": "80"},
    )  # fmt: skip
    assert done.returncode == 0
    assert "EXIT STATUS" in done.stdout
    assert done.stderr == ""


def test_completion_knows_commands_and_options(monkeypatch: pytest.MonkeyPatch) -> None:
    from click.shell_completion import BashComplete

    complete = BashComplete(tree, {}, "lamppost", "_LAMPPOST_COMPLETE")
    assert {"probe", "scan"} <= {c.value for c in complete.get_completions(["bus"], "")}
    assert "--retest" in {c.value for c in complete.get_completions(["bus", "probe"], "--re")}
    assert "storage" in {c.value for c in complete.get_completions(["doctor"], "st")}
