"""The first boot of a card: what it becomes, what it shows, and that nothing it meets leaves it half done."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from fakes.est_server import enrolment_server, pin_of
from lamppost.cli.main import main
from lamppost.cli.telltale import Telltale
from lamppost.clock import SystemClock as GatewayClock
from lamppost.envelope import identity
from lamppost.envelope.keys import FileSigner, create_signing_key
from lamppost.envelope.seed import Seed, write_seed
from lamppost_hub import founding
from lamppost_hub.cli import main as hub_main
from lamppost_hub.clock import SystemClock
from lamppost_hub.folder import HubFolder, Settings
from lamppost_hub.tokens import Tokens
from unit.hub.world import FrozenClock


class Card:
    """A board with a card in it: boot partition, configuration and state."""

    def __init__(self, home: Path, hub: HubFolder, url: str) -> None:
        self.home, self.hub, self.url = home, hub, url
        self.boot, self.state = home / "boot", home / "state"
        self.site, self.batch = home / "etc" / "site.toml", home / "batch.key"
        for folder in (self.boot / "lamppost", self.site.parent):
            folder.mkdir(parents=True)
        create_signing_key(self.batch)
        self.site.write_text("# put there by the image")

    def seed(self, gateway: str, token: str = "", **changes: str) -> None:
        """Write a seed as lamppost-kit does; without `token` the operator makes one."""
        database = founding.open_database(self.hub)
        made = token or Tokens(database).make(gateway, SystemClock().utc())
        database.close()
        members = {"hub": self.url, "pin": pin_of(self.hub), "root": ""} | changes
        seed = Seed("batch-1", gateway, "default", token=made, **members)
        self.seed_file.write_bytes(write_seed(seed, FileSigner.load(self.batch)))

    @property
    def seed_file(self) -> Path:
        return self.boot / "lamppost" / "seed.toml"

    @property
    def log(self) -> str:
        return (self.boot / "lamppost" / "lamppost-firstboot.log").read_text()

    def starts(self, *more: str) -> int:
        """Run the first boot; its exit code."""
        words = ["--boot", str(self.boot), "--site", str(self.site), "--state", str(self.state)]
        try:
            main(["firstboot", *words, *more])
        except SystemExit as end:
            return int(end.code or 0)
        return 0


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[HubFolder, str]]:
    folder = HubFolder(tmp_path_factory.mktemp("firstboot") / "hub")
    clock = FrozenClock(SystemClock().utc())
    founding.found(folder, Settings("hub.test", "localhost", 8883), clock)
    with enrolment_server(folder, clock) as url:
        yield folder, url


@pytest.fixture
def card(served: tuple[HubFolder, str], tmp_path: Path) -> Card:
    return Card(tmp_path / "card", *served)


def test_a_card_becomes_its_gateway_once(card: Card, capsys: pytest.CaptureFixture[str]) -> None:
    card.seed("gw-1")
    assert card.starts() == 0
    assert capsys.readouterr().out.splitlines()[-1] == "OK gw-1 is enrolled and configured"
    found = identity.load(card.state / "identity")
    assert (found.gateway, found.hub) == ("gw-1", "hub.test")
    assert not card.seed_file.exists()  # it was worthless already; FAT on flash cannot be erased
    assert card.log.splitlines()[-1].endswith("OK gw-1 is enrolled and configured")
    assert "made on this board" in card.log
    assert card.starts() == 0  # every later boot
    assert identity.load(card.state / "identity") == found


def test_a_network_that_comes_later(card: Card) -> None:
    card.seed("gw-2", hub="https://localhost:1")
    assert card.starts() == 1
    assert "PROBLEM uplink.unreachable" in card.log
    key = (card.state / "identity" / "envelope.key").read_bytes()
    card.seed("gw-2")
    assert card.starts() == 0
    assert (card.state / "identity" / "envelope.key").read_bytes() == key


def test_power_lost_after_the_answer(card: Card) -> None:
    """The token is spent, the seed is still there: the key that was made vouches at the next start."""
    card.seed("gw-3")
    again = card.seed_file.read_bytes()
    assert card.starts() == 0
    card.seed_file.write_bytes(again)
    assert card.starts() == 0
    assert not card.seed_file.exists()


def test_the_same_seed_on_a_second_card(card: Card, tmp_path: Path) -> None:
    card.seed("gw-4")
    twin = Card(tmp_path / "twin", card.hub, card.url)
    shutil.copy(card.seed_file, twin.seed_file)
    assert card.starts() == 0
    assert twin.starts() == 8
    assert "PROBLEM registry.claimed: the hub refused: gw-4 is already claimed" in twin.log
    assert twin.seed_file.exists()


def test_a_seed_of_another_batch(card: Card, tmp_path: Path) -> None:
    card.seed("gw-5")
    other = create_signing_key(tmp_path / "other.key")
    (tmp_path / "batch.pub").write_text(other.pem())
    assert card.starts("--batch-key", str(tmp_path / "batch.pub")) == 8
    assert "PROBLEM seed.batch-key" in card.log
    assert not (card.state / "identity").exists()


def test_a_seed_that_was_edited(card: Card) -> None:
    card.seed("gw-6")
    card.seed_file.write_text(card.seed_file.read_text().replace("gw-6", "gw-7"))
    assert card.starts() == 8
    assert "PROBLEM seed.signature" in card.log
    assert not (card.state / "identity").exists()


def test_no_seed_and_no_identity(card: Card, capsys: pytest.CaptureFixture[str]) -> None:
    assert card.starts() == 8
    assert "PROBLEM seed.absent" in capsys.readouterr().out


def test_without_a_configuration_it_says_so_and_tries_again(card: Card) -> None:
    card.site.unlink()
    card.seed("gw-8")
    assert card.starts() == 7
    assert "enrolled at hub.test" in card.log
    assert "PROBLEM ota.no-root" in card.log
    assert card.seed_file.exists()
    card.site.write_text("# brought by hand")
    assert card.starts() == 0


def publish(hub: HubFolder, keys: Path, gateway: str) -> str:
    """Key ceremony, approvers and one released configuration by the hub's own commands; the site's text."""
    keys.mkdir()

    def call(*words: object) -> None:
        hub_main(["publish", *map(str, words)])

    for name in ("r1", "r2", "r3", "a1", "a2"):
        call("key", keys / f"{name}.pem")
    call("init", hub.root, *(w for n in ("r1", "r2", "r3") for w in ("--root", keys / f"{n}.pub")))
    pending = hub.publish / "pending"
    for role in ("root", "targets"):
        for name in ("r1", "r2"):
            call("sign", pending / role, "--key", keys / f"{name}.pem", "--yes")
    call("release", hub.root)
    approvers = [w for n in ("a1", "a2") for w in ("--approver", keys / f"{n}.pub")]
    call("group", hub.root, "default", *approvers)
    for name in ("r1", "r2"):
        call("sign", pending / "targets", "--key", keys / f"{name}.pem", "--yes")
    call("release", hub.root)
    sites = keys / "sites"
    (sites / "gateways").mkdir(parents=True)
    (sites / "gateways" / f"{gateway}.toml").write_text(PUBLISHED.format(gateway=gateway))
    call("stage", hub.root, "default", sites, "--steps", "100%@now")
    for name in ("a1", "a2"):
        call("sign", pending / "default", "--key", keys / f"{name}.pem", "--yes")
    call("release", hub.root)
    return (hub.publish / "repository" / "metadata" / "1.root.json").read_text()


PUBLISHED = """\
[site]
gateway = "{gateway}"
hub = "hub.test"
[uplink]
host = "localhost"
[[link]]
name = "rs485-1"
kind = "modbus-rtu"
port = "/dev/ttyUSB0"
[[device]]
name = "meter"
model = "sdm630"
link = "rs485-1"
unit = 1
"""


def test_from_an_empty_card_to_its_published_configuration(
    card: Card, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    card.site.unlink()
    root = publish(card.hub, tmp_path / "keys", "gw-9")
    card.seed("gw-9", root=root)
    assert card.starts() == 0, card.log
    main(["config", "check", str(card.site)])
    assert 'gateway = "gw-9"' in card.site.read_text()
    assert capsys.readouterr().out.splitlines()[-1].startswith("OK ")
    other = Card(tmp_path / "other", card.hub, card.url)
    other.site.unlink()
    other.seed("gw-10", root=root)
    assert other.starts() != 0
    assert "PROBLEM ota.nothing-published: the hub has no default/gw-10/site.toml" in other.log


def test_the_led_tells_it_too(tmp_path: Path) -> None:
    leds = tmp_path / "leds"
    (leds / "ACT").mkdir(parents=True)
    tell = Telltale(tmp_path, GatewayClock(), leds=leds)
    shown = []
    for say in (tell.works, tell.failed, tell.done):
        say("x")
        shown.append({p.name: p.read_text() for p in (leds / "ACT").iterdir()})
    assert [s.get("trigger") for s in shown] == ["timer", "timer", "none"]
    assert int(shown[0]["delay_on"]) > 4 * int(shown[1]["delay_on"])
    assert shown[2]["brightness"] == "1"
    Telltale(tmp_path / "no partition", GatewayClock(), leds=tmp_path / "no leds").works("x")
