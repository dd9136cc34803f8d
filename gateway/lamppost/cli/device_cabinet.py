"""What simulated hardware needs to stand for a model: a cabinet and the site file that fits it, as text, from vectors.

Only text: the simulator is another program, and nothing of it is imported here.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from lamppost.errors import SiteError
from lamppost_drivers.contract import (
    BroadcastDriver,
    Driver,
    Exchange,
    ExchangeDriver,
    FrameError,
    PulseDriver,
    Read,
    RegisterMap,
    StreamDriver,
    Vector,
    Write,
)

PIN, PULSE_EVERY = 17, 0.5
RADIO = "C0:FF:EE:00:00:01"
_LINK = "sim"


def cabinet(driver: Driver, unit: int) -> str:
    """The simulator's file: one device that says what the model's vectors say. Raises SiteError without a vector."""
    match driver:
        case RegisterMap():
            return _line(driver.serial.baud, "unit", _unit(driver, unit))
        case StreamDriver():
            frames = [vector.frame.hex() for vector in _good(driver)]
            sensor = {"model": "frames", "period": driver.period, "frames": frames}
            return _line(driver.serial.baud, "sensor", sensor, half_duplex=False)
        case ExchangeDriver(bus="i2c"):
            device = {"address": driver.address, "model": "answers", "answers": _talk(driver)}
            return _tables("i2c", {"number": 1}, "device", device)
        case ExchangeDriver(bus="mbus"):
            frames = [reply.hex() for reply in _good(driver)[0].reply if len(reply) > 1]
            return _line(driver.serial.baud, "mbus", {"address": unit, "frames": frames})
        case ExchangeDriver():
            sensor = {"model": "answers", "answers": _talk(driver)}
            return _line(driver.serial.baud, "sensor", sensor, half_duplex=False)
        case BroadcastDriver():
            return _tables("ble", {"name": _LINK}, "sensor", _packets(driver))
        case PulseDriver():
            pulse = {"line": PIN, "every": PULSE_EVERY, "low": PULSE_EVERY / 4}
            return _tables("gpio", {"number": 0}, "pulse", pulse)


def fragment(driver: Driver, unit: int) -> str:
    """`[[link]]` and `[[device]]` of a site file that reads it; `{folder}` stands for the simulator's folder."""
    link, device = _wiring(driver, unit)
    named = {"name": _LINK, **link}
    return _table("link", named) + "\n" + _table(
        "device", {"name": "trial", "model": driver.model, "link": _LINK, **device, "every": "2s"}
    )  # fmt: skip


def site(driver: Driver, unit: int, maps: Path | None) -> str:
    """A whole site file around the fragment; `maps`: the folder of the model's own map."""
    head = (
        '[site]\ngateway = "trial"\nhub = "city"\nsource = "simulated"\n\n'
        '[uplink]\nhost = "localhost"\n\n[time]\nunsynced = "send"\n\n'
    )
    drivers = f"[drivers]\nmaps = {json.dumps(str(maps))}\n\n" if maps else ""
    return head + drivers + fragment(driver, unit)


def _wiring(driver: Driver, unit: int) -> tuple[dict[str, object], dict[str, object]]:
    """Keys of the link and of the device. A pty has no parity: the link says so."""
    port = {"port": "{folder}/" + _LINK}
    match driver:
        case RegisterMap():
            plain = {"parity": "N", "stop_bits": 1, "baud": driver.serial.baud}
            return {"kind": "modbus-rtu", **port, **plain}, {"unit": unit}
        case StreamDriver():
            return {"kind": "serial", **port, "parity": "N"}, {}
        case ExchangeDriver(bus="i2c"):
            return {"kind": "i2c", "port": "/dev/i2c-1"}, {"address": driver.address}
        case ExchangeDriver(bus="mbus"):
            return {"kind": "mbus", **port, "parity": "N"}, {"unit": unit}
        case ExchangeDriver():
            return {"kind": "serial", **port, "parity": "N"}, {}
        case BroadcastDriver():
            return {"kind": "ble"}, {"mac": RADIO}
        case PulseDriver():
            return {"kind": "gpio"}, {"pin": PIN}


def _good(driver: RegisterMap | StreamDriver | ExchangeDriver | BroadcastDriver) -> list[Vector]:
    """The vectors that a device can be made of: with values, and without a secret."""
    found = [vector for vector in driver.vectors if vector.expect is not None and not vector.key]
    if not found:
        raise SiteError(
            f"{driver.model} has no vector to answer with",
            code="device.map-invalid",
            hint="add a [[vector]] with registers and what they stand for, then: lamppost device lint FILE",
        )
    return found


def _unit(driver: RegisterMap, unit: int) -> dict[str, object]:
    cells: dict[int, int] = {}
    for vector in _good(driver):
        for start, words in vector.registers.items():
            for at, word in enumerate(words):
                cells.setdefault(start + at, word)
    blocks = []
    for start in sorted(cells):
        if start - 1 in cells:
            continue
        run: list[int] = []
        while start + len(run) in cells:
            run.append(cells[start + len(run)])
        blocks.append({"start": start, "registers_hex": "".join(f"{word:04x}" for word in run)})
    return {"unit": unit, "model": "dump", "blocks": blocks}


def _talk(driver: ExchangeDriver) -> dict[str, list[str]]:
    """What the device hears and what it says to that, learned by playing the driver over its first good vector."""
    replies = _good(driver)[0].reply
    said: dict[str, list[str]] = {}
    _play(driver.measure(driver.address or 1), list(replies), said)
    if driver.setup is not None:
        _play(driver.setup(driver.address or 1), [], said, always=replies[-1])
    return said


def _play(
    exchange: Exchange, replies: list[bytes], said: dict[str, list[str]], always: bytes = b""
) -> None:
    heard, answer = "", b""
    try:
        step = next(exchange)
        while True:
            if isinstance(step, Write):
                heard, answer = step.data.hex(), b""
            elif isinstance(step, Read):
                answer = replies.pop(0) if replies else always
                said.setdefault(heard, []).append(answer.hex())
            step = exchange.send(answer if isinstance(step, Read) else b"")
    except (StopIteration, FrameError):
        return


def _packets(driver: BroadcastDriver) -> dict[str, object]:
    seen = [vector.advertisement for vector in _good(driver) if vector.advertisement]
    manufacturer: dict[str, list[str]] = {}
    service: dict[str, list[str]] = {}
    for each in seen[:1]:
        manufacturer |= {hex(key): [data.hex()] for key, data in each.manufacturer.items()}
        service |= {key: [data.hex()] for key, data in each.service.items()}
    payloads = {"manufacturer": manufacturer, "service": service}
    return {"address": RADIO, "model": "packets", **{k: v for k, v in payloads.items() if v}}


# --- TOML


def _line(baud: int, kind: str, device: Mapping[str, object], **how: object) -> str:
    return _tables("line", {"name": _LINK, "baud": baud, **how}, kind, device)


def _tables(
    outer: str, plan: Mapping[str, object], inner: str, device: Mapping[str, object]
) -> str:
    return _table(outer, plan) + _table(f"{outer}.{inner}", device)


def _table(name: str, plan: Mapping[str, object]) -> str:
    return "".join([f"[[{name}]]\n", *(f"{key} = {_value(each)}\n" for key, each in plan.items())])


def _value(value: object) -> str:
    if isinstance(value, Mapping):
        return "{ " + ", ".join(_pairs(value)) + " }"
    if isinstance(value, Sequence) and not isinstance(value, str):
        return "[" + ", ".join(_value(each) for each in value) + "]"
    return json.dumps(value)


def _pairs(table: Mapping[object, object]) -> Iterator[str]:
    for key, value in table.items():
        yield f"{json.dumps(str(key))} = {_value(value)}"
