"""The rules of ARCHITECTURE.md hold, and each check notices when its rule is broken."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).resolve().parents[1]
PACKAGES = {
    "gateway": "lamppost",
    "drivers": "lamppost_drivers",
    "hub": "lamppost_hub",
    "hw-sim": "hwsim",
    "provisioning": "lamppost_kit",
}
BIN = Path(sys.executable).parent


def lint_imports(folder: Path) -> subprocess.CompletedProcess[str]:
    paths = os.pathsep.join(str(folder / part) for part in PACKAGES)
    return subprocess.run(
        [str(BIN / "lint-imports"), "--config", str(folder / "pyproject.toml"), "--no-cache"],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": paths},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The packages and their contracts, to be broken on purpose."""
    folder = tmp_path_factory.mktemp("copy")
    for part, package in PACKAGES.items():
        shutil.copytree(
            CHECKOUT / part / package,
            folder / part / package,
            ignore=shutil.ignore_patterns("__pycache__"),
        )
    shutil.copy(CHECKOUT / "pyproject.toml", folder)
    return folder


def test_the_import_rules_hold() -> None:
    done = lint_imports(CHECKOUT)
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize(
    ("rule", "file", "line"),
    [
        ("1. Drivers are the bottom", "drivers/lamppost_drivers/framing.py", "import asyncio"),
        (
            "1. In the drivers only the map loader knows pydantic",
            "drivers/lamppost_drivers/framing.py",
            "import pydantic",
        ),
        ("2. The ring knows bytes", "gateway/lamppost/ring/ring.py", "import lamppost.packing"),
        (
            "3. Stages import downwards only",
            "gateway/lamppost/links/modbus.py",
            "import lamppost.acquire.poller",
        ),
        (
            "3. Stages import downwards only",
            "gateway/lamppost/uplink/sender.py",
            "import lamppost.aggregate",
        ),
        (
            "4. pymodbus only in links/modbus.py",
            "gateway/lamppost/acquire/poller.py",
            "import pymodbus",
        ),
        (
            "4. pyserial only in links/serial.py",
            "gateway/lamppost/acquire/poller.py",
            "import serial",
        ),
        ("4. smbus2 only in links/i2c.py", "gateway/lamppost/links/bus.py", "import smbus2"),
        ("4. RPi.GPIO only in links/gpio.py", "gateway/lamppost/links/bus.py", "import RPi.GPIO"),
        ("4. bleak only in links/ble.py", "gateway/lamppost/links/bus.py", "import bleak"),
        (
            "4. The MQTT client only in mqtt.py (the gateway's and the hub's)",
            "gateway/lamppost/uplink/sender.py",
            "import aiomqtt",
        ),
        (
            "4. cryptography only in envelope/ and the CA",
            "gateway/lamppost/uplink/sender.py",
            "import cryptography",
        ),
        (
            "4. pkcs11 only in envelope/token.py",
            "gateway/lamppost/envelope/keys.py",
            "import pkcs11",
        ),
        (
            "4. pydantic only in config/",
            "gateway/lamppost/acquire/poller.py",
            "import pydantic",
        ),
        (
            "5. Simulated hardware shares no code with what it tests",
            "hw-sim/hwsim/line.py",
            "import lamppost_drivers.framing",
        ),
        (
            "6. The hub opens; it does not know how we measure",
            "hub/lamppost_hub/ledger.py",
            "import lamppost.ring",
        ),
        (
            "6. Nothing on the gateway imports hub, kit or simulator",
            "gateway/lamppost/daemon.py",
            "import lamppost_hub.ledger",
        ),
    ],
)
def test_a_broken_import_rule_is_noticed(copy: Path, rule: str, file: str, line: str) -> None:
    path = copy / file
    whole = path.read_text()
    path.write_text(f"{whole}\n{line}\n")
    try:
        done = lint_imports(copy)
    finally:
        path.write_text(whole)
    assert done.returncode != 0
    assert f"{rule} BROKEN" in " ".join(done.stdout.split()), done.stdout


def ruff(name: str, source: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(BIN / "ruff"), "check", "--select", "TID251", "--stdin-filename", name, "-"],
        cwd=CHECKOUT,
        input=source,
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize(
    "source",
    [
        "import time\ntime.time()\n",
        "import time\ntime.monotonic()\n",
        "import time\ntime.sleep(1)\n",
        "from time import time_ns\n",
        "import datetime\ndatetime.datetime.now()\n",
        "import os\nos.replace('a', 'b')\n",
    ],
)
def test_clocks_and_renames_have_one_home(source: str) -> None:
    assert ruff("gateway/lamppost/acquire/somewhere.py", source).returncode == 1
    assert ruff("hub/lamppost_hub/somewhere.py", source).returncode == 1
    home = "files.py" if "os" in source.split() else "clock.py"
    assert ruff(f"gateway/lamppost/{home}", source).returncode == 0


def test_nobody_reads_a_clock_or_renames_elsewhere() -> None:
    done = subprocess.run(
        [str(BIN / "ruff"), "check", "--select", "TID251", "gateway", "hub", "drivers"],
        cwd=CHECKOUT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout


def test_every_package_opens_with_a_docstring() -> None:
    silent = [
        str(path.relative_to(CHECKOUT))
        for part, package in PACKAGES.items()
        for path in (CHECKOUT / part / package).rglob("__init__.py")
        if not path.read_text().lstrip().startswith('"""')
    ]
    assert silent == []
