"""The chain with signed configuration: a hub that publishes, its key holders, and a gateway that is to take it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from fakes.ceremony import publishing_hub
from hwsim.demo.bench import GATEWAY, HUB_ID, Bench, free_port
from sim.chain import FAST, need_broker, wait_until

GROUP = "harbour"
OTA = '\n[ota]\ngroup = "harbour"\nurl = "https://localhost:{ota_port}"\nevery = "10s"\ntrial = "30s"\n'


class PublishingBench(Bench):
    """A bench whose hub publishes; `site` is what the gateway starts with, as text."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.ota_port = free_port()
        self.keys = folder / "keys"
        self.sites = folder / "sites"
        self.site = ""

    def prepare(self, site: str = FAST, cabinet: Path | None = None) -> None:
        """Hub, key ceremony, enrolment (the bundle brings the root), site file."""
        self.keys.mkdir()
        (self.sites / "gateways").mkdir(parents=True)
        text = site.replace(
            "[[link]]", OTA.replace("{ota_port}", str(self.ota_port)) + "\n[[link]]", 1
        )
        self.hub_init()
        publishing_hub(self.hub, self.key, ("r1", "r2", "r3"), GROUP, ("alice", "bob"))
        self.command(
            "lamppost", "enrol", GATEWAY, "--local", self.hub, "--state", self.gateway_state
        )
        self.site = text.format(gateway=GATEWAY, hub=HUB_ID, port=self.port, folder=self.folder)
        self.site_file.write_text(self.site)
        from hwsim.demo.bench import CABINET

        (self.folder / "cabinet.toml").write_bytes((cabinet or CABINET).read_bytes())

    def key(self, name: str) -> Path:
        return self.keys / f"{name}.pem"

    def hub_init(self) -> None:
        self.command("lamppost-hub", "init", self.hub, "--id", HUB_ID, "--host", "localhost",
                      "--port", self.port)  # fmt: skip
        self.command("lamppost-hub", "broker-config", self.hub, "--port", self.port)

    def publish(self, *words: object) -> str:
        return self.command("lamppost-hub", "publish", *words)

    def sign(self, role: str, *names: str) -> None:
        for name in names:
            pending = self.hub / "publish" / "pending" / role
            self.publish("sign", pending, "--key", self.key(name), "--yes")

    def start_publisher(self) -> None:
        self._start(
            "publisher", "lamppost-hub", "publish", "serve", self.hub, "--port", self.ota_port
        )
        self._await("publisher", lambda: "ready" in self.log("publisher"))

    def roll_out(self, site: str, *options: object, steps: str = "100%@now") -> str:
        """Stage, sign twice, release a site for the gateway; returns the roll-out's name."""
        (self.sites / "gateways" / f"{GATEWAY}.toml").write_text(site)
        self.publish("stage", self.hub, GROUP, self.sites, "--steps", steps, *options)
        self.sign(GROUP, "alice", "bob")
        said = self._json("lamppost-hub", "publish", "release", self.hub, "--json")
        return str(said["rollouts"][0])

    def configuration(self) -> dict[str, Any]:
        return dict((self.status() or {}).get("configuration", {}))

    def seen_at_hub(self, rollout: str) -> dict[str, Any]:
        """What the hub knows of this gateway in a roll-out."""
        from subprocess import run

        from hwsim.demo.bench import _environment

        words = ["lamppost-hub", "publish", "watch", str(self.hub), rollout, "--once", "--json"]
        done = run(words, capture_output=True, text=True, check=False, env=_environment())
        import json

        found = json.loads(done.stdout)["gateways"]
        return dict(next(g for g in found if g["gateway"] == GATEWAY))


@contextmanager
def publishing(folder: Path, site: str = FAST) -> Iterator[PublishingBench]:
    """A running chain whose gateway reads, sends, and has looked for a configuration once."""
    need_broker()
    bench = PublishingBench(folder)
    try:
        bench.prepare(site)
        bench.start_cabinet()
        bench.start_broker()
        bench.start_receiver()
        bench.start_publisher()
        bench.start_gateway()
        wait_until(lambda: bench.fleet()["sink"]["readings"] > 0, "first readings at the hub")
        wait_until(lambda: bench.configuration().get("expires"), "a first look at the repository")
        yield bench
    finally:
        bench.close()
