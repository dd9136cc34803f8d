"""What the commands of `lamppost-hub publish` share: the repository of a hub, its lock, key files."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from lamppost.envelope.keys import FileSigner, create_signing_key
from lamppost.envelope.public import PublicKey
from lamppost.envelope.refusal import EnvelopeError
from lamppost_hub.files import FileLock, durable_write, private_folder
from lamppost_hub.folder import HubFolder
from lamppost_hub.publish.nudging import mark
from lamppost_hub.publish.refusal import PublishError
from lamppost_hub.publish.repository import Repository

LOCK_TRIES = 50  # a tenth of a second each: other commands take less


@contextmanager
def repository(root: Path) -> Iterator[Repository]:
    """The repository of a hub's folder, for one process at a time. Raises SiteError `hub.…`, PublishError."""
    folder = HubFolder(root)
    folder.settings()
    private_folder(folder.publish)
    lock = FileLock(folder.publish / "lock")
    for _ in range(LOCK_TRIES):
        if lock.try_hold():
            break
        threading.Event().wait(0.1)
    else:
        raise PublishError("publish.busy", "another command is at work on the repository")
    try:
        yield Repository(folder.publish, folder.online_keys())
    finally:
        lock.release()


def not_begun(root: Path) -> PublishError:
    """Nothing is released in this hub yet."""
    return PublishError("publish.not-initialised", f"{root} publishes nothing yet")


def online_key(root: Path, *, new: bool = False) -> PublicKey:
    """The public half of the newest online key; the key is made where there is none, or another one is wanted."""
    folder = HubFolder(root)
    known = folder.online_keys()
    if known and not new:
        return FileSigner.load(known[-1]).public
    return create_signing_key(folder.keys / f"publish-{len(known) + 1}.pem", "ed25519")


def create_key(path: Path) -> Path:
    """A private key in `path` and its public half beside it, NAME.pub. Raises TrustError `trust.key-exists`."""
    public = path.with_suffix(".pub")
    key = create_signing_key(path, "ed25519")
    durable_write(public, key.pem().encode(), 0o644)
    return public


def public_keys(paths: Sequence[Path]) -> Mapping[str, PublicKey]:
    """Public key files by their names. Raises PublishError `publish.key-file`."""
    found = {}
    for path in paths:
        try:
            found[path.stem] = PublicKey.from_pem(path.read_bytes())
        except (OSError, EnvelopeError) as error:
            raise PublishError("publish.key-file", f"{path}: {error}") from error
    return found


def tell(repo: Repository, gateways: Sequence[str], utc: int) -> None:
    """Have the receiver nudge these gateways."""
    mark(repo.folder, gateways, utc)
