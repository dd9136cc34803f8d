"""Captured telegrams: wired M-Bus long frames of any meter, and P1 telegrams or single lines of them."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

from lamppost.cli.captured_air import played
from lamppost.cli.captured_row import Decoded, Refused, Row, data_of, text_of
from lamppost_drivers.contract import Driver, StreamDriver
from lamppost_drivers.electricity import p1 as p1_driver
from lamppost_drivers.framing import Framer, MbusFraming, first
from lamppost_drivers.mbus.frame import answer
from lamppost_drivers.mbus.meter import model_of_medium, named
from lamppost_drivers.mbus.records import telegram

Find = Callable[[str], Driver]


def mbus(row: Row, find: Find) -> Decoded:
    """One answer of a meter: the model follows from its medium, `raw` has the header and all records."""
    got = answer(first(MbusFraming(), data_of(row)))
    said = telegram(got.ci, got.data)
    model = model_of_medium(said.header.medium)
    raw = {
        "model": model,
        "header": dataclasses.asdict(said.header),
        "records": [dataclasses.asdict(record) for record in said.records],
        "more": said.more,
    }
    return Decoded(find(model).points, named(model, said), raw)


def p1(row: Row, find: Find) -> Decoded:
    """A telegram with its check, DSMR 2.2 without one; or a single data line."""
    text = text_of(row) if "input_text" in row else data_of(row).decode("latin-1")
    if "\n" not in text.strip():
        return _line(text)
    data = text.encode("latin-1", "replace")
    if not data.endswith(b"\n"):
        data += b"\r\n"
    checked = data.rstrip()[-5:-4] == b"!"
    model = "dsmr" if checked else "dsmr2"
    driver = find(model)
    if not isinstance(driver, StreamDriver):
        raise Refused("device.unknown-model", f"{model} is no stream here")
    found = played(driver, data)
    frames = list(Framer(driver.framing).feed(data))
    return Decoded(found.points, found.values, {"model": model, "objects": _objects(frames[0])})


def _objects(frame: bytes) -> dict[str, list[list[str]]]:
    return {
        code: [list(pair) for pair in pairs] for code, pairs in p1_driver.objects(frame).items()
    }


def _line(text: str) -> Decoded:
    objects = _objects(f"{text}\r\n".encode("latin-1", "replace"))
    if not objects:
        raise Refused("device.no-reading", "no data line of a P1 telegram")
    return Decoded((), {}, {"objects": objects})
