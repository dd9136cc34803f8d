"""Captured rows of the shared folder, family by family, with a table of what passed. A wrong value must never pass."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable

import pytest

from drivers import shared_air, shared_modbus, shared_telegrams
from drivers.verdict import Pair, Row, Verdict, judge
from shared_folder import shared_path, vectors

FAMILIES: dict[str, Callable[[Row], Iterable[Pair]]] = {
    "air/plantower": shared_air.air,
    "air/nova_sds": shared_air.air,
    "air/sensirion_shdlc": shared_air.air,
    "air/sensirion_i2c": shared_air.sensirion_i2c,
    "air/winsen": shared_air.air,
    "air/honeywell_hpma": shared_air.air,
    "air/mcu680": shared_air.air,
    "air/bosch": shared_air.bosch,
    "level/ultrasonic_uart": shared_air.level,
    "modbus/conversion": shared_modbus.conversion,
    "modbus/meter_dump": shared_modbus.meter_dump,
    "modbus/sunspec": shared_modbus.sunspec,
    "modbus/vendor_example": shared_modbus.vendor_example,
    "mbus": shared_telegrams.mbus,
    "dsmr_p1": shared_telegrams.p1,
    "ble/bthome_v2": shared_telegrams.bthome,
    "ble/ruuvi": shared_telegrams.ruuvi,
}


def verdicts(family: str) -> list[Verdict]:
    return [judge(row, FAMILIES[family]) for row in vectors(family)]


@pytest.mark.shared
@pytest.mark.parametrize("family", FAMILIES)
def test_family(family: str, capsys: pytest.CaptureFixture[str]) -> None:
    shared_path(f"vectors/{family}/vectors.jsonl")
    judged = verdicts(family)
    count = Counter(verdict.outcome for verdict in judged)
    wrong = [verdict for verdict in judged if verdict.wrong]
    with capsys.disabled():
        print(
            f"\n{family:24} {len(judged):4} rows: passed {count['passed']:3}, refused as asked {count['refused']:2}, "
            f"failed {count['failed']:2}, not claimed {count['not claimed']:2}, wrong value accepted {len(wrong)}",
            end="",
        )
    assert judged
    assert wrong == []
    assert [verdict for verdict in judged if verdict.outcome == "failed"] == []
    assert count["not claimed"] == 0
