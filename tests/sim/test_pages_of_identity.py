"""docs/how-to/key-ceremony.md and replace-a-gateway.md: every command in them is run, in its order."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from fakes.est_server import enrolment_server, pin_of
from fakes.page import Page
from lamppost.envelope import identity
from lamppost_hub import founding
from lamppost_hub.clock import SystemClock
from lamppost_hub.folder import HubFolder, Settings
from lamppost_hub.intake import Intake
from lamppost_hub.registry import Registry
from unit.hub.world import LATER_EPOCH, SealingGateway

HUB = "/var/lib/lamppost-hub"


def test_the_key_ceremony(tmp_path: Path) -> None:
    people = ("stick-a", "stick-b", "anna", "bert", "cleo", "dora", "emil")
    places = {f"/media/{name}": str(tmp_path / name) for name in people}
    for folder in places.values():
        Path(folder).mkdir()
    page = Page("key-ceremony.md", tmp_path, {**places, HUB: str(tmp_path / "hub")})
    for words in page.commands():
        page.call(words)
    hub = tmp_path / "hub"
    assert (hub / "publish").is_dir()
    assert sorted(p.name for p in (tmp_path / "stick-b").iterdir()) == [
        "device-root.key",
        "server-ca.key",
    ]
    kept = [p.name for p in hub.rglob("*") if p.is_file() and b"PRIVATE" in p.read_bytes()]
    assert not {"device-root.key", "server-ca.key", "anna.pem", "dora.pem"} & set(kept)


def test_a_gateway_is_replaced(tmp_path: Path) -> None:
    folder = HubFolder(tmp_path / "hub")
    founding.found(folder, Settings("hub.test", "localhost", 8883), SystemClock())
    database = founding.open_database(folder)
    old = enrolled(folder, tmp_path / "old")
    took(folder, old)
    boot = tmp_path / "bootfs"
    boot.mkdir()
    (boot / "config.txt").write_text("")
    with enrolment_server(folder, SystemClock()) as url:
        places = {HUB: str(folder.root), "/media/bootfs": str(boot), "https://hub.city:8443": url}
        page = Page("replace-a-gateway.md", tmp_path, {**places, "PIN": pin_of(folder)})
        (revoke,) = page.commands("Stolen: lock it out first")
        page.call(revoke)
        token, serve, key, seed, by_hand = page.commands("The new one")
        assert serve[:3] == ["lamppost-hub", "enrol", "serve"]  # it runs already
        (made,) = re.findall(r"(?m)^token (\S+)$", page.call(token))
        page.call(key)
        page.call(seed, stdin=f"{made}\n")
        state = tmp_path / "state"
        words = ["lamppost", "firstboot", "--boot", str(boot), "--state", str(state)]
        site = tmp_path / "site.toml"
        site.write_text("# brought by the image")
        page.call([*words, "--site", str(site), "--batch-key", str(tmp_path / "batch.pem.pub")])
        page.call([*by_hand, "--state", str(state)])  # once more, by its key
    new = SealingGateway(identity.load(state / "identity"), LATER_EPOCH)
    assert new.identity.signer.kid != old.identity.signer.kid
    took(folder, new)
    show, approve = page.commands("Its ring begins anew")
    with pytest.raises(AssertionError, match=LATER_EPOCH):  # a PROBLEM that names the epoch
        page.call(show)
    page.places["EPOCH"] = LATER_EPOCH
    page.call(approve)
    took(folder, new)
    page.call(show)
    wipe, leave = page.commands("A gateway that leaves service")
    page.call([*wipe, "--state", str(state), "--yes"])
    page.call(leave)
    assert Registry(database).state_of("gw-0042") == "revoked"
    database.close()


def enrolled(folder: HubFolder, home: Path) -> SealingGateway:
    identity.create(home, "gw-0042")
    request = identity.read_request(identity.request(home))
    database = founding.open_database(folder)
    _, bundle = founding.approve(folder, database, request, SystemClock(), replace=False)
    database.close()
    identity.install(home, bundle)
    return SealingGateway(identity.load(home))


def took(folder: HubFolder, gateway: SealingGateway) -> None:
    """The hub is given the gateway's next batch."""
    database = founding.open_database(folder)
    message = gateway.again(-1) if gateway.batches else gateway.next()
    Intake(database, founding.load_keys(folder), SystemClock()).take([message])
    database.close()
