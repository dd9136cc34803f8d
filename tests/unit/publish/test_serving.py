"""The repository over HTTPS: to whom it is given, and whom a gateway's source believes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from fakes.est_server import enrolment_server
from lamppost.envelope import identity
from lamppost.errors import LamppostError
from lamppost.ota.sources import Absent, Credentials, FolderSource, HttpsSource, stick
from lamppost_hub import founding
from lamppost_hub.ca import Authority
from lamppost_hub.clock import SystemClock
from lamppost_hub.folder import HubFolder, Settings
from lamppost_hub.registry import Registry

STAMP = b'{"signed": "now"}'
MINE = f"targets/harbour/gw-1/{'a' * 64}.site.toml"
OTHERS = f"targets/harbour/gw-2/{'b' * 64}.site.toml"


@dataclass
class Place:
    folder: HubFolder
    url: str
    gateways: Path

    def source(
        self, gateway: str = "gw-1", *, url: str = "", check_time: bool = True
    ) -> HttpsSource:
        home = self.gateways / gateway
        who = identity.load(home)
        files = Credentials(who.tls_certificate, who.tls_key, who.server_ca)
        return HttpsSource(url or self.url, files, check_time=check_time)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    root = tmp_path_factory.mktemp("hub")
    folder = HubFolder(root / "hub")
    founding.found(folder, Settings("hub.test", "localhost", 8883), SystemClock())
    for path, content in {
        "metadata/timestamp.json": STAMP,
        MINE: b"mine",
        OTHERS: b"other",
    }.items():
        file = folder.publish / "repository" / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content)
    (folder.publish / "secret.json").write_bytes(b"no")
    for gateway in ("gw-1", "gw-2", "gw-3"):
        enrolled(folder, root / gateway, gateway)
    with enrolment_server(folder, SystemClock()) as url:
        yield Place(folder, url, root)


def enrolled(folder: HubFolder, home: Path, gateway: str) -> None:
    identity.create(home, gateway)
    request = identity.read_request(identity.request(home))
    database = founding.open_database(folder)
    _, bundle = founding.approve(folder, database, request, SystemClock(), replace=False)
    database.close()
    identity.install(home, bundle)


def fetched(source: HttpsSource, path: str) -> bytes:
    return b"".join(source.read(path))


def status(source: HttpsSource, path: str) -> int:
    with pytest.raises(Absent) as absent:
        fetched(source, path)
    return absent.value.status


def test_an_enrolled_gateway_gets_metadata_and_its_own_site(place: Place) -> None:
    source = place.source()
    assert fetched(source, "metadata/timestamp.json") == STAMP
    assert fetched(source, MINE) == b"mine"
    assert status(source, OTHERS) == 403
    assert fetched(place.source("gw-2"), OTHERS) == b"other"


@pytest.mark.parametrize(
    "path",
    [
        "metadata/2.root.json",
        "",
        "metadata/",
        "secret.json",
        "metadata/../../secret.json",
        "metadata/%2e%2e/%2e%2e/secret.json",
        "../hub.toml",
        "targets/harbour/gw-1/../gw-2/x",
        MINE + "/x",
    ],
)
def test_nothing_else_is_there(place: Place, path: str) -> None:
    assert status(place.source(), path) == 404


def test_a_revoked_gateway_gets_nothing_at_its_next_request(place: Place) -> None:
    source = place.source("gw-3")
    assert fetched(source, "metadata/timestamp.json") == STAMP
    database = founding.open_database(place.folder)
    Registry(database).revoke("gw-3")
    database.close()
    assert status(source, "metadata/timestamp.json") == 403


def test_a_server_of_another_ca_or_name_is_not_believed(place: Place, tmp_path: Path) -> None:
    other = HubFolder(tmp_path / "other")
    founding.found(other, Settings("hub.other", "localhost", 8883), SystemClock())
    home = tmp_path / "gw-1"
    enrolled(other, home, "gw-1")
    who = identity.load(home)
    files = Credentials(who.tls_certificate, who.tls_key, who.server_ca)
    for source in (
        HttpsSource(place.url, files),
        HttpsSource(place.url, files, check_time=False),
        place.source(url=place.url.replace("localhost", "127.0.0.2")),
    ):
        with pytest.raises(LamppostError) as refused:
            fetched(source, "metadata/timestamp.json")
        assert refused.value.code == "ota.unreachable"


def test_dates_are_passed_over_only_where_the_clock_cannot_judge_them(tmp_path: Path) -> None:
    """The server's certificate begins in 2050: so the hub's looks to a gateway whose clock stands in 1970."""
    folder = HubFolder(tmp_path / "hub")
    founding.found(folder, Settings("hub.test", "localhost", 8883), SystemClock())
    authority = Authority.load(folder.ca, founding.SERVER_CA, keys=folder.offline)
    authority.issue_server(folder.tls, ["localhost"], SystemClock().utc() + 8 * 365 * 86400 * 10**9)
    (folder.publish / "repository" / "metadata").mkdir(parents=True)
    (folder.publish / "repository" / "metadata" / "timestamp.json").write_bytes(STAMP)
    enrolled(folder, tmp_path / "gw-1", "gw-1")
    with enrolment_server(folder, SystemClock()) as url:
        place = Place(folder, url, tmp_path)
        with pytest.raises(LamppostError, match="not yet valid"):
            fetched(place.source(), "metadata/timestamp.json")
        assert fetched(place.source(check_time=False), "metadata/timestamp.json") == STAMP


def test_a_stick_is_found_below_its_mount_and_does_not_lead_out_of_itself(tmp_path: Path) -> None:
    assert stick(tmp_path / "media") is None
    folder = tmp_path / "media" / "usb0" / "lamppost-configuration"
    (folder / "metadata").mkdir(parents=True)
    (folder / "metadata" / "timestamp.json").write_bytes(STAMP)
    (tmp_path / "secret").write_bytes(b"no")
    (folder / "metadata" / "link.json").symlink_to(tmp_path / "secret")
    found = stick(tmp_path / "media")
    assert isinstance(found, FolderSource)
    assert b"".join(found.read("metadata/timestamp.json")) == STAMP
    for path in ("metadata/link.json", "../../../secret", "metadata/none.json", "metadata"):
        with pytest.raises(Absent):
            list(found.read(path))
