"""One suite over every Modbus link: the real libraries against simulated units, on a line and behind TCP."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest

from hwsim.line import Line
from hwsim.modbus import FaultyUnit, RtuUnit, Unit
from hwsim.modbus_tcp import ModbusTcpServer, TcpUnit
from lamppost.clock import monotonic_ns
from lamppost.errors import LinkError
from lamppost.links import modbus
from lamppost.links.bus import Bus
from lamppost.links.faults import RefusedError
from lamppost.links.modbus_link import ModbusLink
from lamppost.links.rtu import RtuLink
from lamppost.links.serial import LineSettings
from lamppost.links.tcp import TcpLink

WORDS = {at: at * 7 % 65536 for at in range(300)}
BITS = {at: at % 3 == 0 for at in range(40)}


def model() -> Unit:
    bits = {at: int(bit) for at, bit in BITS.items()}
    inputs = {at: word + 1 for at, word in WORDS.items()}
    return Unit(holding=WORDS, inputs=inputs, coils=bits, discrete=bits)


@dataclass
class Far:
    """The far end of a link: its units, and how to cut it off and bring it back."""

    units: dict[int, FaultyUnit]
    unplug: Callable[[], None]
    plug: Callable[[], None]


Case = tuple[ModbusLink, Far]


def rtu(folder: Path, stack: ExitStack) -> Case:
    units = {n: RtuUnit(n, model(), delay=0.001) for n in (1, 2)}
    line = stack.enter_context(Line(folder / "rs485", 115200, devices=list(units.values())))
    link = RtuLink(folder / "rs485", LineSettings(115200), timeout=0.1, locks=folder)
    return link, Far(dict(units), line.unplug, line.plug)


def tcp(folder: Path, stack: ExitStack) -> Case:
    del folder
    units = {n: TcpUnit(n, model(), delay=0.001) for n in (1, 2)}
    server = stack.enter_context(ModbusTcpServer(units.values()))
    link = TcpLink(server.host, server.port, timeout=0.1)
    return link, Far(dict(units), server.unplug, server.plug)


@pytest.fixture(params=[rtu, tcp])
def made(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Case]:
    with ExitStack() as stack:
        yield request.param(tmp_path, stack)


@pytest.fixture
async def case(made: Case) -> AsyncIterator[Case]:
    await made[0].open()
    yield made
    made[0].close()
    await asyncio.sleep(0)


def code(caught: pytest.ExceptionInfo[LinkError]) -> str:
    assert caught.value.hint
    return caught.value.code


async def test_every_table_and_size(case: Case) -> None:
    link, _ = case
    assert list(await link.read(1, "holding", 0, 125)) == [WORDS[at] for at in range(125)]
    assert list(await link.read(2, "input", 299, 1)) == [WORDS[299] + 1]
    for table in ("coil", "discrete"):
        assert list(await link.read(1, table, 3, 21)) == [BITS[at] for at in range(3, 24)]


async def test_refusals_carry_their_number(case: Case) -> None:
    link, far = case
    with pytest.raises(RefusedError) as refused:
        await link.read(1, "holding", 290, 20)
    assert (refused.value.number, code(refused)) == (2, "link.refused")
    far.units[1].faults.exception = 4
    with pytest.raises(RefusedError) as refused:
        await link.read(1, "holding", 0, 1)
    assert refused.value.number == 4


async def test_a_silent_unit_is_no_answer_and_the_other_is_read(case: Case) -> None:
    link, far = case
    far.units[1].faults.dead = True
    with pytest.raises(LinkError) as silent:
        await link.read(1, "holding", 0, 2)
    assert code(silent) == "link.no-answer"
    assert list(await link.read(2, "holding", 5, 2)) == [35, 42]


async def test_an_answer_of_another_unit_is_not_taken(case: Case) -> None:
    link, far = case
    far.units[1].faults.wrong_unit_every = 1
    with pytest.raises(LinkError) as wrong:
        await link.read(1, "holding", 0, 2)
    assert code(wrong) == "link.corrupt"


async def test_a_late_answer_is_never_taken_for_the_next(case: Case) -> None:
    link, far = case
    faults = far.units[1].faults
    faults.late, faults.late_every = 0.15, 4
    outcomes = []
    for address in (0, 10, 20, 30, 40, 50):
        try:
            words = list(await link.read(1, "holding", address, 2))
        except LinkError as error:
            outcomes.append(error.code)
        else:
            assert words == [WORDS[address], WORDS[address + 1]]
            outcomes.append("right")
    assert outcomes == ["right"] * 3 + ["link.no-answer"] + ["right"] * 2


async def test_not_even_one_that_comes_after_the_quiet_period(tmp_path: Path) -> None:
    """It comes while the next request waits; without a word between them, every later answer would be one behind."""
    unit = RtuUnit(1, model(), delay=0.02)
    with Line(tmp_path / "tty", 115200, devices=[unit]):
        link = RtuLink(tmp_path / "tty", LineSettings(115200), timeout=0.1, locks=tmp_path)
        link.late = 0.3
        await link.open()
        unit.faults.delay = 0.4  # so late comes the answer to the first request
        with pytest.raises(LinkError) as silent:
            await link.read(1, "holding", 0, 2)
        assert code(silent) == "link.no-answer"
        unit.faults.delay = 0.0
        right = 0
        for address in range(10, 40):
            try:
                words = list(await link.read(1, "holding", address, 2, timeout=1.0))
            except LinkError:
                continue
            assert words == [WORDS[address], WORDS[address + 1]]
            right += 1
        assert right >= 20
        link.close()


async def test_a_cancelled_read_leaves_nothing_behind(case: Case) -> None:
    link, far = case
    far.units[1].faults.delay = 0.06
    reading = asyncio.create_task(link.read(1, "holding", 0, 2))
    await asyncio.sleep(0.03)
    reading.cancel()
    with pytest.raises(asyncio.CancelledError):
        await reading
    assert list(await link.read(1, "holding", 10, 2)) == [70, 77]


async def test_lost_and_back_by_opening_again(case: Case) -> None:
    link, far = case
    await link.read(1, "holding", 0, 1)
    far.unplug()
    with pytest.raises(LinkError) as lost:
        await link.read(1, "holding", 0, 1)
    assert code(lost) == "link.lost"
    with pytest.raises(LinkError) as missing:
        await link.open()
    assert code(missing) == "link.missing"
    far.plug()
    await link.open()
    assert list(await link.read(1, "holding", 1, 1)) == [7]


async def test_lost_while_waiting_for_an_answer(case: Case) -> None:
    link, far = case
    far.units[1].faults.delay = 5.0
    asyncio.get_running_loop().call_later(0.02, far.unplug)
    with pytest.raises(LinkError) as lost:
        await link.read(1, "holding", 0, 1, timeout=4.0)
    assert code(lost) == "link.lost"


async def test_use_before_opening_and_after_closing(made: Case) -> None:
    link, _ = made
    for _ in range(2):
        with pytest.raises(LinkError) as closed:
            await link.read(1, "holding", 0, 1)
        assert code(closed) == "link.lost"
        await link.open()
        await link.open()
        await link.read(1, "holding", 0, 1)
        link.close()
        link.close()


async def test_a_lease_ends_by_itself_and_gives_the_bus_back(case: Case) -> None:
    link, far = case
    bus = Bus(link)
    far.units[1].faults.delay = 5.0
    with pytest.raises(LinkError) as over:
        async with bus.lease(0.05) as held:
            assert bus.leased
            with pytest.raises(LinkError) as busy:
                async with bus.lease(1):
                    pass
            assert code(busy) == "link.busy"
            await held.read(1, "holding", 0, 1, timeout=4.0)
    assert code(over) == "link.lease-over"
    assert not bus.leased
    async with bus.turn:
        assert list(await link.read(2, "holding", 1, 1)) == [7]


def test_the_same_on_uvloop(made: Case) -> None:
    uvloop = pytest.importorskip("uvloop")
    link, far = made

    async def main() -> None:
        await link.open()
        for address in (0, 100):
            words = await link.read(1, "holding", address, 100)
            assert list(words) == [WORDS[address + i] for i in range(100)]
        far.units[1].faults.dead = True
        with pytest.raises(LinkError) as silent:
            await link.read(1, "holding", 0, 2)
        assert code(silent) == "link.no-answer"
        far.unplug()
        with pytest.raises(LinkError) as lost:
            await link.read(2, "holding", 0, 1)
        assert code(lost) == "link.lost"
        far.plug()
        await link.open()
        assert list(await link.read(2, "holding", 1, 1)) == [7]
        link.close()
        await asyncio.sleep(0.01)

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(main())


async def test_a_raw_exchange(case: Case) -> None:
    link, far = case
    head, pdu = bytes((1,)), bytes.fromhex("03 0005 0002")
    tail = b"" if isinstance(link, TcpLink) else modbus.frame(1, pdu)[-2:]
    assert isinstance(link, RtuLink | TcpLink)
    answer = await link.exchange(head + pdu + tail, 0.5)
    assert answer[:7] == bytes((1, 3, 4, 0, WORDS[5], 0, WORDS[6]))
    assert len(answer) == 7 + len(tail)
    far.units[1].faults.dead = True
    assert await link.exchange(head + pdu + tail, 0.1) == b""
    far.unplug()
    with pytest.raises(LinkError) as lost:
        await link.exchange(head + pdu + tail, 1.0)
    assert code(lost) == "link.lost"


# --- what only a serial line has


async def test_another_speed_for_a_while(tmp_path: Path) -> None:
    with Line(tmp_path / "tty", 19200, devices=[RtuUnit(1, model())]) as line:
        link = RtuLink(tmp_path / "tty", LineSettings(9600), timeout=0.1, locks=tmp_path)
        await link.open()
        with pytest.raises(LinkError):
            await link.read(1, "holding", 0, 1)
        link.tune(LineSettings(19200))
        await link.open()
        assert list(await link.read(1, "holding", 1, 1)) == [7]
        line.inject(b"heard")
        assert await link.exchange(b"", 0.5) == b"heard"
        link.tune(None)
        await link.open()
        with pytest.raises(LinkError):
            await link.read(1, "holding", 0, 1)
        link.close()


async def test_a_port_is_ours_alone_and_names_us(tmp_path: Path) -> None:
    with Line(tmp_path / "tty", 9600):
        first = RtuLink(tmp_path / "tty", LineSettings(9600), locks=tmp_path)
        second = RtuLink(tmp_path / "tty", LineSettings(9600), locks=tmp_path)
        await first.open()
        with pytest.raises(LinkError) as busy:
            await second.open()
        assert code(busy) == "link.busy"
        assert "process" in str(busy.value)
        assert len(list(tmp_path.glob("LCK..*"))) == 1
        first.close()
        assert not list(tmp_path.glob("LCK..*"))
        await second.open()
        second.close()


async def test_t35_is_kept_and_stray_bytes_are_waited_out(tmp_path: Path) -> None:
    unit = RtuUnit(1, model(), delay=0.0)
    with Line(tmp_path / "tty", 19200, devices=[unit]) as line:
        link = RtuLink(tmp_path / "tty", LineSettings(19200), locks=tmp_path)
        await link.open()
        for turn in range(20):
            if turn % 5 == 4:
                line.inject(b"\x01\x03\xff")
                await asyncio.sleep(0.01)
            assert list(await link.read(1, "holding", turn, 4)) == [
                WORDS[turn + i] for i in range(4)
            ]
        link.close()
        stats = line.stats()
    assert stats.violations == 0
    assert stats.splits == 0
    assert stats.smallest_gap is not None
    assert stats.smallest_gap >= line.silence
    assert link.stray == 12


async def test_rest_after_an_answer_is_kept(tmp_path: Path) -> None:
    with Line(tmp_path / "tty", 115200, devices=[RtuUnit(1, model())]) as line:
        link = RtuLink(tmp_path / "tty", LineSettings(115200), locks=tmp_path)
        await link.open()
        for _ in range(3):
            await link.read(1, "holding", 0, 1, rest=0.05)
        link.close()
        gap = line.stats().smallest_gap
    assert gap is not None
    assert gap >= 0.05


@pytest.mark.parametrize("granularity", ["byte", "fifo14", "ftdi16", "ftdi1"])
async def test_adapters_that_hand_over_in_pieces(tmp_path: Path, granularity: str) -> None:
    unit = RtuUnit(1, model())
    with Line(tmp_path / "tty", 19200, devices=[unit], granularity=granularity) as line:
        link = RtuLink(tmp_path / "tty", LineSettings(19200), locks=tmp_path)
        await link.open()
        for start in (0, 100):
            assert list(await link.read(1, "holding", start, 60)) == [
                WORDS[start + i] for i in range(60)
            ]
        link.close()
        assert line.stats().violations == 0


@pytest.mark.parametrize(
    ("fault", "found"), [("crc_every", "link.corrupt"), ("truncate_every", "link.corrupt")]
)
async def test_damaged_answers(tmp_path: Path, fault: str, found: str) -> None:
    unit = RtuUnit(1, model())
    setattr(unit.faults, fault, 3)
    with Line(tmp_path / "tty", 115200, devices=[unit]):
        link = RtuLink(tmp_path / "tty", LineSettings(115200), timeout=0.1, locks=tmp_path)
        await link.open()
        for _ in range(2):
            await link.read(1, "holding", 0, 2)
        with pytest.raises(LinkError) as damaged:
            await link.read(1, "holding", 0, 2)
        assert code(damaged) == found
        started = monotonic_ns()
        await link.read(1, "holding", 0, 2)
        waited = (monotonic_ns() - started) / 1e9
        # A frame that came whole cannot come again; of one that did not, the rest may.
        assert (waited > 0.5) == (fault == "truncate_every")
        link.close()


async def test_an_echo_is_named(tmp_path: Path) -> None:
    with Line(tmp_path / "tty", 115200, devices=[RtuUnit(1, model())], echo=True):
        link = RtuLink(tmp_path / "tty", LineSettings(115200), timeout=0.05, locks=tmp_path)
        await link.open()
        with pytest.raises(LinkError, match="our own request") as echo:
            await link.read(1, "holding", 0, 2)
        assert "direction control" in echo.value.hint
        link.close()


async def test_a_line_that_is_never_silent(tmp_path: Path) -> None:
    from hwsim.device import Babbler

    with Line(tmp_path / "tty", 115200, devices=[Babbler(chunk=4)]):
        link = RtuLink(tmp_path / "tty", LineSettings(115200), timeout=0.05, locks=tmp_path)
        await link.open()
        await asyncio.sleep(0.02)
        with pytest.raises(LinkError) as noise:
            await link.read(1, "holding", 0, 2)
        assert code(noise) == "link.corrupt"
        link.close()


async def test_ports_that_do_not_open(tmp_path: Path) -> None:
    link = RtuLink(tmp_path / "absent", LineSettings(), locks=tmp_path)
    with pytest.raises(LinkError) as missing:
        await link.open()
    assert code(missing) == "link.missing"
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(LinkError) as wrong:
        await RtuLink(tmp_path / "file", LineSettings(), locks=tmp_path).open()
    assert code(wrong) in ("link.settings", "link.missing")
