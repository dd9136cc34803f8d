"""The local page: three addresses, readers only, and what attackers try first."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Mapping
from typing import Any

import httpx
import pytest
from starlette.types import ASGIApp

from lamppost.clock import SystemClock
from lamppost.errors import HubError
from lamppost.page import html
from lamppost.page.app import COOKIE, GUESSES, LONGEST_TARGET, Door, application
from lamppost.page.serve import Server, ring

STATUS: dict[str, Any] = {
    "gateway": "gw-1", "hub": "hub.city", "version": "0.1.0", "up_seconds": 7300.0, "clock": "synced",
    "ring": {"state": "ok", "appended": 1234, "waiting": 20, "evicted": 0, "bytes_used": 5, "bytes_limit": 9},
    "uplink": {"state": "connected", "code": None, "batches_sent": 5, "receipts_verified": 4},
    "alerts": [],
    "devices": [
        {
            "name": "meter", "model": "sdm630", "on": "a/1", "state": "ok", "since_seconds_ago": 9.0,
            "reason": "good", "fault": {"code": "", "hint": ""}, "counts": {"polls": 7},
            "readings": {"voltage.l1": {"value": 230.25, "quality": "good"}},
        },
        {
            "name": "<b>evil", "model": "sdm120", "on": "a/2", "state": "dead", "since_seconds_ago": 600.0,
            "reason": "no_response", "fault": {"code": "link.no-answer", "hint": "check power & wiring"},
            "counts": {"polls": 3}, "readings": {},
        },
    ],
}  # fmt: skip
LOCAL = frozenset({"localhost"})


class Visitor:
    """A browser without script: keeps cookies, follows nothing."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        self._cookies = httpx.Cookies()

    def request(
        self, method: str, path: str, headers: Mapping[str, str] | None = None
    ) -> httpx.Response:
        return asyncio.run(self._ask(method, path, headers))

    def get(self, path: str, headers: Mapping[str, str] | None = None) -> httpx.Response:
        return self.request("GET", path, headers)

    async def _ask(
        self, method: str, path: str, headers: Mapping[str, str] | None
    ) -> httpx.Response:
        transport = httpx.ASGITransport(app=self._app)
        base = "http://localhost"
        async with httpx.AsyncClient(
            transport=transport, base_url=base, cookies=self._cookies
        ) as line:
            answer = await line.request(method, path, headers=headers)
            self._cookies.update(line.cookies)
            return answer


def client(door: Door | None = None, status: Mapping[str, Any] | None = None) -> Visitor:
    def asked() -> Mapping[str, Any]:
        if status is None:
            return STATUS
        return status

    app = application(asked, door or Door(LOCAL), {"meter": {"voltage.l1": "V"}}, lambda: 12.0)
    return Visitor(app)


def test_the_page_says_what_is_wrong_and_shows_values() -> None:
    answer = client().get("/")
    assert answer.status_code == 200
    assert "PROBLEM link.no-answer &lt;b&gt;evil" in answer.text
    assert "230.25 V" in answer.text
    assert "check power &amp; wiring" in answer.text
    assert len(answer.content) < 40_000
    assert "<script" not in answer.text
    assert "<form" not in answer.text


def test_a_whole_site_of_devices_stays_small() -> None:
    many = {
        **STATUS,
        "devices": [{**STATUS["devices"][0], "name": f"meter-{n}"} for n in range(60)],
    }
    assert len(client(status=many).get("/").content) < 40_000


def test_nothing_but_our_own_style_may_load() -> None:
    answer = client().get("/")
    policy = answer.headers["content-security-policy"]
    assert policy.startswith("default-src 'none'; style-src 'sha256-")
    assert html.STYLE_HASH in policy
    assert answer.headers["cache-control"] == "no-store"
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert re.findall(r'(?:src|href)="(?!/status\.json|/metrics)[^"]*"', answer.text) == []


def test_metrics_are_prometheus_text() -> None:
    answer = client().get("/metrics")
    assert answer.headers["content-type"].startswith("text/plain; version=0.0.4")
    assert "lamppost_readings_waiting 20" in answer.text
    assert 'lamppost_device_ok{device="meter"} 1' in answer.text
    samples = [line for line in answer.text.splitlines() if not line.startswith("#")]
    assert all(re.fullmatch(r'[a-z_]+(\{device="[^"]*"\})? \S+', line) for line in samples)


def test_without_a_daemon_the_page_says_so() -> None:
    def silent() -> Mapping[str, Any]:
        raise HubError("nobody", code="daemon.not-running", hint="systemctl start lamppost")

    app = application(silent, Door(LOCAL), {}, lambda: 1.0)
    visitor = Visitor(app)
    assert visitor.get("/").status_code == 503
    assert "systemctl start lamppost" in visitor.get("/").text
    assert visitor.get("/status.json").json()["error"] == "daemon.not-running"
    assert visitor.get("/metrics").status_code == 503


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE"])
def test_other_methods_are_refused(method: str) -> None:
    answer = client().request(method, "/")
    assert answer.status_code == 405
    assert "content-security-policy" in answer.headers


@pytest.mark.parametrize(
    "host",
    [
        "evil.example",
        "localhost.evil.example",
        "127.0.0.1.nip.io",
        "",
        "[::2]",
        "LOCALHOST.",
        "192.168.7.2",
    ],
)
def test_another_host_is_refused(host: str) -> None:
    """DNS rebinding: a page of the internet that resolves to this machine."""
    assert client().get("/", headers={"host": host}).status_code == 421


def test_our_host_with_any_port_is_taken() -> None:
    assert client().get("/", headers={"host": "localhost:9999"}).status_code == 200
    v6 = Door(frozenset({"::1"}))
    assert client(v6).get("/", headers={"host": "[::1]:8088"}).status_code == 200


def test_long_requests_are_refused() -> None:
    assert client().get("/?" + "a" * LONGEST_TARGET).status_code == 414


@pytest.mark.parametrize("path", ["/../etc/passwd", "/status", "/metrics/", "/static/x"])
def test_there_is_nothing_else(path: str) -> None:
    assert client().get(path).status_code in (307, 404)


def test_a_token_is_good_once_and_then_the_cookie() -> None:
    door = Door.with_token(LOCAL)
    visitor = client(door)
    assert visitor.get("/").status_code == 403
    came = visitor.get(f"/?t={door.token}")
    assert (came.status_code, came.headers["location"]) == (303, "/")
    assert "HttpOnly" in came.headers["set-cookie"]
    assert "SameSite=strict" in came.headers["set-cookie"]
    assert visitor.get("/").status_code == 200
    assert client(door).get(f"/?t={door.token}").status_code == 403
    assert client(door).get("/", headers={"cookie": f"{COOKIE}=guess"}).status_code == 403
    assert door.token not in visitor.get("/").text
    assert door.cookie not in visitor.get("/status.json").text


def test_guessing_shuts_the_door_for_everybody() -> None:
    door = Door.with_token(LOCAL)
    visitor = client(door)
    for number in range(GUESSES):
        assert visitor.get(f"/?t=guess{number}").status_code == 403
    assert door.is_shut
    assert visitor.get(f"/?t={door.token}").status_code == 403


def test_tokens_are_long_and_differ() -> None:
    tokens = {Door.with_token(LOCAL).token for _ in range(50)}
    assert len(tokens) == 50
    assert min(map(len, tokens)) >= 22


async def test_it_closes_by_time_and_by_hand() -> None:
    clock, door = SystemClock(), Door(LOCAL)
    app = application(lambda: STATUS, door, {}, lambda: 1.0)
    assert await Server(app, "127.0.0.1", 0).run(clock.monotonic(), clock, door) == "time is up"
    server = Server(app, "127.0.0.1", 0)
    running = asyncio.create_task(server.run(clock.monotonic() + 60, clock, door))
    import os

    while not ring(os.getuid()):
        await asyncio.sleep(0.01)
    assert await running == "closed by hand"
    assert not ring(os.getuid())
