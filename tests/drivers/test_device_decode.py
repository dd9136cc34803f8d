"""All captured rows in scope, piped through `lamppost device decode --vectors -`: a table, and no wrong value."""

from __future__ import annotations

import json
import re
import struct
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import pytest

from drivers import shared_air, shared_meters, shared_modbus, shared_telegrams
from drivers.verdict import NotClaimed, Pair, Row, Verdict, judge
from lamppost.cli.captured_row import model_of
from lamppost_drivers.catalogue import CAPTURED, CAPTURED_TOGETHER
from lamppost_drivers.contract import Absent, FrameError, Values
from lamppost_drivers.electricity import sunspec as walker
from lamppost_drivers.electricity.sunspec_models import INVERTERS
from lamppost_drivers.library import LIBRARY
from lamppost_drivers.mbus.records import Header, Record, Telegram
from shared_folder import shared_path, vectors

Answer = Mapping[str, Any]
CODES_NOT_CLAIMED = ("device.unknown-model", "device.no-reading")


def values_of(answer: Answer) -> Values:
    """The readings as the drivers gave them: what has no value is told in `raw.absent`."""
    absent = {name: Absent(reason) for name, reason in answer["raw"].get("absent", {}).items()}
    return {r["point"]: absent.get(r["point"], r["value"]) for r in answer["readings"]}


def shdlc(answer: Answer, row: Row) -> Iterable[Pair]:
    if "framing" in row["model"]:
        return shared_air.shdlc_pairs(answer["raw"], row)
    return shared_air.measured(values_of(answer), row)


def words(answer: Answer, row: Row) -> Iterable[Pair]:
    for name in ("crc8", "offset_degC"):
        if name in row["expected"]:
            return [Pair(name, answer["raw"][name], row["expected"][name])]
    return shared_air.word_pairs(values_of(answer), row)


def meter_dump(answer: Answer, row: Row) -> Iterable[Pair]:
    if row["model"] == "sma SmaModbusConstants":
        return shared_meters.constants(row, values_of(answer))
    if row["model"] == "sma WebBoxUtils":
        return shared_meters.webbox(row, answer["raw"]["devices"])
    if shared_meters.claimed(row):
        return shared_meters.pairs(row, values_of(answer))
    return shared_modbus.getters(row, values_of(answer), "PM3200" in row["model"])


def sunspec(answer: Answer, row: Row) -> Iterable[Pair]:
    raw, values = answer["raw"], values_of(answer)
    blocks = tuple(walker.Block(*block) for block in raw["models"])
    chain = list(shared_modbus.of_chain(row, walker.Chain(raw["base"], blocks, raw["identity"])))
    inverter = any(block.model in INVERTERS for block in blocks)
    read = list(shared_modbus.of_readings(row, values, inverter)) if values else []
    pairs = chain + read + list(shared_meters.settings(row, raw["settings"]))
    if not pairs or len(pairs) < len(shared_modbus.of_models(row)):
        raise NotClaimed(f"readings of models {[block.model for block in blocks]}")
    return pairs


def vendor(answer: Answer, row: Row) -> Iterable[Pair]:
    if "text" in row["expected"]:
        return [Pair("text", answer["raw"]["text"], row["expected"]["text"])]
    if not answer["readings"]:
        (number,) = answer["raw"]["unnamed"].values()
        return [Pair("a register that no point names", number, row["expected"]["value"])]
    return shared_modbus.vendor_pairs(values_of(answer), row)


def mbus(answer: Answer, row: Row) -> Iterable[Pair]:
    raw = answer["raw"]
    records = tuple(
        Record(**{**record, "modifiers": tuple(record["modifiers"])}) for record in raw["records"]
    )
    return shared_telegrams.mbus_pairs(Telegram(Header(**raw["header"]), records), row)


def p1(answer: Answer, row: Row) -> Iterable[Pair]:
    objects = answer["raw"]["objects"]
    if row["input_kind"] == "one P1 data line":
        return shared_telegrams.line_pairs(objects, row["input_text"], row["expected"])
    return shared_telegrams.telegram_pairs(values_of(answer), objects, row)


def command(answer: Answer, row: Row) -> Iterable[Pair]:
    """Bytes that go to a device: named as what they are, and no measurement."""
    raw, data = answer["raw"], bytes.fromhex(row["input_hex"])
    yield Pair("readings", len(answer["readings"]), 0)
    if "meaning" in row["expected"]:
        asked = raw["request"]
        wire = asked["unit"], asked["function"], asked["address"], asked["count"]
        yield Pair("request", struct.pack(">BBHH", *wire).hex(), data[:-2].hex())
        return
    if "data_hex" in row["expected"]:
        names = ("address", "command", "data_hex")
        yield from (Pair(name, raw[name], row["expected"][name]) for name in names)
        return
    told = row["expected"]["command"].replace("_", " ").replace("customer adjustment ", "")
    yield Pair("command", told.startswith(raw["command"]), True)
    for number in re.findall(r"\b\d+\b", told):
        yield Pair("number", raw.get("minutes", raw.get("value")), int(number))
    if "of device" in told:
        yield Pair("device", raw["device"], told.split()[-1])


def framing(answer: Answer, row: Row) -> Iterable[Pair]:
    """Frames alone: the unit id and function of what was asked for."""
    request = bytes.fromhex(row["expected"]["request_hex"])
    said = (answer["raw"]["unit"], answer["raw"]["function"])
    return [Pair("unit and function", str(said), str((request[0], request[1])))]


FAMILIES: dict[str, Callable[[Answer, Row], Iterable[Pair]]] = {
    "air/plantower": lambda a, row: shared_air.measured(values_of(a), row),
    "air/nova_sds": lambda a, row: shared_air.measured(values_of(a), row),
    "air/sensirion_shdlc": shdlc,
    "air/sensirion_i2c": words,
    "air/winsen": lambda a, row: shared_air.measured(values_of(a), row),
    "air/honeywell_hpma": lambda a, row: shared_air.measured(values_of(a), row),
    "air/mcu680": lambda a, row: shared_air.measured(values_of(a), row),
    "air/bosch": lambda a, row: (
        shared_air.bme680_pairs(values_of(a), a["raw"], row)
        if row["model"] == "BME680"
        else shared_air.bosch_pairs(values_of(a), row)
    ),
    "level/ultrasonic_uart": lambda a, row: shared_air.level_pairs(values_of(a), row),
    "modbus/conversion": lambda a, row: shared_modbus.conversion_pairs(values_of(a)["value"], row),
    "modbus/meter_dump": meter_dump,
    "modbus/rtu_framing": framing,
    "modbus/sunspec": sunspec,
    "modbus/vendor_example": vendor,
    "mbus": mbus,
    "dsmr_p1": p1,
    "ble/bthome_v2": lambda a, row: shared_telegrams.bthome_pairs(values_of(a), row),
    "ble/ruuvi": lambda a, row: shared_telegrams.ruuvi_pairs(
        values_of(a), bytes.fromhex(row["input_hex"])[0], row
    ),
}


def piped(rows: Iterable[Row]) -> list[Answer]:
    """What the command answers, a line for each row. The request belongs to a captured answer: it is an input."""
    lines = []
    for row in rows:
        given = {key: value for key, value in row.items() if key != "expected"}
        if request := row["expected"].get("request_hex"):
            given["aux"] = {**given.get("aux", {}), "request_hex": request}
        lines.append(json.dumps(given))
    command = [sys.executable, "-c", "from lamppost.cli.main import main; main()"]
    done = subprocess.run(
        [*command, "device", "decode", "--vectors", "-"],
        input="\n".join(lines), capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
    return [json.loads(line) for line in done.stdout.splitlines()]


def judged(answer: Answer, row: Row, family: str) -> Verdict:
    def pairs(row: Row) -> list[Pair]:
        if row["expected"].get("encode"):
            if "refused" in answer:
                raise NotClaimed("a command, not a measurement")
            return list(command(answer, row))
        if "refused" in answer:
            if family == "mbus" and row["expected"].get("kind") == "error":
                return [Pair("refused", True, True)]
            if family == "ble/bthome_v2" and not shared_telegrams.bthome_wanted(row):
                return [Pair("no reading", True, True)]
            asked = row["expected"].get("outcome") in ("reject", "sensor_state_error")
            if answer["refused"] in CODES_NOT_CLAIMED and not asked:
                raise NotClaimed(answer["why"])
            raise FrameError(f"{answer['refused']}: {answer['why']}")
        return list(FAMILIES[family](answer, row))

    return judge(row, pairs)


@pytest.fixture(scope="module")
def answered() -> dict[str, list[tuple[Answer, Row]]]:
    shared_path("vectors")
    rows = [(family, row) for family in FAMILIES for row in vectors(family)]
    answers = piped(row for _, row in rows)
    assert len(answers) == len(rows)
    found: dict[str, list[tuple[Answer, Row]]] = {family: [] for family in FAMILIES}
    for answer, (family, row) in zip(answers, rows, strict=True):
        assert answer["id"] == row["id"]
        found[family].append((answer, row))
    return found


@pytest.mark.shared
@pytest.mark.parametrize("family", FAMILIES)
def test_family_through_the_command(
    family: str,
    answered: dict[str, list[tuple[Answer, Row]]],
    capsys: pytest.CaptureFixture[str],
) -> None:
    verdicts = [judged(answer, row, family) for answer, row in answered[family]]
    count = Counter(verdict.outcome for verdict in verdicts)
    wrong = [verdict for verdict in verdicts if verdict.wrong]
    with capsys.disabled():
        print(
            f"\n{family:24} {len(verdicts):4} rows: passed {count['passed']:3}, refused as asked "
            f"{count['refused']:2}, failed {count['failed']:2}, no reading or no model "
            f"{count['not claimed']:2}, wrong value {len(wrong)}",
            end="",
        )
    assert wrong == []
    assert [verdict for verdict in verdicts if verdict.outcome == "failed"] == []
    assert count["not claimed"] == 0


RECORDED = (
    "air/plantower", "air/nova_sds", "air/winsen", "air/honeywell_hpma", "air/mcu680", "air/bosch", "modbus/meter_dump",
    "mbus", "dsmr_p1", "ble/ruuvi",
)  # fmt: skip
"""Families that hold recordings of real devices; the others were made by the authors of their sources."""


@pytest.mark.shared
def test_the_device_list_counts_recordings_rightly(
    answered: dict[str, list[tuple[Answer, Row]]],
) -> None:
    counted: Counter[str] = Counter()
    for family in RECORDED:
        for answer, row in answered[family]:
            if row["model"] == "sma SmaModbusConstants":
                continue  # values of types, of no device
            if answer.get("readings") and judged(answer, row, family).outcome == "passed":
                known = answer["raw"].get("model") or ("ruuvi" if family == "ble/ruuvi" else None)
                counted[known or model_of(row, LIBRARY.find).model] += 1
    assert dict(counted) == CAPTURED
    sunspec = [judged(a, row, "modbus/sunspec").outcome for a, row in answered["modbus/sunspec"]]
    assert set(CAPTURED_TOGETHER.values()) == {sunspec.count("passed")}
