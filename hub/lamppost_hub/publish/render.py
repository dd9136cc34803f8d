"""group.toml and gateways/NAME.toml → one whole site file for each gateway. Data laid over data: no templates.

Tables are laid over each other key by key, lists of tables by their `name`; anything else is replaced. What comes out
is checked by the gateway's own program before anybody signs it.
"""

from __future__ import annotations

import datetime as dt
import json
import re
import shutil
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from lamppost_hub.publish.refusal import PublishError

MAX_BYTES = 1 << 20
_BARE = re.compile(r"[A-Za-z0-9_-]+")
_AT_ONCE = 200  # files for one call of the checker


def sites(folder: Path) -> dict[str, bytes]:
    """Site files by gateway. Raises PublishError `publish.no-sites`, `publish.site-invalid`."""
    group = _read(folder / "group.toml") if (folder / "group.toml").exists() else {}
    files = sorted((folder / "gateways").glob("*.toml"))
    if not files:
        raise PublishError("publish.no-sites", f"{folder} holds no gateways/NAME.toml")
    found = {}
    for file in files:
        whole = merged(group, _read(file))
        named = whole.setdefault("site", {})
        if named.setdefault("gateway", file.stem) != file.stem:
            raise PublishError("publish.site-invalid", f"{file}: gateway is not {file.stem}")
        found[file.stem] = written(whole)
    return found


def merged(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    """`above` laid over `below`."""
    whole = dict(below)
    for key, value in above.items():
        known = whole.get(key)
        if isinstance(known, dict) and isinstance(value, dict):
            whole[key] = merged(known, value)
        elif isinstance(known, list) and _named(known) and _named(value):
            whole[key] = _by_name(known, value)
        else:
            whole[key] = value
    return whole


def check(found: Mapping[str, bytes]) -> None:
    """Let the gateway's own program read all of them.

    Raises PublishError `publish.site-invalid` with every problem, `publish.no-checker`.
    """
    program = shutil.which("lamppost") or shutil.which(
        str(Path(sys.executable).parent / "lamppost")
    )
    if program is None:
        raise PublishError("publish.no-checker", "the program `lamppost` is not on this machine")
    problems: list[str] = []
    with tempfile.TemporaryDirectory() as place:
        files = []
        for gateway, content in found.items():
            files.append(Path(place) / f"{gateway}.toml")
            files[-1].write_bytes(content)
        for start in range(0, len(files), _AT_ONCE):
            words = [
                program,
                "config",
                "check",
                "--json",
                *map(str, files[start : start + _AT_ONCE]),
            ]
            done = subprocess.run(words, capture_output=True, text=True, check=False)
            problems += _problems(done.stdout, done.stderr)
    if problems:
        raise PublishError("publish.site-invalid", "\n".join(problems))


def _problems(said: str, errors: str) -> Iterator[str]:
    try:
        if not said.strip():
            raise ValueError(errors.strip() or "no answer")
        for answer in _objects(said):
            name = Path(answer["file"]).name
            for problem in answer["problems"]:
                value = f" = {problem['value']}" if problem["value"] else ""
                yield f"{name}: {problem['key']}{value}: {problem['reason']}"
    except (ValueError, KeyError, TypeError) as error:
        raise PublishError(
            "publish.no-checker", f"`lamppost config check` failed: {error}"
        ) from None


def _objects(said: str) -> Iterator[dict[str, Any]]:
    """JSON objects one after another."""
    while said := said.strip():
        found, end = json.JSONDecoder().raw_decode(said)
        yield found
        said = said[end:]


def _read(file: Path) -> dict[str, Any]:
    try:
        raw = file.read_bytes()
        if len(raw) > MAX_BYTES:
            raise PublishError("publish.site-invalid", f"{file} is larger than {MAX_BYTES} bytes")
        return tomllib.loads(raw.decode("utf-8-sig"))
    except (ValueError, RecursionError) as error:
        raise PublishError("publish.site-invalid", f"{file}: {error}") from None


def _named(value: object) -> bool:
    return isinstance(value, list) and all(isinstance(v, dict) and "name" in v for v in value)


def _by_name(below: list[dict[str, Any]], above: list[dict[str, Any]]) -> list[dict[str, Any]]:
    over = {table["name"]: table for table in above}
    whole = [merged(table, over.pop(table["name"], {})) for table in below]
    return whole + list(over.values())


def written(table: Mapping[str, Any]) -> bytes:
    """A table as TOML; reading it gives the same table again."""
    return ("\n".join(_lines(table, "")).strip() + "\n").encode()


def _lines(table: Mapping[str, Any], path: str) -> Iterator[str]:
    tables: list[tuple[str, Any]] = []
    for key, value in table.items():
        if isinstance(value, dict) or (value and _is_tables(value)):
            tables.append((key, value))
        else:
            yield f"{_key(key)} = {_value(value)}"
    for key, value in tables:
        inner = f"{path}.{_key(key)}" if path else _key(key)
        if isinstance(value, dict):
            yield f"\n[{inner}]"
            yield from _lines(value, inner)
        else:
            for entry in value:
                yield f"\n[[{inner}]]"
                yield from _lines(entry, inner)


def _is_tables(value: object) -> bool:
    return isinstance(value, list) and all(isinstance(v, dict) for v in value)


def _key(key: str) -> str:
    return key if _BARE.fullmatch(key) else _text(key)


def _value(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return _text(value)
    if isinstance(value, (int, float)):
        return repr(value)
    if isinstance(value, (dt.datetime, dt.date, dt.time)):
        return value.isoformat()
    if isinstance(value, list):
        return "[" + ", ".join(_value(v) for v in value) + "]"
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{_key(k)} = {_value(v)}" for k, v in value.items()) + " }"
    raise PublishError("publish.site-invalid", f"a {type(value).__name__} cannot stand in TOML")


def _text(text: str) -> str:
    # JSON's escapes are TOML's, but for DEL, which TOML does not take as it is.
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")
