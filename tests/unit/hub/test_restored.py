"""A hub that comes back from an older copy of its database, on either: docs/explanation/restored-hub.md."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from fakes.postgres import Postgres
from lamppost.envelope.receipt import Statement
from lamppost.errors import LamppostError
from lamppost_hub.ledger import Ledger
from unit.hub.test_audit import DAY, broken, look, send, sign
from unit.hub.world import EPOCH, HubWorld, SealingGateway, payload


def backup(request: pytest.FixtureRequest, world: HubWorld, kept: Path) -> Callable[[], None]:
    """Copy the database as an operator would; what is returned brings the copy back."""
    if world.database.shared:
        server: Postgres = request.getfixturevalue("postgres")
        server.dump(kept)
    else:
        world.database.run("VACUUM INTO ?", str(kept))

    def restore() -> None:
        world.database.close()
        if world.database.shared:
            server.emptied()
            server.restore(kept)
        else:
            for part in world.folder.root.glob("hub.sqlite*"):
                part.unlink()
            shutil.copy(kept, world.folder.database)
        world.reopen()

    return restore


def test_a_hub_restored_from_yesterday(
    request: pytest.FixtureRequest, world: HubWorld, tmp_path: Path
) -> None:
    """docs/explanation/restored-hub.md, step by step."""
    gateway = world.enrol()
    send(world, gateway, 10)
    sign(world)
    keep = backup(request, world, tmp_path / "yesterday")
    world.clock.ns += DAY
    send(world, gateway, 4)
    note = sign(world)
    keep()

    # The gateway goes on; the hub asks for what it has receipted before.
    (answer,) = world.intake.take([gateway.next()]).answers
    assert gateway.read(answer) == Statement("resend", "ledger.missing", EPOCH, 14, 10)
    # No shorter log gets a checkpoint, and the audit names what is gone.
    with pytest.raises(LamppostError) as refused:
        sign(world)
    assert refused.value.code == "checkpoint.behind"
    found = broken(world)
    assert found.what == f"batches 10 to 13 are missing: {note.name} proves 14, 10 are here"
    # Other batches under those numbers end in a contradiction of the note, even when the log is long enough again.
    restore = backup(request, world, tmp_path / "restored")
    twin = SealingGateway(gateway.identity, batches=gateway.batches[:10], readings=100)
    world.intake.take([twin.next(content=payload(700 + n)) for n in range(6)])
    with pytest.raises(LamppostError) as refused:
        sign(world)
    assert refused.value.code == "checkpoint.inconsistent"
    assert (broken(world).code, broken(world).seq) == ("audit.root", 13)
    # A gateway that still holds the bytes makes the log what it was, root for root.
    restore()
    assert world.intake.take([gateway.again(seq) for seq in range(10, 15)]).new == 5
    sign(world)
    assert look(world).broken is None
    assert look(world).streams[0].covered == 15
    assert Ledger(world.database).streams()[0].size == 15
