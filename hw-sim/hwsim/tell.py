"""`lamppost-sim tell`: one word to a simulated cabinet that runs, over its control socket."""

from __future__ import annotations

import json
import os
import socket
import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

WHERE = "LAMPPOST_SIM"
PATIENCE = 5.0


def add(words: Any) -> None:
    """`tell DO [LINE [UNIT]] [KEY=VALUE ...]` among the subcommands `words` of argparse."""
    told = words.add_parser(
        "tell",
        help="do something to a cabinet that runs",
        description="do something to a cabinet that runs, such as: tell unplug rs485-1, tell silence rs485-1 2",
    )
    told.add_argument("do", help="unplug, plug, silence, revive ...; a wrong word lists all")
    told.add_argument("words", nargs="*", metavar="WORD", help="LINE, UNIT, KEY=VALUE")
    told.add_argument(
        "--at", type=Path, metavar="FOLDER", help=f"where the cabinet runs, or its control socket [${WHERE}]"
    )  # fmt: skip


def tell(do: str, words: Sequence[str], at: Path | None) -> int:
    """Send it, print the answer; 0 when done, 1 where no cabinet answers, 2 where it refuses the words."""
    found = at or Path(os.environ.get(WHERE, "sim.sock"))
    control = found / "sim.sock" if found.is_dir() else found
    try:
        answer = _asked(control, {"do": do, **request(words)})
    except ValueError as wrong:
        print(f"PROBLEM {wrong}")
        return 2
    except OSError as gone:
        print(
            f"PROBLEM no cabinet answers at {control}: {gone.strerror or gone}; name its folder with --at"
        )
        return 1
    if not answer.pop("ok", False):
        print(f"PROBLEM {answer.get('error', 'refused')}")
        return 2
    if answer:
        print(json.dumps(answer, indent=2))
    print(" ".join(["OK", do, *words]))
    return 0


def request(words: Sequence[str]) -> dict[str, Any]:
    """Words to the keys of a request: the first bare one is the line, the second the unit. Raises ValueError."""
    bare = [word for word in words if "=" not in word]
    if len(bare) > 2:
        raise ValueError(f"{bare[2]!r} is too much: a line, a unit, then KEY=VALUE")
    made: dict[str, Any] = dict(zip(("line", "unit"), bare, strict=False))
    made |= dict(word.split("=", 1) for word in words if "=" in word)
    return {key: value if key in ("line", "hex") else _value(value) for key, value in made.items()}


def _value(text: str) -> Any:
    """As in a scenario file: 2, 0x44, 0.01, true; anything else is text."""
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text


def _asked(control: Path, request: dict[str, Any]) -> dict[str, Any]:
    with socket.socket(socket.AF_UNIX) as line:
        line.settimeout(PATIENCE)
        line.connect(str(control))
        line.sendall(json.dumps(request).encode() + b"\n")
        answer: dict[str, Any] = json.loads(line.makefile("rb").readline())
    return answer
