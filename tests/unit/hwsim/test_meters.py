"""Meters: the registers say what the truth is, energies are the integral of power, dumps are served as they are."""

from __future__ import annotations

import csv
import json
import struct
from collections.abc import Sequence
from typing import Any

import pytest

from hwsim.meters import METERS, Iem3255, Meter, RegisterDump, Sdm120, Sdm630
from hwsim.modbus_pdu import ILLEGAL_ADDRESS, Refusal
from shared_folder import shared_path, vectors

LISTS = {"sdm630": "eastron_sdm630", "sdm120": "eastron_sdm120", "iem3255": "schneider_iem3000"}
NAMES = {
    "active_power": "power",
    "active_energy": "energy",
    "thd": "voltage_thd",
}


def as_float(words: Sequence[int]) -> float:
    value: float = struct.unpack(">f", struct.pack(">2H", *words))[0]
    return value


def as_int64(words: Sequence[int]) -> int:
    value: int = struct.unpack(">q", struct.pack(">4H", *words))[0]
    return value


def true_name(row: dict[str, str], model: str) -> str:
    """The quantity of a row of the fact list, in the words of `truth`."""
    name = NAMES.get(row["quantity"], row["quantity"])
    parts = row["phase_direction"].split("/") if row["phase_direction"] else []
    ways = [part for part in parts if part in ("import", "export", "total")]
    phases = [part.lower() for part in parts if part.startswith("L")]
    average = model == "iem3255" and name in ("voltage", "current") and not phases
    return ".".join([name, *ways, *phases, *(["average"] if average else [])])


@pytest.mark.parametrize("model", METERS)
def test_every_register_of_the_fact_lists_holds_the_true_value(model: str) -> None:
    meter = METERS[model](seed=3, epoch=0.0)
    truth = meter.truth(500.5)
    path = shared_path(f"facts/modbus/{LISTS[model]}.csv")
    rows = list(csv.DictReader(path.read_text().splitlines()))
    assert len(rows) > 10
    for row in rows:
        table = meter.inputs if row["function"] == "4" else meter.holding
        address = int(row["register"])
        if row["type"] == "int64":
            value = as_int64(table.read(address, 4, 500.5)) * float(row["scale"])
            assert value == pytest.approx(truth[true_name(row, model)], abs=0.001)
        else:
            value = as_float(table.read(address, 2, 500.5)) * float(row["scale"])
            assert value == pytest.approx(truth[true_name(row, model)], rel=1e-6), row


@pytest.mark.parametrize("model", METERS)
def test_energy_is_the_integral_of_power(model: str) -> None:
    meter = METERS[model](seed=1, epoch=0.0, refresh=0.0)
    step, seconds = 0.5, 600
    joules = sum(
        meter.truth((at + 0.5) * step)["power"] * step for at in range(int(seconds / step))
    )
    grown = meter.truth(seconds)["energy.import"] - meter.truth(0.0)["energy.import"]
    assert grown == pytest.approx(joules / 3.6e6, rel=1e-5)


def test_values_are_plausible_and_hang_together() -> None:
    meter = Sdm630(seed=5, epoch=0.0)
    for at in range(0, 7200, 60):
        truth = meter.truth(at)
        for phase in ("l1", "l2", "l3"):
            assert 220 < truth[f"voltage.{phase}"] < 240
            apparent = truth[f"voltage.{phase}"] * truth[f"current.{phase}"]
            assert truth[f"apparent_power.{phase}"] == pytest.approx(apparent)
            assert truth[f"power.{phase}"] == pytest.approx(
                apparent * truth[f"power_factor.{phase}"]
            )
        assert truth["power"] == pytest.approx(sum(truth[f"power.{p}"] for p in ("l1", "l2", "l3")))
        assert 49.9 < truth["frequency"] < 50.1


def test_the_same_seed_gives_the_same_day_and_another_seed_another() -> None:
    assert Sdm120(seed=1, epoch=0.0).truth(99) == Sdm120(seed=1, epoch=1000.0).truth(1099)
    assert Sdm120(seed=1, epoch=0.0).truth(99) != Sdm120(seed=2, epoch=0.0).truth(99)


def test_values_renew_once_a_second_and_time_can_run_faster() -> None:
    meter = Sdm120(epoch=0.0)
    assert meter.truth(10.0) == meter.truth(10.9) != meter.truth(11.0)
    assert Sdm120(epoch=0.0, pace=60).truth(10.0) == Sdm120(epoch=0.0).truth(600.0)


@pytest.mark.parametrize(
    ("meter", "address"), [(Sdm630(), 382), (Sdm120(), 346), (Iem3255(), 3000 - 2)]
)
def test_past_its_list_a_meter_refuses(meter: Meter, address: int) -> None:
    for table in (meter.inputs, meter.holding):
        with pytest.raises(Refusal) as refusal:
            table.read(address, 2, 0.0)
        assert refusal.value.code == ILLEGAL_ADDRESS


def test_eastron_answers_zero_in_the_holes_of_its_list_and_no_more_than_80_registers() -> None:
    meter = Sdm630(epoch=0.0)
    assert list(meter.inputs.read(36, 16, 0.0)) == [0] * 16
    assert meter.answer(bytes.fromhex("0400000050"), 0.0)[:2] == b"\x04\xa0"
    assert meter.answer(bytes.fromhex("0400000051"), 0.0) == b"\x84\x03"
    assert meter.answer(bytes.fromhex("03fc020001"), 0.0) == b"\x03\x02\x00\x70"


def test_a_dump_serves_exactly_its_blocks() -> None:
    dump = RegisterDump({0: [0x4366, 0x3333], 10: [1]})
    assert dump.answer(bytes.fromhex("0300000002"), 0.0).hex() == "030443663333"
    assert dump.answer(bytes.fromhex("04000a0001"), 0.0).hex() == "04020001"
    assert dump.answer(bytes.fromhex("0300010002"), 0.0) == b"\x83\x02"


@pytest.mark.parametrize("row", list(vectors("modbus/meter_dump")), ids=lambda row: str(row["id"]))
def test_captured_dumps_are_served_word_for_word(row: dict[str, Any]) -> None:
    blocks = json.loads(row["input_text"])["blocks"]
    dump = RegisterDump.from_hex(blocks)
    for block in blocks:
        words = bytes.fromhex(block["registers_hex"])[:250]
        request = b"\x03" + block["start"].to_bytes(2, "big") + (len(words) // 2).to_bytes(2, "big")
        assert dump.answer(request, 0.0)[2:] == words
