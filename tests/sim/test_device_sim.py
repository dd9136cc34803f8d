"""`lamppost device sim MODEL`: for any model of the library a gateway reads from it what the vectors say."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from fakes.acquiring import Acquiring
from lamppost.cli import device_cabinet, device_sim
from lamppost.errors import SiteError
from lamppost_drivers.contract import Absent, PulseDriver
from lamppost_drivers.library import LIBRARY
from lamppost_drivers.selftest import equal

PROGRAM = "import sys; from lamppost.cli.main import main; sys.exit(main())"
QUICK = ("sps30",)
KERNEL = ("i2c", "gpio", "ble")
OWN = """model = "own-meter"
products = ["Own"]
source = "its plate"
serial = { baud = 19200, parity = "E" }
[[point]]
name = "power"
address = 7
type = "int16"
unit = "W"
range = [0, 5000]
[[vector]]
note = "by hand"
registers = { 7 = [1234] }
expect = { power = 1234 }
"""


@contextmanager
def simulated(words: list[str], folder: Path) -> Iterator[str]:
    """The command, until it is ready; gives what it said."""
    process = subprocess.Popen(
        [sys.executable, "-c", PROGRAM, "device", "sim", *words, "--at", str(folder / "sim"), "--for", "5min"],
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, cwd=folder,
    )  # fmt: skip
    assert process.stdout is not None
    try:
        said = ""
        while "ready " not in said:
            line = process.stdout.readline()
            assert line, said
            said += line
        yield said
    finally:
        process.terminate()
        process.communicate(timeout=20)


def read(folder: Path) -> tuple[dict[str, object], set[str]]:
    """What a gateway reads from it: newest values, and all reasons of the newest sample."""
    sim = folder / "sim"
    env = dict(os.environ)
    if (sim / "environment").exists():
        lines = (sim / "environment").read_text(encoding="utf-8").splitlines()
        env |= dict(line.split("=", 1) for line in lines)
    site = (sim / "site.toml").read_text(encoding="utf-8")
    with Acquiring(folder, site[site.index("[[link]]") :], env) as gateway:
        gateway.wait(
            lambda: any("good" in s["reasons"].values() for s in gateway.of("trial")), "good", 60
        )
        return gateway.newest("trial"), {
            r for s in gateway.of("trial") for r in s["reasons"].values()
        }


@pytest.mark.parametrize(
    "model",
    [pytest.param(m, marks=[] if m in QUICK else [pytest.mark.long]) for m in LIBRARY.models()],
)
def test_a_gateway_reads_what_the_vectors_say(model: str, tmp_path: Path) -> None:
    driver = LIBRARY[model]
    if any(f'kind = "{kind}"' in device_cabinet.fragment(driver, 1) for kind in KERNEL):
        for library in ("smbus2", "lgpio", "bleak"):
            pytest.importorskip(library)
    with simulated([model], tmp_path) as said:
        assert '[[device]]\nname = "trial"' in said
        assert "Traceback" not in said
        values, reasons = read(tmp_path)
    assert "good" in reasons
    assert not reasons & {"corrupt", "driver_error", "no_response"}, reasons
    if isinstance(driver, PulseDriver):
        return
    expect = next(v.expect for v in driver.vectors if v.expect is not None and not v.key)
    named = {n: v for n, v in (expect or {}).items() if not isinstance(v, Absent) and n in values}
    assert named
    assert all(equal(values[name], value) for name, value in named.items()), (values, named)


def test_a_map_of_ones_own(tmp_path: Path) -> None:
    (tmp_path / "own-meter.toml").write_text(OWN)
    with simulated(["own-meter.toml", "--unit", "7"], tmp_path) as said:
        assert "unit = 7" in said
        site = (tmp_path / "sim" / "site.toml").read_text(encoding="utf-8")
    assert f'maps = "{tmp_path}"' in site


def test_without_the_simulator_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    monkeypatch.setattr(sys, "executable", "/nowhere/python")
    with pytest.raises(SiteError, match="lamppost-sim is not installed") as refused:
        device_sim.simulate(LIBRARY["sdm120"], Path("unused"), 1, None, None)
    assert refused.value.code == "device.no-simulator"
    assert "pip install" in refused.value.hint
    assert not Path("unused").exists()


def test_a_map_without_a_vector_is_refused(tmp_path: Path) -> None:
    (tmp_path / "own-meter.toml").write_text(OWN[: OWN.index("[[vector]]")])
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, "device", "sim", "own-meter.toml"],
        capture_output=True, text=True, cwd=tmp_path, check=False,
    )  # fmt: skip
    assert done.returncode == 7
    assert "add a [[vector]]" in done.stdout
    assert "PROBLEM device.map-invalid" in done.stdout
