"""Hostile bytes: only FrameError may leave a driver's pure functions, memory stays bounded, nothing hangs.

Small by default; the long variant runs a million inputs a family. The seed is printed by the failing assertion.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from functools import partial

import pytest

from lamppost_drivers import mapfile
from lamppost_drivers.ble import bthome, ruuvi
from lamppost_drivers.contract import (
    Advertisement,
    ExchangeDriver,
    FrameError,
    Framing,
    Read,
    RegisterMap,
    StreamDriver,
)
from lamppost_drivers.electricity import p1
from lamppost_drivers.framing import Framer, MbusFraming, ShdlcFraming
from lamppost_drivers.library import _CODE, LIBRARY
from lamppost_drivers.mbus import meter
from lamppost_drivers.mbus.frame import answer
from lamppost_drivers.mbus.records import telegram
from lamppost_drivers.registermap import decode_map
from lamppost_drivers.selftest import discovered, exchange

FEW, MANY = 400, 1_000_000
DRIVERS = tuple(LIBRARY[model] for model in LIBRARY.models())
STREAMS = [d for d in DRIVERS if isinstance(d, StreamDriver)]
EXCHANGES = [d for d in DRIVERS if isinstance(d, ExchangeDriver)]
MAPS = [d for d in DRIVERS if isinstance(d, RegisterMap)]
TELEGRAMS = [v.reply[-1] for d in EXCHANGES if d.bus == "mbus" for v in d.vectors if v.expect]


def mutated(chance: random.Random, seeds: list[bytes]) -> bytes:
    """A seed with bytes changed, cut, doubled or put in; sometimes bytes out of nothing."""
    data = bytearray(chance.choice(seeds))
    for _ in range(chance.randint(1, 6)):
        at = chance.randint(0, len(data))
        kind = chance.randint(0, 5)
        if kind == 0:
            data[at:at] = chance.randbytes(chance.randint(1, 8))
        elif kind == 1:
            del data[at : at + chance.randint(1, 16)]
        elif kind == 2 and data:
            data[at % len(data)] = chance.choice(
                (0, 0xFF, 0x7F, 0x80, 0x0D, 0x1F, chance.randint(0, 255))
            )
        elif kind == 3:
            data[at:at] = data[: chance.randint(0, 40)]
        elif kind == 4 and data:
            data[at % len(data)] ^= 1 << chance.randint(0, 7)
        elif chance.random() < 0.05:
            data = bytearray(chance.randbytes(chance.randint(0, 300)))
    return bytes(data[:2000])


def quiet(function: Callable[[bytes], object], data: bytes, seed: int) -> bool:
    """Whether it was taken for sound; any other exception than FrameError fails."""
    try:
        function(data)
    except FrameError:
        return False
    except Exception as error:
        raise AssertionError(f"seed {seed}: {type(error).__name__} on {data.hex()}") from error
    return True


def seals(data: bytes) -> bytes:
    """A long M-Bus frame around data, with right lengths and sum, so that the record decoder is reached."""
    body = data[4:-2][:252]
    return bytes((0x68, len(body), len(body), 0x68)) + body + bytes((sum(body) & 0xFF, 0x16))


def mbus(data: bytes) -> None:
    got = answer(seals(data))
    said = telegram(got.ci, got.data)
    values = meter.named("mbus-meter", said)
    assert values.keys() <= {point.name for point in LIBRARY["mbus-meter"].points}


def bthome_objects(data: bytes) -> None:
    values = bthome.decode(
        Advertisement("54:48:E6:8F:80:A5", service={bthome.UUID: data}), bytes(16)
    )
    assert values.keys() <= {point.name for point in LIBRARY["bthome-v2"].points}


def ruuvi_payload(data: bytes) -> None:
    ruuvi.decode(Advertisement("", manufacturer={ruuvi.COMPANY: data}), b"")


def p1_telegram(data: bytes) -> None:
    p1.decode(data)


def seeds_of(model: str) -> list[bytes]:
    driver = LIBRARY[model]
    assert not isinstance(driver, RegisterMap)
    found = [v.frame for v in getattr(driver, "vectors", ()) if v.frame]
    for vector in getattr(driver, "vectors", ()):
        if vector.advertisement:
            found += [
                *vector.advertisement.service.values(),
                *vector.advertisement.manufacturer.values(),
            ]
    return found


DECODERS: dict[str, tuple[Callable[[bytes], None], list[bytes]]] = {
    "mbus": (mbus, TELEGRAMS),
    "bthome": (bthome_objects, seeds_of("bthome-v2")),
    "ruuvi": (ruuvi_payload, seeds_of("ruuvi")),
    "p1": (p1_telegram, seeds_of("dsmr")),
}


def decoders(name: str, count: int, seed: int) -> int:
    """How many of so many mutated frames were taken for sound."""
    function, seeds = DECODERS[name]
    chance = random.Random(seed)
    return sum(quiet(function, mutated(chance, seeds), seed) for _ in range(count))


def tell(capsys: pytest.CaptureFixture[str], family: str, frames: int, sound: int) -> None:
    with capsys.disabled():
        print(f"\n{family:20} {frames:9,} mutated frames, {sound:9,} of them sound", end="")


@pytest.mark.parametrize("name", DECODERS)
def test_decoders_refuse_with_frame_error_only(name: str) -> None:
    decoders(name, FEW * 5, 20261)


@pytest.mark.long
@pytest.mark.parametrize("name", DECODERS)
def test_decoders_a_million_times(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    tell(capsys, name, MANY, decoders(name, MANY, 20262))


def streams(driver: StreamDriver, count: int, seed: int) -> int:
    chance = random.Random(seed)
    seeds = [vector.frame for vector in driver.vectors]
    framer = Framer(driver.framing)
    fed = kept = sound = 0
    for _ in range(count):
        data = mutated(chance, seeds)
        fed += len(data)
        for frame in framer.feed(data):
            kept += len(frame)
            sound += quiet(driver.decode, frame, seed)
        assert framer.held <= 16384
    assert fed == kept + framer.dropped + framer.held, f"seed {seed}: bytes were lost uncounted"
    for vector in driver.vectors:
        quiet(driver.decode, mutated(chance, [vector.frame]), seed)
    return sound


@pytest.mark.parametrize("driver", STREAMS, ids=lambda d: d.model)
def test_streams_count_every_byte(driver: StreamDriver) -> None:
    streams(driver, FEW, 20263)


FAMILIES = {
    module.__name__.rpartition(".")[2]: [
        d for d in module.DRIVERS if isinstance(d, StreamDriver | ExchangeDriver)
    ]
    for module in _CODE
    if any(isinstance(d, StreamDriver | ExchangeDriver) for d in module.DRIVERS)
}


@pytest.mark.long
@pytest.mark.parametrize("family", FAMILIES)
def test_a_family_a_million_times(family: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Through framing or conversation, as the gateway would: a million frames over the drivers of one file."""
    drivers = FAMILIES[family]
    each = MANY // len(drivers) + 1
    sound = sum(
        streams(driver, each, 20264)
        if isinstance(driver, StreamDriver)
        else exchanges(driver, each, 20266)
        for driver in drivers
    )
    tell(capsys, family, each * len(drivers), sound)


def declared(driver: ExchangeDriver, replies: list[bytes]) -> None:
    assert exchange(driver, replies).keys() <= {point.name for point in driver.points}


def exchanges(driver: ExchangeDriver, count: int, seed: int) -> int:
    chance = random.Random(seed)
    sound = 0
    for _ in range(count):
        vector = chance.choice(driver.vectors)
        replies = [
            mutated(chance, [reply]) if chance.random() < 0.6 else reply for reply in vector.reply
        ]
        sound += quiet(partial(_converse, driver, replies), b"".join(replies), seed)
    return sound


def _converse(driver: ExchangeDriver, replies: list[bytes], _: bytes) -> None:
    declared(driver, replies)


@pytest.mark.parametrize("driver", EXCHANGES, ids=lambda d: d.model)
def test_exchanges_refuse_with_frame_error_only(driver: ExchangeDriver) -> None:
    exchanges(driver, FEW, 20265)


def maps(count: int, seed: int) -> int:
    chance = random.Random(seed)
    sound = 0
    for _ in range(count):
        driver = chance.choice(MAPS)
        vector = chance.choice(driver.vectors)
        blocks = {start: list(words) for start, words in vector.registers.items()}
        words = blocks[chance.choice(list(blocks))]
        for _ in range(chance.randint(1, 8)):
            words[chance.randrange(len(words))] = chance.choice(
                (0, 0x7FFF, 0x8000, 0xFFFF, 0x7F80, chance.randint(0, 0xFFFF))
            )
        if chance.random() < 0.3:
            del words[chance.randrange(len(words)) :]
        try:
            found = discovered(driver.discover(), blocks) if driver.discover else driver
            values = decode_map(found, blocks)
        except FrameError:
            continue
        assert all(value == value for value in values.values()), (
            f"seed {seed}: NaN from {driver.model}"
        )
        sound += 1
    return sound


def test_maps_never_give_nan() -> None:
    maps(FEW * 2, 20267)


@pytest.mark.long
def test_maps_a_million_times(capsys: pytest.CaptureFixture[str]) -> None:
    tell(capsys, "register maps", MANY, maps(MANY, 20268))


def chunks(chance: random.Random, data: bytes) -> Iterator[bytes]:
    at = 0
    while at < len(data):
        size = chance.randint(1, 40)
        yield data[at : at + size]
        at += size


@pytest.mark.parametrize(
    "framing",
    [ShdlcFraming(), MbusFraming(), *(d.framing for d in STREAMS)],
    ids=lambda f: type(f).__name__,
)
def test_frames_do_not_depend_on_how_bytes_arrive(framing: Framing) -> None:
    chance = random.Random(20269)
    seeds = [v.frame for d in STREAMS for v in d.vectors] + TELEGRAMS
    for _ in range(20):
        data = b"".join(mutated(chance, seeds) for _ in range(6))
        whole = list(Framer(framing).feed(data))
        framer = Framer(framing)
        assert [frame for chunk in chunks(chance, data) for frame in framer.feed(chunk)] == whole


MAP = """model = "x"
products = ["X"]
source = "s"
[[point]]
name = "power"
address = 1
type = "int16"
unit = "W"
range = [0, 1]
"""


def test_map_files_are_refused_with_map_error_only() -> None:
    chance = random.Random(20270)
    good = MAP.encode()
    assert mapfile.load(good).model == "x"
    for _ in range(FEW):
        try:
            mapfile.load(mutated(chance, [good]))
        except mapfile.MapError:
            continue


def test_an_exchange_with_a_shouting_line_ends() -> None:
    for driver in EXCHANGES:
        conversation = driver.measure(1)
        step = next(conversation)
        try:
            for _ in range(500):
                step = conversation.send(bytes(step.count) if isinstance(step, Read) else b"")
        except (FrameError, StopIteration):
            continue
        pytest.fail(f"{driver.model} listens for ever")
