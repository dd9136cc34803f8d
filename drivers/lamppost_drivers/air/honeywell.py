"""Honeywell HPMA115 particulate sensors on UART: ask with 04h, 8 (standard) or 16 (compact) bytes answer."""

from functools import partial

from lamppost_drivers.checksum import sum8
from lamppost_drivers.contract import Absent, Point, Values
from lamppost_drivers.framing import FixedFraming
from lamppost_drivers.uart import asked

_MODELS = {  # the words in their order, and an answer encoded by hand: 30, 31, ...
    "hpma115s0": (("pm25", "pm10"), "400504001e001f7a"),
    "hpma115c0": (("pm1", "pm25", "pm4", "pm10"), "400d04001e001f002000210000000031"),
}


def command(*body: int) -> bytes:
    """A command: head 68h, length, its bytes, check."""
    frame = bytes((0x68, len(body), *body))
    return frame + bytes((-sum8(frame) & 0xFF,))


def values(names: tuple[str, ...], frame: bytes) -> Values:
    """The masses of an answer; zeros only are sent while the fan starts."""
    raw = [int.from_bytes(frame[at : at + 2]) for at in range(3, 3 + 2 * len(names), 2)]
    return dict(
        zip(names, raw, strict=True) if any(raw) else ((n, Absent.WARMING_UP) for n in names)
    )


DRIVERS = tuple(
    asked(
        model,
        f"Honeywell {model.upper()}",
        source="Honeywell HPM Series data sheet, issue F",
        points=tuple(Point(name, "ug/m3", 0, 1000) for name in names),
        request=command(0x04),
        framing=FixedFraming(bytes.fromhex(good[:6]), len(good) // 2, lambda f: sum8(f) == 0),
        values=partial(values, names),
        evidence=(
            ("hand-encoded", good, {name: 30 + i for i, name in enumerate(names)}),
            ("wrong check", good[:-1] + "f", None),
        ),
    )
    for model, (names, good) in _MODELS.items()
)
