"""Play drivers without a bus, and prove one over its own vectors: what `lamppost device selftest` and the tests run.

A vector is played whole, byte by byte, after junk, with a tail, and with every bit flipped: a flipped frame may be
refused or give the same values, but never others, where the frame carries a check.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence

from lamppost_drivers.contract import (
    Absent,
    BroadcastDriver,
    Discovery,
    Driver,
    ExchangeDriver,
    FrameError,
    PulseDriver,
    Read,
    RegisterMap,
    StreamDriver,
    Values,
    Vector,
)
from lamppost_drivers.framing import Framer
from lamppost_drivers.registermap import decode_map


def stream(driver: StreamDriver, chunks: Iterable[bytes]) -> list[Values]:
    """Values of all frames that the framing lets through; decode may refuse one of them."""
    framer = Framer(driver.framing)
    values = []
    for chunk in chunks:
        for frame in framer.feed(chunk):
            try:
                values.append(driver.decode(frame))
            except FrameError:
                continue
    return values


def exchange(driver: ExchangeDriver, replies: Sequence[bytes]) -> Values:
    """The values of one conversation; a Read past the last reply gets nothing, as from a silent line."""
    queue = list(replies)
    conversation = driver.measure(driver.address or 1)
    step = next(conversation)
    for _ in range(1000):
        try:
            answer = (queue.pop(0) if queue else b"") if isinstance(step, Read) else b""
            step = conversation.send(answer)
        except StopIteration as done:
            values: Values = done.value
            return values
    raise FrameError(f"{driver.model} never ends its conversation")


def discovered(discovery: Discovery, blocks: Mapping[int, Sequence[int]]) -> RegisterMap:
    """The map that a discovery returns on a device with these registers and no others."""
    flat = {start + i: word for start, words in blocks.items() for i, word in enumerate(words)}
    step = next(discovery)
    for _ in range(1000):
        words = [flat.get(step.address + i) for i in range(step.count)]
        known = [word for word in words if word is not None]
        try:
            step = discovery.send(known if len(known) == step.count else None)
        except StopIteration as done:
            found: RegisterMap = done.value
            return found
    raise FrameError("the discovery never ends")


def registers(driver: RegisterMap, blocks: Mapping[int, Sequence[int]]) -> Values:
    """Values of a map over blocks of registers, after discovery where the device describes itself."""
    found = discovered(driver.discover(), blocks) if driver.discover else driver
    return decode_map(found, blocks)


def decoded(driver: Driver, vector: Vector) -> Values:
    """Values of a vector, whole. Raises FrameError where it is refused."""
    match driver:
        case StreamDriver():
            values = stream(driver, [vector.frame])
            if not values:
                raise FrameError("no sound frame")
            return values[0]
        case ExchangeDriver():
            return exchange(driver, vector.reply)
        case RegisterMap():
            return registers(driver, vector.registers)
        case BroadcastDriver():
            if vector.advertisement is None:
                raise FrameError("a vector without an advertisement")
            return driver.decode(vector.advertisement, vector.key)
        case PulseDriver():
            raise FrameError("a pulse has no vector")


def same(got: Values, expect: Values) -> str:
    """What differs in the points that are expected; empty where nothing does."""
    return "; ".join(
        f"{name}: {got.get(name)!r} is not {want!r}"
        for name, want in expect.items()
        if not equal(got.get(name), want)
    )


def equal(got: object, want: object, absolute: float = 1e-9) -> bool:
    """Numbers to 1e-6, everything else exactly."""
    if isinstance(got, Absent) or isinstance(want, Absent | str | None):
        return got == want
    if not isinstance(got, int | float) or not isinstance(want, int | float):
        return False
    return math.isclose(got, want, rel_tol=1e-6, abs_tol=absolute)


# What these devices send carries no check, so a flipped bit may pass.
UNCHECKED = frozenset(
    (
        "hrxl-maxsonar-wr-5m",
        "hrxl-maxsonar-wr-10m",
        "xl-maxsonar-wr",
        "dsmr2",
        "bme280",
        "bme680",
        "ads1115-4-20ma",
    )
)


def problems(driver: Driver) -> Iterator[str]:
    """What a driver gets wrong over its own vectors, one line each; nothing for a sound driver."""
    if isinstance(driver, PulseDriver):
        return
    if not any(vector.expect is not None for vector in driver.vectors):
        yield "no vector with values"
    names = {point.name for point in driver.points}
    for vector in driver.vectors:
        try:
            got = decoded(driver, vector)
        except FrameError as reason:
            if vector.expect is not None:
                yield f"{vector.note}: refused: {reason}"
            continue
        if vector.expect is None:
            yield f"{vector.note}: accepted, and must be refused"
        elif wrong := same(got, vector.expect):
            yield f"{vector.note}: {wrong}"
        if undeclared := got.keys() - names:
            yield f"{vector.note}: no point declares {', '.join(sorted(undeclared))}"
        if isinstance(driver, StreamDriver):
            yield from (
                f"{vector.note}: {problem}"
                for problem in _stream_problems(driver, vector.frame, got)
            )
        if isinstance(driver, ExchangeDriver) and driver.model not in UNCHECKED:
            yield from (
                f"{vector.note}: {problem}"
                for problem in _exchange_problems(driver, vector.reply, got)
            )


def _stream_problems(driver: StreamDriver, frame: bytes, good: Values) -> Iterator[str]:
    ways: Mapping[str, list[bytes]] = {
        "byte by byte": [bytes((byte,)) for byte in frame],
        "after junk": [b"\x00\x55" + frame],
        "with a tail": [frame + b"\x00\x55"],
    }
    yield from (
        f"{way}: other values" for way, chunks in ways.items() if stream(driver, chunks) != [good]
    )
    if driver.model not in UNCHECKED:
        for bit, flipped in enumerate(flips(frame)):
            if any(values != good for values in stream(driver, [flipped, frame])):
                yield f"bit {bit} flipped: accepted with other values"


def _exchange_problems(
    driver: ExchangeDriver, reply: Sequence[bytes], good: Values
) -> Iterator[str]:
    for index, answer in enumerate(reply):
        for bit, flipped in enumerate(flips(answer)):
            try:
                values = exchange(driver, (*reply[:index], flipped, *reply[index + 1 :]))
            except FrameError:
                continue
            if values != good and not all(isinstance(value, Absent) for value in values.values()):
                yield f"bit {bit} of answer {index} flipped: accepted with other values"


def flips(data: bytes) -> Iterator[bytes]:
    """`data` with each of its bits turned, one at a time."""
    for bit in range(8 * len(data)):
        flipped = bytearray(data)
        flipped[bit // 8] ^= 1 << bit % 8
        yield bytes(flipped)
