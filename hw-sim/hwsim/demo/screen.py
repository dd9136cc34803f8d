"""The demo's screen: live tables on a terminal, plain lines elsewhere. Draws, decides nothing."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from math import isinf
from typing import Any

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from hwsim.demo.story import Story

SHOWN = {
    "voltage.l1": "V", "voltage": "V", "power": "W", "frequency": "Hz", "energy.import": "kWh",
    "pm25": "µg/m³", "pm10": "µg/m³",
}  # fmt: skip
PLAIN_EVERY = 5.0


class Screen:
    """Shows `Story` and the latest answers of gateway and hub."""

    def __init__(self, *, live: bool) -> None:
        self._console = Console(stderr=not live, highlight=False)
        self._live = Live(console=self._console, refresh_per_second=4) if live else None
        self._said = 0
        self._due = 0.0

    def __enter__(self) -> Screen:
        if self._live:
            self._live.__enter__()
        return self

    def __exit__(self, *failure: object) -> None:
        if self._live:
            self._live.stop()

    def show(self, story: Story, gateway: Mapping[str, Any], hub: Mapping[str, Any]) -> None:
        """Draw the newest state."""
        if self._live:
            self._live.update(_picture(story, gateway, hub))
            return
        for words in story.told[self._said :]:
            self._print(words)
        self._said = len(story.told)
        if story.elapsed >= self._due:
            self._due = story.elapsed + PLAIN_EVERY
            self._print(
                f"{story.elapsed:5.1f} s  {_ring(gateway)} | {_uplink(gateway)} | {_hub(hub)}"
            )

    def note(self, words: str) -> None:
        """A step before or after the story."""
        if self._live:
            self._live.console.print(words, soft_wrap=True)
        else:
            self._print(words)

    def _print(self, words: str) -> None:
        print(words, file=sys.stderr, flush=True)


def _picture(story: Story, gateway: Mapping[str, Any], hub: Mapping[str, Any]) -> Group:
    title = Text(f"Lamppost demo   {story.elapsed:4.0f} s, {_end(story)}", style="bold")
    now = Text("Now     " + story.now, style="bold yellow")
    rows: list[Table | Text] = [
        title,
        _devices(gateway),
        Text("Ring    " + _ring(gateway)),
        Text("Uplink  " + _uplink(gateway)),
        Text("Hub     " + _hub(hub)),
        now,
    ]
    return Group(*rows)


def _end(story: Story) -> str:
    if isinf(story.seconds):
        return "Ctrl-C ends it"
    return f"{max(0.0, story.seconds - story.elapsed):.0f} s to go"


def _devices(gateway: Mapping[str, Any]) -> Table:
    table = Table(box=None, pad_edge=False, header_style="dim")
    for name in ("device", "model", "on", "state", "latest"):
        table.add_column(name, no_wrap=True, overflow="ellipsis")
    for device in gateway.get("devices", ()):
        state = device["state"]
        style = "green" if state == "ok" else "red"
        table.add_row(
            device["name"], device["model"], device["on"], Text(state, style=style), _latest(device)
        )
    return table


def _latest(device: Mapping[str, Any]) -> str:
    values = {point: r["value"] for point, r in device.get("readings", {}).items()}
    shown = [f"{values[p]:.5g} {unit}" for p, unit in SHOWN.items() if _is_number(values.get(p))]
    return "  ".join(shown[:3]) or device.get("reason", "")


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _ring(gateway: Mapping[str, Any]) -> str:
    ring = gateway.get("ring", {})
    return f"{ring.get('appended', 0)} readings stored, {ring.get('waiting', 0)} not yet proved at the hub"


def _uplink(gateway: Mapping[str, Any]) -> str:
    uplink = gateway.get("uplink", {})
    return (
        f"{uplink.get('state', 'starting')}, {uplink.get('batches_sent', 0)} batches sent, "
        f"{uplink.get('receipts_verified', 0)} receipts verified"
    )


def _hub(hub: Mapping[str, Any]) -> str:
    sink = hub.get("sink", {})
    entities = sum(sink.get("entities", {}).values())
    return (
        f"{sink.get('readings', 0)} readings arrived, {sink.get('duplicates', 0)} doubled, "
        f"{entities} entities"
    )
