"""Play drivers without a bus: bytes or registers in, values out."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence

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
    raise AssertionError(f"{driver.model} never ends its conversation")


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
    raise AssertionError("the discovery never ends")


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
            assert vector.advertisement is not None
            return driver.decode(vector.advertisement, vector.key)
        case PulseDriver():
            raise AssertionError("a pulse has no vector")


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
