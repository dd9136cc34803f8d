"""`lamppost device`: the models that are known, and all that a new one needs. Opens no port."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from lamppost.cli.terminal import many
from lamppost.errors import SiteError

if TYPE_CHECKING:
    from lamppost.acquire.registry import Registry
    from lamppost_drivers.contract import Driver

DEFAULT_MAPS = Path("/etc/lamppost/maps")


@click.group()
def command() -> None:
    """Models of devices: find, read, decode, and add one of your own."""


Function = TypeVar("Function", bound=Callable[..., Any])


def _maps_option(function: Function) -> Function:
    return click.option(
        "--maps",
        type=click.Path(path_type=Path, file_okay=False),
        default=DEFAULT_MAPS,
        show_default=True,
        help="folder of the site's own register maps",
    )(function)


def _json_option(schema: str) -> Callable[[Function], Function]:
    return click.option("--json", "as_json", is_flag=True, help=f"one object, schema {schema}")


@command.command()
@click.argument("text", default="")
@_maps_option
@_json_option("lamppost.device-search/1")
def search(text: str, maps: Path, as_json: bool) -> None:
    """List the models whose name, products, points or bus hold all words of TEXT."""
    from lamppost.cli.device_text import columns, described

    words = text.lower().split()
    registry = _registry(maps)
    drivers = (registry.find(model) for model in registry.models())
    found = [each for each in map(described, drivers) if _holds(each, words)]
    brief = [{key: f[key] for key in ("model", "products", "connection", "status")} for f in found]
    if as_json:
        _print({"schema": "lamppost.device-search/1", "ok": bool(found), "models": brief})
    else:
        for each in brief:
            click.echo(f"{each['model']:20} {', '.join(each['products'])}"[: columns()])
        if found:
            count = many(len(found), "model")
            click.echo(f"OK {count}; see one: lamppost device show {found[0]['model']}")
        else:
            click.echo(f"PROBLEM no model for {text[:30]!r}; add it: lamppost device new MODEL")
    if not found:
        raise SystemExit(1)


def _holds(found: dict[str, Any], words: list[str]) -> bool:
    points = " ".join(point["point"] for point in found["points"])
    text = f"{found['model']} {' '.join(found['products'])} {found['connection']} {points}".lower()
    return all(word in text for word in words)


@command.command()
@click.argument("model")
@_maps_option
@_json_option("lamppost.device-show/1")
def show(model: str, maps: Path, as_json: bool) -> None:
    """Print what is known of MODEL: products, points, settings, caveats. A map file is a model too."""
    from lamppost.cli.device_text import described, page

    found = described(_driver(model, maps))
    if as_json:
        _print({"schema": "lamppost.device-show/1", "ok": True, **found})
        return
    for line in page(found):
        click.echo(line)
    click.echo(f"OK {found['model']}: {len(found['points'])} points")


@command.command()
@click.argument("model")
@click.option("-o", "--out", type=click.Path(path_type=Path), help="file (default: MODEL.toml)")
@_json_option("lamppost.device-new/1")
def new(model: str, out: Path | None, as_json: bool) -> None:
    """Write the commented beginning of a Modbus register map for MODEL."""
    import re

    from lamppost.cli.device_skeleton import skeleton

    if not re.fullmatch(r"[a-z0-9][a-z0-9_-]{0,39}", model):
        raise click.UsageError(
            f"MODEL {model!r}: write lower-case letters, digits, - and _, such as acme-m3"
        )
    file = out or Path(f"{model}.toml")
    try:
        with file.open("x", encoding="utf-8") as made:
            made.write(skeleton(model))
    except FileExistsError:
        raise click.UsageError(f"{file} is there already; name another with --out") from None
    except OSError as wrong:
        raise click.UsageError(f"cannot write {file}: {wrong.strerror}") from None
    if as_json:
        _print({"schema": "lamppost.device-new/1", "ok": True, "model": model, "file": str(file)})
    else:
        click.echo(f"OK wrote {file}; next: lamppost device lint {file}")


def _where_points_are(driver: Driver) -> list[str]:
    """For bytes that were given as registers from another address than theirs."""
    from lamppost_drivers.contract import RegisterMap

    if not isinstance(driver, RegisterMap):
        return []
    first = min(driver.registers, key=lambda register: register.address)
    last = max(register.address + register.words - 1 for register in driver.registers)
    return [f"the points of {driver.model} are in registers {first.address} to {last}"]


@command.command()
@click.argument("files", nargs=-1, required=True, type=click.Path(path_type=Path))
@_json_option("lamppost.device-lint/1")
def lint(files: tuple[Path, ...], as_json: bool) -> None:
    """Check register map FILES: all problems, each with its place and the nearest valid key."""
    from lamppost.cli.main import EXIT_CONFIG
    from lamppost_drivers.mapfile import LIMIT, problems

    found: list[str] = []
    for file in files:
        if file.suffix == ".py":
            found.append(f"{file}: a driver in Python: install it, then selftest its model")
            continue
        try:
            with file.open("rb") as opened:
                found += problems(opened.read(LIMIT + 1), file.name)
        except OSError as wrong:
            found.append(f"{file}: {wrong.strerror}")
    if as_json:
        _print({"schema": "lamppost.device-lint/1", "ok": not found, "problems": found})
    else:
        for problem in found:
            click.echo(problem)
        first = files[0]
        if found:
            said = many(len(found), "problem")
            click.echo(f"PROBLEM {said}; mend, then: lamppost device lint {first}")
        else:
            click.echo(f"OK {many(len(files), 'map')}; next: lamppost device selftest {first}")
    if found:
        raise SystemExit(EXIT_CONFIG)


@command.command()
@click.argument("model", required=False)
@click.argument("bytes_", metavar="HEX", required=False)
@click.option("--at", type=click.IntRange(0, 0xFFFF), help="address of the first register in HEX")
@click.option("--request", help="hex of the Modbus request that HEX answers")
@click.option("--key", default="", help="hex of the AES key of an advertisement")
@click.option("--vectors", type=click.File("rb"), help="JSON Lines of captured rows; - is stdin")
@_maps_option
@_json_option("lamppost.device-decode/1")
def decode(model: str | None, bytes_: str | None, at: int | None, request: str | None, key: str,
           vectors: Any, maps: Path, as_json: bool) -> None:  # fmt: skip
    """Decode the bytes that a device sent: HEX of a frame, or of registers.

    With --vectors, a line of JSON in and a line out: readings, or why the row is refused.
    """
    if vectors is not None:
        if model or bytes_:
            raise click.UsageError("--vectors takes neither MODEL nor HEX")
        _decode_rows(vectors, maps)
        return
    if not model or not bytes_:
        raise click.UsageError("name a MODEL and the HEX it sent, or --vectors FILE")
    from lamppost.cli.captured import answer

    aux = {"start": at, "request_hex": request}
    row = {
        "id": model,
        "model": (driver := _driver(model, maps)).model,
        "input_hex": bytes_,
        "key_hex": key,
        "aux": {name: value for name, value in aux.items() if value is not None},
    }
    found = answer(row, lambda name: _driver(model, maps) if name == row["model"] else _none(name))
    if as_json:
        _print({"schema": "lamppost.device-decode/1", "ok": bool(found.get("readings")), **found})
    else:
        _say_decoded(found, driver)
    if not found.get("readings"):
        raise SystemExit(1)


def _decode_rows(vectors: Any, maps: Path) -> None:
    import json

    from lamppost.cli.captured import LONGEST_LINE, answers

    find = _registry(maps).find
    while line := vectors.readline(LONGEST_LINE + 1):
        while len(line) > LONGEST_LINE and not line.endswith(b"\n"):  # drop the rest of a huge line
            rest = vectors.readline(LONGEST_LINE)
            line = line[: LONGEST_LINE + 1] if rest else line
            if not rest or rest.endswith(b"\n"):
                break
        if line.strip():
            sys.stdout.write(json.dumps(answers(line, find), allow_nan=False) + "\n")
    sys.stdout.flush()


def _say_decoded(found: dict[str, Any], driver: Driver) -> None:
    if found.get("refused") == "device.no-address":
        for line in _where_points_are(driver):
            click.echo(line)
        click.echo(
            "PROBLEM device.no-address: name the first register of HEX: --at N; or --request HEX"
        )
        return
    if "refused" in found:
        click.echo(f"PROBLEM {found['refused']}: {found['why']}")
        return
    rows = found["readings"]
    if not rows:
        for line in _where_points_are(driver):
            click.echo(line)
        click.echo(
            "PROBLEM none of the model's points is in these bytes; see: lamppost device show"
        )
        return
    width = max((len(row["point"]) for row in rows), default=0)
    for row in rows:
        value = "-" if row["value"] is None else row["value"]
        click.echo(f"{row['point']:{width}}  {_digits(value):>12} {row['unit']:6} {row['quality']}")
    doubted = [row for row in rows if row["quality"] != "good"]
    first = f", {len(doubted)} not good: {doubted[0]['point']}" if doubted else ", all good"
    click.echo(f"OK {many(len(rows), 'reading')}{first}")


def _digits(value: object) -> str:
    """A number in the digits that it has: seven where it came as a 32-bit float."""
    import struct

    if not isinstance(value, float) or abs(value) > 1e30:
        return str(value)
    short = f"{value:.7g}"
    return (
        short
        if struct.pack("f", float(short)) == struct.pack("f", value)
        and (struct.unpack("f", struct.pack("f", value))[0] == value)
        else f"{value:.12g}"
    )


@command.command()
@click.argument("model", required=False)
@_maps_option
@_json_option("lamppost.device-selftest/1")
def selftest(model: str | None, maps: Path, as_json: bool) -> None:
    """Run MODEL (a name or a map file), or all models, over their own vectors."""
    from lamppost_drivers.selftest import problems

    registry = _registry(maps)
    drivers = [_driver(model, maps)] if model else [registry.find(m) for m in registry.models()]
    found = {driver.model: list(problems(driver)) for driver in drivers}
    wrong = {name: said for name, said in found.items() if said}
    if as_json:
        _print({"schema": "lamppost.device-selftest/1", "ok": not wrong, "models": found})
    else:
        for name, said in wrong.items():
            for line in said:
                click.echo(f"{name}: {line}")
        if wrong:
            click.echo(
                f"PROBLEM {len(wrong)} of {len(found)} models fail; first: {next(iter(wrong))}"
            )
        else:
            agree = many(len(found), "model agrees", "models agree")
            then = f"; next: lamppost device sim {model}" if model else ""
            click.echo(f"OK {agree} with the vectors{then}")
    if wrong:
        raise SystemExit(1)


@command.command()
@click.argument("model")
@click.option(
    "--at", type=click.Path(path_type=Path, file_okay=False), help="folder (default: sim-MODEL)"
)
@click.option("--unit", type=click.IntRange(1, 250), default=1, show_default=True, help="unit id")
@click.option("--for", "seconds", help="how long, such as 10min (default: until Ctrl-C)")
@_maps_option
def sim(model: str, at: Path | None, unit: int, seconds: str | None, maps: Path) -> None:
    """Let a simulated device answer as the vectors of MODEL (a name or a map file) say.

    Prints what a site file needs, then runs lamppost-sim, which says where the port is.
    """
    from lamppost.cli.device_sim import simulate

    driver = _driver(model, maps)
    own = Path(model).parent if model.endswith(".toml") else maps if maps.is_dir() else None
    code = simulate(driver, at or Path(f"sim-{driver.model}"), unit, seconds, own)
    if code:
        raise SystemExit(code)


def _registry(maps: Path) -> Registry:
    from lamppost.acquire.registry import Registry
    from lamppost_drivers.mapfile import MapError

    try:
        registry = Registry.load(maps)
        for model in registry.models():
            registry.find(model)
    except MapError as wrong:
        raise _invalid(wrong) from None
    return registry


def _driver(model: str, maps: Path) -> Driver:
    """By name, or of a map file that is named by its path."""
    from lamppost.acquire.registry import Registry
    from lamppost_drivers.library import UnknownModel
    from lamppost_drivers.mapfile import LIMIT, MapError, load

    try:
        if model.endswith(".toml"):
            with Path(model).open("rb") as opened:
                return load(opened.read(LIMIT + 1), Path(model).name)
        return Registry.load(maps).find(model)
    except MapError as wrong:
        raise _invalid(wrong) from None
    except OSError as wrong:
        raise click.UsageError(f"cannot read {model}: {wrong.strerror}") from None
    except UnknownModel as unknown:
        near = f"did you mean {', '.join(unknown.close)}?" if unknown.close else ""
        raise SiteError(
            f"no driver for model {model!r}",
            code="device.unknown-model",
            hint=near or "lamppost device search",
        ) from None


def _invalid(wrong: Exception) -> SiteError:
    hint = "mend the key that is named, then: lamppost device lint FILE"
    return SiteError(str(wrong), code="device.map-invalid", hint=hint)


def _none(name: str) -> Driver:
    raise LookupError(name)


def _print(found: dict[str, Any]) -> None:
    import json

    click.echo(json.dumps(found, indent=2))
