"""The shim under real libraries: pyserial with parity, smbus2 on the I2C bus, rpi-lgpio on the GPIO chip."""

from __future__ import annotations

import json
import struct
import subprocess
import sys
import textwrap
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from hwsim.gpio import GpioChip
from hwsim.i2c import I2cBus, Nack
from hwsim.i2c_devices import Ads1115, Bme280, Bme680, Registers, Scd4x, Sht4x, Sps30, crc8
from hwsim.line import Line
from hwsim.modbus import RtuUnit
from hwsim.preload import PreloadError, environment, library
from shared_folder import vectors

try:
    library()
except PreloadError as error:
    pytest.skip(str(error), allow_module_level=True)


def client(code: str, devices: Path, **env: str) -> Any:
    """Run a program under the shim; its last printed line is JSON."""
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)],
        env={**environment(devices), **env},
        cwd=devices,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


# --- serial

PARITY = """
    import json, serial, sys
    said = []
    for parity, size in (("N", 8), ("E", 8), ("E", 7), ("O", 8), ("E", 8), ("E", 8)):
        with serial.Serial("bus", 9600, timeout={timeout}, parity=parity, bytesize=size) as port:
            port.write(bytes.fromhex("010300000001840a"))
            said.append(port.read(7).hex())
    print(json.dumps(said))
"""


def test_parity_works_again_and_again_and_the_wrong_one_is_garbage(tmp_path: Path) -> None:
    with Line(tmp_path / "bus", 9600, form="8E1", devices=[RtuUnit(1, {0: 7}, delay=0.0)]) as line:
        said = client(PARITY.format(timeout=0.3), tmp_path)
    right = "0103020007f986"
    assert [answer == right for answer in said] == [False, True, False, False, True, True]
    assert line.byte_time == pytest.approx(11 / 9600)


def test_modem_lines_rs485_and_low_latency(tmp_path: Path) -> None:
    with Line(tmp_path / "bus", 9600):
        said = client(
            """
            import json, serial, serial.rs485
            port = serial.Serial("bus", 9600, rtscts=False, dsrdtr=False)
            before = [port.cts, port.dsr, port.rts]
            port.rts = False
            port.set_low_latency_mode(True)
            port.rs485_mode = serial.rs485.RS485Settings()
            print(json.dumps([before, port.rts, port.dtr]))
            """,
            tmp_path,
        )
    assert said == [[True, True, True], False, True]


def test_a_line_that_is_unplugged_fails_under_the_shim_too(tmp_path: Path) -> None:
    with Line(tmp_path / "bus", 9600) as line:

        def pull() -> None:
            line.wait(lambda stats: stats.from_driver > 0, timeout=30)
            line.unplug()

        threading.Thread(target=pull).start()
        said = client(
            """
            import json, serial
            port = serial.Serial("bus", 9600, timeout=10)
            port.write(b"x")
            errors = []
            for attempt in (lambda: port.read(1), lambda: port.cts, lambda: port.write(b"x")):
                try:
                    attempt()
                except OSError as error:
                    errors.append(type(error).__name__)
            print(json.dumps(len(errors)))
            """,
            tmp_path,
        )
    assert said == 3


# --- I2C


def test_smbus2_reads_and_writes_registers(tmp_path: Path) -> None:
    with I2cBus(tmp_path) as bus:
        bus.devices[0x76] = Registers({0xD0: b"\x60", 0x88: bytes(range(24))})
        said = client(
            """
            import json, smbus2
            bus = smbus2.SMBus(1)
            bus.write_byte_data(0x76, 0xF4, 0x27)
            bus.write_i2c_block_data(0x76, 0xA0, [1, 2, 3])
            bus.write_word_data(0x76, 0xB0, 0x1234)
            write = smbus2.i2c_msg.write(0x76, [0x88])
            read = smbus2.i2c_msg.read(0x76, 4)
            bus.i2c_rdwr(write, read)
            said = [bus.read_byte_data(0x76, 0xD0), bus.read_i2c_block_data(0x76, 0x88, 6),
                    bus.read_word_data(0x76, 0x89), bus.read_byte_data(0x76, 0xF4),
                    bus.read_i2c_block_data(0x76, 0xA0, 3), bus.read_word_data(0x76, 0xB0), list(read)]
            bus.write_byte(0x76, 0x8A)
            print(json.dumps([*said, bus.read_byte(0x76)]))
            """,
            tmp_path,
        )
        assert bus.log[0][1:] == (0x76, "w", b"\xf4\x27")
    assert said == [0x60, [0, 1, 2, 3, 4, 5], 0x0201, 0x27, [1, 2, 3], 0x1234, [0, 1, 2, 3], 2]


ERRORS = """
    import json, smbus2
    bus, errors = smbus2.SMBus(1), []
    for address in (0x50, 0x44):
        try:
            bus.i2c_rdwr(smbus2.i2c_msg.read(address, 6))
            errors.append(0)
        except OSError as error:
            errors.append(error.errno)
    print(json.dumps(errors))
"""


@pytest.mark.parametrize("nack", [121, 6, 19])
def test_a_missing_acknowledgement_is_the_errno_of_the_adapter(tmp_path: Path, nack: int) -> None:
    with I2cBus(tmp_path, nack=nack) as bus:
        bus.devices[0x44] = Sht4x()
        assert client(ERRORS, tmp_path) == [nack, nack]  # nobody there; nothing measured yet


def test_a_stuck_bus_times_out_for_everybody(tmp_path: Path) -> None:
    with I2cBus(tmp_path) as bus:
        bus.devices[0x44] = Sht4x()
        bus.stuck = True
        assert client(ERRORS, tmp_path) == [110, 110]


def test_the_bus_is_gone_when_the_simulator_is(tmp_path: Path) -> None:
    said = client(
        """
        import json, os
        try:
            os.open("/dev/i2c-1", os.O_RDWR)
        except OSError as error:
            print(json.dumps(type(error).__name__))
        """,
        tmp_path,
    )
    assert said == "FileNotFoundError"


# --- the devices on it, without the shim: they are plain objects


def words(data: bytes) -> list[int]:
    """Sensirion words; each check is verified by the rule in the makers' data sheets."""
    found = []
    for at in range(0, len(data), 3):
        crc = 0xFF
        for byte in data[at : at + 2]:
            crc ^= byte
            for _ in range(8):
                crc = (crc << 1) ^ 0x131 if crc & 0x80 else crc << 1
        assert crc == data[at + 2]
        found.append(int.from_bytes(data[at : at + 2], "big"))
    return found


def refuses(act: Callable[[], object]) -> bool:
    try:
        act()
    except Nack:
        return True
    return False


def test_sht4x_measures_only_after_its_time() -> None:
    device = Sht4x(temperature=25.0, humidity=50.0)
    device.write(b"\xfd", 10.0)
    assert refuses(lambda: device.read(6, 10.005))
    temperature, humidity = words(device.read(6, 10.009))
    assert -45 + 175 * temperature / 65535 == pytest.approx(25.0, abs=0.002)
    assert -6 + 125 * humidity / 65535 == pytest.approx(50.0, abs=0.002)
    assert refuses(lambda: device.read(6, 10.1))
    device.bad_crc = True
    device.write(b"\xfd", 11.0)
    with pytest.raises(AssertionError):
        words(device.read(6, 12.0))


def test_scd4x_has_a_value_every_five_seconds() -> None:
    device = Scd4x(co2=834)

    def ask(command: str, now: float) -> bytes:
        device.write(bytes.fromhex(command), now)
        return device.read(9, now + 0.01)

    assert words(ask("3682", 0.0)) == [0x1234, 0x5678, 0x9ABC]
    device.write(bytes.fromhex("21b1"), 1.0)
    assert refuses(lambda: ask("3682", 1.5))
    assert words(ask("e4b8", 2.0))[0] & 0x7FF == 0
    assert refuses(lambda: ask("ec05", 2.0))
    assert words(ask("e4b8", 6.1))[0] & 0x7FF
    assert words(ask("ec05", 6.2))[0] == 834
    assert words(ask("e4b8", 6.3))[0] & 0x7FF == 0


def test_sps30_speaks_floats_once_a_second() -> None:
    device = Sps30([1.5, 2.5, 3.5, 4.5, 10, 20, 30, 40, 50, 0.5])
    assert refuses(lambda: device.write(bytes.fromhex("0010 0300 00"), 0.0))
    device.write(bytes.fromhex("0010 0300 ac"), 0.0)
    device.write(b"\x02\x02", 0.5)
    assert words(device.read(3, 0.6)) == [0]
    device.write(b"\x02\x02", 1.1)
    assert words(device.read(3, 1.2)) == [1]
    device.write(b"\x03\x00", 1.3)
    pairs = words(device.read(60, 1.4))
    assert list(struct.unpack(">10f", struct.pack(">20H", *pairs))) == [
        1.5,
        2.5,
        3.5,
        4.5,
        10,
        20,
        30,
        40,
        50,
        0.5,
    ]


def test_bme280_measures_when_forced() -> None:
    device = Bme280((bytes(range(26)), bytes(range(7))), b"\x01\x02\x03\x04\x05\x06\x07\x08")
    device.write(b"\xf7", 0.0)
    assert device.read(8, 0.0) == bytes.fromhex("8000008000008000")
    device.write(b"\xf4\x25", 0.0)
    device.write(b"\xf4", 0.0)
    assert device.read(1, 0.0) == b"\x24"
    device.write(b"\xf7", 0.0)
    assert device.read(8, 0.0) == b"\x01\x02\x03\x04\x05\x06\x07\x08"


def test_bme680_takes_its_time_and_needs_its_heater() -> None:
    raw = bytes.fromhex("80 00 111111 222222 3333 444444 55b6 0000")
    for heater, gas in (("5a73 6465 7110", b"\x55\xb6"), ("7110", b"\x55\x86")):
        device = Bme680((bytes(23), bytes(14), bytes(5)), raw)
        for setting in heater.split():
            device.write(bytes.fromhex(setting), 0.0)
        device.write(b"\x74\x55", 0.0)
        device.write(b"\x1d", 0.1)
        assert not device.read(17, 0.1)[0] & 0x80
        device.write(b"\x1d", 0.2)
        assert device.read(17, 0.2) == raw[:13] + gas + raw[15:]


def test_ads1115_converts_the_input_asked_for() -> None:
    device = Ads1115([1.0, 0.25, 0.0, 3.3])
    device.write(bytes.fromhex("01 c3 83"), 0.0)  # AIN0, 4.096 V, single shot, 128 a second
    device.write(b"\x01", 0.0)
    assert not device.read(2, 0.001)[0] & 0x80
    assert device.read(2, 0.01)[0] & 0x80
    device.write(b"\x00", 0.01)
    assert int.from_bytes(device.read(2, 0.01), "big", signed=True) == 8000
    device.write(bytes.fromhex("01 83 83"), 0.0)  # AIN0 - AIN1
    device.write(b"\x00", 1.0)
    assert int.from_bytes(device.read(2, 1.0), "big", signed=True) == 6000


def test_captured_sensirion_words_have_the_check_we_make() -> None:
    assert crc8(b"\xbe\xef") == 0x92
    rows = [row for row in vectors("air/sensirion_i2c") if row.get("expected", {}).get("crc")]
    for row in rows:
        assert crc8(bytes.fromhex(row["input_hex"])) == row["expected"]["crc"]


# --- GPIO

PULSES = """
    import json, os, sys, time
    import RPi.GPIO as GPIO
    GPIO.setwarnings(False)
    GPIO.setmode(GPIO.BCM)
    GPIO.setup(17, GPIO.IN, pull_up_down=GPIO.PUD_UP)
    GPIO.setup(22, GPIO.OUT, initial=0)
    GPIO.output(22, 1)
    seen, before = [], GPIO.input(17)
    GPIO.add_event_detect(17, GPIO.FALLING, callback=lambda line: seen.append(line), bouncetime={bounce})
    open("ready", "w").close()
    end = time.monotonic() + 20
    while not os.path.exists("done") and time.monotonic() < end:
        time.sleep(0.01)
    time.sleep(0.2)
    count = len(seen)
    GPIO.remove_event_detect(17)
    print(json.dumps([before, count]))
"""
BOARD = {"RPI_LGPIO_REVISION": "c03114", "RPI_LGPIO_CHIP": "0"}


@pytest.mark.parametrize(("bounce", "counted"), [(0, 25 * 4), (30, 25)])
def test_rpi_lgpio_counts_pulses_and_bounces(tmp_path: Path, bounce: int, counted: int) -> None:
    with GpioChip(tmp_path) as chip:

        def world() -> None:
            while not (tmp_path / "ready").exists() or not chip.watched(17):
                threading.Event().wait(0.01)
            # Three bounces a closing edge: four falling edges; the opening edge is clean.
            for _ in range(25):
                for _ in range(3):
                    chip.set(17, 0)
                    chip.set(17, 1)
                chip.set(17, 0)
                threading.Event().wait(0.06 if bounce else 0.002)
                chip.set(17, 1)
                threading.Event().wait(0.06 if bounce else 0.002)
            (tmp_path / "done").touch()

        thread = threading.Thread(target=world)
        thread.start()
        said = client(
            PULSES.format(bounce=bounce or "-666"), tmp_path, LG_WD=str(tmp_path), **BOARD
        )
        thread.join()
        assert chip.level(22) == 1
        assert chip.lost() == 0
    assert said == [1, counted]


DEBOUNCED = """
    import fcntl, json, os, select, struct
    request = bytearray(592)
    struct.pack_into("=I", request, 0, 3)
    request[256:260] = b"test"
    struct.pack_into("=QI", request, 288, 1 << 2 | 1 << 4 | 1 << 5, 1)     # input, both edges, one attribute
    struct.pack_into("=IIQQ", request, 288 + 32, 3, 0, {debounce}, 1)      # debounce period in microseconds
    struct.pack_into("=I", request, 560, 1)
    chip = os.open("/dev/gpiochip0", os.O_RDWR)
    fcntl.ioctl(chip, 3 << 30 | 592 << 16 | 0xB4 << 8 | 7, request)
    (line,) = struct.unpack_from("=i", request, 588)
    edges = []
    while select.select([line], [], [], 20 if not edges else 0.5)[0]:
        edges.append(struct.unpack_from("=QI", os.read(line, 48))[1])
    print(json.dumps(edges))
"""


@pytest.mark.parametrize(("debounce", "edges"), [(0, [2, 1, 2, 1, 2]), (50_000, [2])])
def test_the_kernels_debounce_reports_only_what_stays(
    tmp_path: Path, debounce: int, edges: list[int]
) -> None:
    with GpioChip(tmp_path) as chip:

        def world() -> None:
            while not chip.watched(3):
                threading.Event().wait(0.01)
            for level in (0, 1, 0, 1, 0):
                chip.set(3, level)

        thread = threading.Thread(target=world)
        thread.start()
        assert client(DEBOUNCED.format(debounce=debounce), tmp_path) == edges
        thread.join()


def test_a_line_in_use_is_busy_and_free_again_when_its_process_ends(tmp_path: Path) -> None:
    code = """
        import json, lgpio
        first, second = lgpio.gpiochip_open(0), lgpio.gpiochip_open(0)
        said = [lgpio.gpio_claim_input(first, 5)]
        try:
            lgpio.gpio_claim_input(second, 5)
            said.append(0)
        except lgpio.error as error:
            said.append(str(error))
        said.append(lgpio.gpio_read(first, 5))
        print(json.dumps(said))
    """
    with GpioChip(tmp_path, lines=8) as chip:
        chip.set(5, 0)
        for _ in range(2):
            said = client(code, tmp_path, LG_WD=str(tmp_path))
            assert said[0] == 0
            assert "busy" in str(said[1]).lower()
            assert said[2] == 0


class Noting(GpioChip):
    """Writes down what the world does."""

    def set(self, line: int, level: int, at: int | None = None) -> None:
        levels.append(level)
        super().set(line, level, at)


levels: list[int] = []


def test_pulses_bounce_at_both_edges(tmp_path: Path) -> None:
    levels.clear()
    with Noting(tmp_path, lines=2) as chip:
        chip.pulses(1, 2, 0.0, 0.0, bounce=1)
        assert levels == [0, 1, 0, 1, 0, 1] * 2
        assert chip.level(1) == 1
