"""What an installer gets wrong on the first evening: each has a name and a next step, and the daemon runs on."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from hwsim.demo.bench import GATEWAY, Bench
from sim.chain import chain, wait_until

pytestmark = pytest.mark.broker


def another_hub(bench: Bench) -> Path:
    hub = bench.folder / "other-hub"
    bench.command("lamppost-hub", "init", hub, "--id", "hub.other", "--port", bench.port)
    return hub


def enrolled(state: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((state / "identity" / "enrolled.json").read_text())
    return found


def take_wrong_hub_key(bench: Bench) -> None:
    """The bundle of this hub, with another hub's encryption key in it."""
    other = bench.folder / "other-gateway"
    bench.command("lamppost", "enrol", GATEWAY, "--local", another_hub(bench), "--state", other)
    bundle = enrolled(bench.gateway_state)
    bundle["hub_encryption"] = enrolled(other)["hub_encryption"]
    (bench.gateway_state / "identity" / "enrolled.json").write_text(json.dumps(bundle))


def take_foreign_certificate(bench: Bench) -> None:
    """Everything from another hub but the broker's authority: our broker must refuse the client."""
    good = bench.gateway_state / "identity" / "server-ca.pem"
    authority = good.read_text()
    other = bench.folder / "other-gateway"
    bench.command("lamppost", "enrol", GATEWAY, "--local", another_hub(bench), "--state", other)
    for path in (other / "identity").iterdir():
        (bench.gateway_state / "identity" / path.name).write_bytes(path.read_bytes())
    good.write_text(authority)


def trust_another_authority(bench: Bench) -> None:
    """The broker's certificate comes from an authority that the gateway was not told of."""
    ca = another_hub(bench) / "ca" / "server-ca.pem"
    (bench.gateway_state / "identity" / "server-ca.pem").write_text(ca.read_text())


def uplink(bench: Bench) -> dict[str, Any]:
    found: dict[str, Any] = (bench.status() or {}).get("uplink", {})
    return found


@pytest.mark.parametrize(
    ("mistake", "code"),
    [
        (take_wrong_hub_key, "envelope.unknown-hub-key"),
        (take_foreign_certificate, "uplink.refused-certificate"),
        (trust_another_authority, "uplink.wrong-server"),
    ],
)
def test_a_mistake_in_trust_has_a_name_and_the_daemon_runs_on(
    tmp_path: Path, mistake: Any, code: str
) -> None:
    with chain(tmp_path, before_start=mistake) as bench:
        wait_until(lambda: uplink(bench).get("code") == code, code)
        assert uplink(bench)["hint"]
        stored = bench.buffer()["appended"]
        wait_until(lambda: bench.buffer()["appended"] > stored, "reading and storing go on")
        assert bench.fleet()["sink"]["readings"] == 0


def test_a_missing_port_has_a_name_and_comes_back(tmp_path: Path) -> None:
    with chain(tmp_path, cabinet=False) as bench:
        status = bench.status() or {}
        wait_until(
            lambda: all(
                bus["fault"]["code"] == "link.missing" for bus in (bench.status() or {})["buses"]
            ),
            "link.missing",
        )
        status = bench.status() or {}
        assert all("/dev/serial/by-id" in bus["fault"]["hint"] for bus in status["buses"])
        bench.start_cabinet()
        wait_until(
            lambda: all(b["state"] == "ok" for b in (bench.status() or {})["buses"]), "ports found"
        )


def test_a_gateway_that_is_not_enrolled_reads_and_stores(tmp_path: Path) -> None:
    def forget(bench: Bench) -> None:
        (bench.gateway_state / "identity" / "enrolled.json").unlink()

    with chain(tmp_path, before_start=forget) as bench:
        wait_until(lambda: bench.buffer()["appended"] > 0, "readings are stored")
        assert uplink(bench)["state"] == "not-enrolled"
        assert uplink(bench)["code"] == "trust.not-enrolled"
