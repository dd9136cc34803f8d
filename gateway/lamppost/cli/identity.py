"""`lamppost identity`: the public name of this gateway, for a label or a phone. Nothing secret."""

from __future__ import annotations

from pathlib import Path

import click

from lamppost.cli.main import state_option
from lamppost.cli.terminal import say, wrapped


@click.command()
@state_option
@click.option("--qr", is_flag=True, help="as a QR code for a phone's camera")
@click.option("--json", "as_json", is_flag=True, help="one object, schema lamppost.identity-show/1")
def command(state: Path, qr: bool, as_json: bool) -> None:
    """Which gateway this is: id, hub, fingerprint of its key."""
    from lamppost.diagnosis.gather import program
    from lamppost.errors import TrustError

    trust = program.trust(state)
    if trust is None or trust.code:
        raise TrustError(
            trust.why if trust else f"{state}: this user may not read it",
            code=trust.code if trust else "trust.key-missing",
            hint=trust.hint if trust else "use sudo",
        )
    if as_json:
        import orjson

        answer = {
            "schema": "lamppost.identity-show/1",
            "gateway": trust.gateway,
            "hub": trust.hub,
            "fingerprint": trust.ours,
        }
        say(orjson.dumps(answer, option=orjson.OPT_INDENT_2).decode())
        return
    if qr:
        for line in qr_lines(f"LAMPPOST:{trust.gateway}:{trust.ours.replace(' ', '')}"):
            say(line)
    for label, text in (
        ("gateway ", trust.gateway),
        ("hub     ", trust.hub),
        ("key     ", trust.ours),
    ):
        for line in wrapped(text, label):
            say(line)
    say(f"OK {trust.gateway}")


def qr_lines(text: str) -> list[str]:
    """A QR code in half blocks, light on dark; in # and spaces, twice as wide, where the terminal has no blocks."""
    import sys

    import segno

    rows = [list(row) for row in segno.make(text, error="m", micro=False).matrix_iter(border=2)]
    if "utf" not in (sys.stdout.encoding or "").lower():
        return ["".join("  " if cell else "##" for cell in row) for row in rows]
    lines = []
    for at in range(0, len(rows), 2):
        upper, lower = rows[at], rows[at + 1] if at + 1 < len(rows) else [0] * len(rows[at])
        pairs = zip(upper, lower, strict=True)
        lines.append("".join(" ▄▀█"[(not u) * 2 + (not low)] for u, low in pairs))
    return lines
