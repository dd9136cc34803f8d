"""Small durable files, and the lock of a state folder."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from lamppost.errors import StoreError
from lamppost.files import durable_write, locked


def test_a_file_is_replaced_whole_and_private(tmp_path: Path) -> None:
    path = tmp_path / "state"
    durable_write(path, b"old" * 1000)
    durable_write(path, b"new")
    assert path.read_bytes() == b"new"
    assert path.stat().st_mode & 0o777 == 0o600
    assert os.listdir(tmp_path) == ["state"]


def test_a_failed_write_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "state"
    durable_write(path, b"old")
    path.with_name("state.new").mkdir()  # the spare cannot be opened
    with pytest.raises(IsADirectoryError):
        durable_write(path, b"new")
    assert path.read_bytes() == b"old"


def test_a_second_holder_is_refused_by_name(tmp_path: Path) -> None:
    lock = tmp_path / "lock"
    with locked(lock, "state folder"):
        with pytest.raises(StoreError) as refused, locked(lock, "state folder"):
            pass
        assert refused.value.code == "store.in-use"
        assert str(os.getpid()) in str(refused.value)
    with locked(lock, "state folder"):
        pass
