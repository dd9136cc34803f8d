"""A hub after its key ceremony, made without the commands (those are tested by the page that shows them)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from lamppost.envelope.keys import FileSigner
from lamppost_hub.clock import SystemClock
from lamppost_hub.publish import office, repository


def publishing_hub(
    root: Path,
    key: Callable[[str], Path],
    holders: Sequence[str],
    group: str,
    approvers: Sequence[str],
) -> None:
    """Root keys, online key, targets and one group, signed and released. `key` says where a person's key file goes."""
    clock = SystemClock()
    for name in (*holders, *approvers):
        key(name).parent.mkdir(parents=True, exist_ok=True)
        office.create_key(key(name))

    def sign(repo: repository.Repository, role: str) -> None:
        for name in holders[:2]:
            repository.sign(repo.pending / role, FileSigner.load(key(name)))

    online = office.online_key(root)
    with office.repository(root) as repo:
        repo.create(
            office.public_keys([key(n).with_suffix(".pub") for n in holders]), online, clock.utc()
        )
        sign(repo, "root")
        sign(repo, "targets")
        repo.release(clock.utc())
        repo.group(
            group, office.public_keys([key(n).with_suffix(".pub") for n in approvers]), clock.utc()
        )
        sign(repo, "targets")
        repo.release(clock.utc())
