"""The file of lines: torn ends, one writer, what it remembers."""

from __future__ import annotations

from pathlib import Path

import orjson
import pytest

from fakes.deliveries import delivery
from lamppost.errors import HubError
from lamppost_hub.sinks import jsonl
from lamppost_hub.sinks.jsonl import JsonlSink


async def written(path: Path, *sequence: int) -> list[int]:
    sink = JsonlSink.open(path)
    for seq in sequence:
        await sink.write(delivery(seq, gateway='g"ü\\'))
    await sink.close()
    return [orjson.loads(line)["seq"] for line in path.read_bytes().splitlines()]


async def test_the_line(tmp_path: Path) -> None:
    path = tmp_path / "d.jsonl"
    await written(path, 3)
    line = orjson.loads(path.read_bytes())
    given = delivery(3, gateway='g"ü\\')
    assert list(line) == ["gateway", "epoch", "seq", "first", "last", "received", "entities"]
    assert line["entities"] == given.entities
    assert (line["gateway"], line["first"], line["received"]) == (
        given.gateway,
        given.span_first,
        given.received_ns,
    )


async def test_a_torn_line_is_cut_off_at_every_byte_and_written_again(tmp_path: Path) -> None:
    path = tmp_path / "d.jsonl"
    await written(path, 0, 1)
    whole = path.read_bytes()
    start = whole.index(b"\n") + 1
    for cut in (*range(start, start + 80), len(whole) - 2, len(whole) - 1):
        path.write_bytes(whole[:cut])
        assert await written(path, 0, 1) == [0, 1], cut
        assert path.read_bytes() == whole


async def test_only_the_end_of_a_long_file_is_searched(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "d.jsonl"
    await written(path, *range(6))
    monkeypatch.setattr(jsonl, "REMEMBERED", len(path.read_bytes()) // 2)
    assert await written(path, 4, 5, 6) == [0, 1, 2, 3, 4, 5, 6]


async def test_one_writer(tmp_path: Path) -> None:
    path = tmp_path / "d.jsonl"
    sink = JsonlSink.open(path)
    with pytest.raises(HubError) as refused:
        JsonlSink.open(path)
    assert (refused.value.code, refused.value.retry) == ("sink.in-use", False)
    await sink.close()
    assert await written(path, 1) == [1]


async def test_a_disk_that_refuses(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "d.jsonl"
    sink = JsonlSink.open(path)
    await sink.write(delivery(0))
    before = path.read_bytes()

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("lamppost_hub.sinks.jsonl.os.fsync", full)
        with pytest.raises(HubError) as refused:
            await sink.write(delivery(1))
    assert (refused.value.code, refused.value.retry) == ("sink.disk", True)
    assert path.read_bytes() == before
    await sink.write(delivery(1))
    await sink.close()
    assert await written(path) == [0, 1]


def test_a_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(HubError) as refused:
        JsonlSink.open(tmp_path / "file" / "d.jsonl")
    assert refused.value.code == "sink.disk"
