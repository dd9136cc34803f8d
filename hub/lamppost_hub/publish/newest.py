"""The newest released root, found without reading metadata: what every bundle carries."""

from __future__ import annotations

from pathlib import Path


def newest_root(folder: Path) -> bytes | None:
    """Bytes of the newest root below DIR/publish, or None before the key ceremony is over."""
    metadata = folder / "repository" / "metadata"
    if not (metadata / "timestamp.json").exists():
        return None
    names = (file.name.removesuffix(".root.json") for file in metadata.glob("*.root.json"))
    versions = [int(name) for name in names if name.isdigit()]
    return (metadata / f"{max(versions)}.root.json").read_bytes() if versions else None
