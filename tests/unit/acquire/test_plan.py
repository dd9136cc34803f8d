from hypothesis import given
from hypothesis import strategies as st

from lamppost.acquire.plan import Block, blocks, cut, probe
from lamppost_drivers.contract import Point, Register, Table


def register(address: int, words: int = 2, table: Table = "input") -> Register:
    point = Point(f"{table}.{address}", "V", 0, 1)
    return Register(point, address, "float32", table, "big", words)


def spans(found: tuple[Block, ...]) -> list[tuple[str, int, int]]:
    return [(block.table, block.address, block.count) for block in found]


def test_neighbours_and_small_gaps_become_one_block() -> None:
    registers = [register(a) for a in (0, 2, 4, 20, 100)]
    assert spans(blocks(registers, 125, 16)) == [("input", 0, 22), ("input", 100, 2)]
    assert spans(blocks(registers, 125, 0)) == [
        ("input", 0, 6),
        ("input", 20, 2),
        ("input", 100, 2),
    ]


def test_a_block_never_exceeds_the_device_nor_splits_a_value() -> None:
    registers = [register(a, 4) for a in range(0, 40, 4)]
    assert spans(blocks(registers, 10, 16)) == [("input", a, 8) for a in range(0, 40, 8)]
    assert spans(blocks([register(0, 4)], 2, 0)) == [("input", 0, 4)]


def test_tables_are_apart_and_bits_count_less() -> None:
    bits = [register(a, 1, "coil") for a in (0, 100, 900)]
    found = blocks([*bits, register(0, 1, "holding")], 60, 800)
    assert spans(found) == [("coil", 0, 901), ("holding", 0, 1)]
    assert len(blocks(bits, 50, 900)) == 2


def test_one_address_may_hold_two_points() -> None:
    high, low = register(7, 1), register(7, 1)
    twice = Register(Point("other", "V", 0, 1), 7, "uint16", "input", "big", 1)
    assert spans(blocks([high, low, twice], 125, 16)) == [("input", 7, 1)]
    assert cut(blocks([high, twice], 125, 16)[0]) is None


def test_a_refused_block_is_cut_at_its_widest_gap_then_in_the_middle() -> None:
    registers = [register(a) for a in (0, 2, 6, 16, 18)]
    whole = blocks(registers, 125, 16)
    first = cut(whole[0])
    assert first == ("input", 16)
    pieces = blocks(registers, 125, 16, {first})
    assert spans(pieces) == [("input", 0, 8), ("input", 16, 4)]
    assert cut(pieces[0]) == ("input", 6)
    assert cut(pieces[1]) == ("input", 18)
    assert cut(blocks([register(0)], 125, 16)[0]) is None
    assert cut(blocks([register(a) for a in range(0, 16, 2)], 125, 16)[0]) == ("input", 8)


def test_the_probe_is_the_shortest_register() -> None:
    assert spans((probe([register(0, 4), register(30, 1), register(20, 1)]),)) == [("input", 20, 1)]


@st.composite
def maps(draw: st.DrawFn) -> list[Register]:
    found, at = [], 0
    for _ in range(draw(st.integers(1, 30))):
        at += draw(st.integers(0, 40))
        words = draw(st.sampled_from([1, 2, 4]))
        found.append(register(at, words))
        at += words
    return draw(st.permutations(found))


@given(maps(), st.integers(4, 125), st.integers(0, 40), st.data())
def test_whatever_is_refused_every_register_is_read_once(
    registers: list[Register], most: int, gap: int, data: st.DataObject
) -> None:
    cuts: set[tuple[Table, int]] = set()
    while True:
        found = blocks(registers, most, gap, cuts)
        read = [r for block in found for r in block.registers]
        assert sorted(r.address for r in read) == sorted(r.address for r in registers)
        for block in found:
            assert block.count <= most
            assert block.address == block.registers[0].address
            assert all(r.address + r.words <= block.address + block.count for r in block.registers)
        refusable = [block for block in found if cut(block)]
        if not refusable:
            assert len(found) == len(registers)
            return
        place = cut(data.draw(st.sampled_from(refusable)))
        assert place is not None
        assert place not in cuts  # or it would never end
        cuts.add(place)
