"""docs/how-to/roll-out-a-configuration.md: every command in it is run, in its order, by its own words."""

from __future__ import annotations

import contextlib
import importlib
import io
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from fakes.ceremony import publishing_hub
from fakes.page import Page
from lamppost.status.control import ask
from lamppost_hub import founding
from lamppost_hub.clock import SystemClock
from lamppost_hub.folder import HubFolder, Settings
from shared_folder import CHECKOUT
from sim.chain import wait_until

HUB = "/var/lib/lamppost-hub"
TEXT = (CHECKOUT / "docs/how-to/roll-out-a-configuration.md").read_text(encoding="utf-8")
PROGRAMS = {"lamppost": "lamppost.cli", "lamppost-hub": "lamppost_hub.cli"}


class Script(Page):
    """The page's commands within this process: there are many, and each says what it did in its last line."""

    def call(self, words: list[str], stdin: str = "") -> str:
        self.run.append(words)
        words = self.here(words)
        if words[0] == "mkdir":
            os.makedirs(words[-1], exist_ok=True)
            return ""
        said = io.StringIO()
        with contextlib.redirect_stdout(said), contextlib.redirect_stderr(io.StringIO()):
            try:
                importlib.import_module(PROGRAMS[words[0]]).main(words[1:])
                code: object = 0
            except SystemExit as end:
                code = end.code
        assert not code, (words, said.getvalue())
        assert said.getvalue().splitlines()[-1].startswith("OK "), said.getvalue()
        return said.getvalue()


def after_its_ceremony(root: Path, media: Path) -> None:
    """A hub as docs/how-to/key-ceremony.md leaves it."""
    founding.found(HubFolder(root), Settings("hub.city", "localhost", 8883), SystemClock())
    people = ("anna", "cleo", "bert")
    publishing_hub(root, lambda n: media / n / f"{n}.pem", people, "harbour", ("dora", "emil"))


def write_what_the_page_shows(folder: Path) -> None:
    """The files whose names stand above a block."""
    shown = re.findall(r"`(sites/\S+\.toml)`:\n\n```(?:toml)?\n(.*?)```", TEXT, re.DOTALL)
    assert [name for name, _ in shown] == ["sites/group.toml", "sites/gateways/gw-harbour-7.toml"]
    for name, content in shown:
        (folder / name).write_text(content)


@contextmanager
def daemon(site: Path, state: Path, socket: Path) -> Iterator[None]:
    """A gateway on this machine, whose serial line is not there."""
    code = "import sys; from lamppost.cli import main; sys.exit(main())"
    words = ["run", str(site), "--state", str(state), "--socket", str(socket)]
    with (state.parent / "log").open("ab") as log:
        process = subprocess.Popen([sys.executable, "-c", code, *words], stdout=log, stderr=log)
    try:
        wait_until(lambda: ask_quietly(socket), "the daemon answers", 60)
        yield
    finally:
        process.terminate()
        process.wait(60)


def test_every_command_of_the_page_in_its_order(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    hub, media = tmp_path / "hub", tmp_path / "media"
    after_its_ceremony(hub, media)
    (media / "stick").mkdir()
    page = Script("roll-out-a-configuration.md", tmp_path, {HUB: str(hub), "/media": str(media)})
    for words in page.commands("1. Write the sites"):
        page.call(words)
    write_what_the_page_shows(tmp_path)
    (stage,) = page.commands("2. Stage")
    assert "1 of 1 gateways change: gw-harbour-7" in page.call(stage)
    for words in page.commands("3. Two approvers sign"):
        page.call(words)
    release, watch = page.commands("4. Release, and watch")
    assert "roll-out harbour-1" in page.call(release)
    assert "0 of 1 confirmed" in page.call(watch)
    for words in page.commands("5. Halt"):
        said = page.call(words)
    assert "HALTED" in said
    on_a_gateway(page, tmp_path, hub)
    for words in page.commands("Without a network"):
        page.call(words)
    assert (media / "stick/lamppost-configuration/metadata/timestamp.json").exists()
    for words in page.commands("Every half year"):
        page.call(words)
    assert page.run == page.commands(), "every command of the page, in its order"


def on_a_gateway(page: Script, folder: Path, hub: Path) -> None:
    (site,) = (hub / "publish/repository/targets").rglob("*.site.toml")
    local, trial = folder / "site.toml", folder / "trial.toml"
    local.write_bytes(site.read_bytes())
    trial.write_text(site.read_text().replace('every = "10s"', 'every = "20s"'))
    state, socket = folder / "state", folder / "socket"
    commands = page.commands("On a gateway")
    places = {
        "show": ["--state", str(state), "--socket", str(socket), "--file", str(local)],
        "history": ["--state", str(state), "--socket", str(socket)],
        "diff": ["--state", str(state), "--socket", str(socket), "--file", str(local)],
        "fetch": ["--socket", str(socket)],
        "check": [],
        "test": ["--state", str(state), "--socket", str(socket)],
        "rollback": ["--state", str(state), "--socket", str(socket)],
    }
    with daemon(local, state, socket):
        for words in commands:
            said = Script.call(page, [*words, *places[words[2]]])
            page.run[-1] = words
        assert "back to the local site file" in said


def ask_quietly(socket: Path) -> dict[str, object]:
    """What the daemon says of its configuration; nothing while it starts again."""
    from lamppost.errors import LamppostError

    try:
        return ask(socket, {"do": "config"})
    except LamppostError:
        return {}
