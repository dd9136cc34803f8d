"""The boot partition of a card in a reader: recognised, never formatted, one file written and read back."""

from __future__ import annotations

import os
from pathlib import Path

from lamppost.errors import StoreError
from lamppost.files import durable_write

SEED = Path("lamppost") / "seed.toml"
MARKS = ("config.txt", "cmdline.txt", "bootcode.bin", "start4.elf", "kernel8.img")


def check_boot(folder: Path) -> None:
    """Refuse (`kit.no-boot-partition`) what is not the boot partition of a Raspberry Pi card."""
    if not folder.is_dir() or not any((folder / mark).exists() for mark in MARKS):
        raise StoreError(
            f"{folder} is no boot partition of a Raspberry Pi card",
            code="kit.no-boot-partition",
            hint="mount the card's first partition (bootfs) and name that folder",
        )


def place_seed(folder: Path, content: bytes, *, replace: bool = False) -> Path:
    """Write the seed durably and read it back through a fresh open. Returns its path.

    Raises StoreError `kit.seeded-already` where another seed waits, `kit.read-back` where the card gives back
    something else, `kit.write` for what the disk says.
    """
    path = folder / SEED
    if path.exists() and path.read_bytes() != content and not replace:
        raise StoreError(
            f"{path} holds another seed",
            code="kit.seeded-already",
            hint="is it the right card? --replace takes the other seed away",
        )
    try:
        path.parent.mkdir(exist_ok=True)
        durable_write(
            path, content, 0o644
        )  # FAT has no journal, and the card may be pulled at once
        found = _read_back(path)
    except OSError as error:
        raise StoreError(
            f"{path}: {error.strerror}",
            code="kit.write",
            hint="is the card's write lock open, and is there room?",
        ) from error
    if found != content:
        raise StoreError(
            f"{path} reads back differently",
            code="kit.read-back",
            hint="throw this card away: it does not keep what is written to it",
        )
    return path


def _read_back(path: Path) -> bytes:
    """The file as the medium has it: its pages are dropped from the cache first."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
        parts = []
        while part := os.read(descriptor, 1 << 16):
            parts.append(part)
        return b"".join(parts)
    finally:
        os.close(descriptor)
