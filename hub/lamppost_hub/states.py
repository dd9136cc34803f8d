"""What gateways last said of themselves, and the six states that the hub reads out of it.

A heartbeat is signed; the broker's last will is not, and only says that a connection ended. A gateway is offline when
it has not been heard for longer than it announced itself, whatever the broker says.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass

from lamppost.envelope.heartbeat import Heartbeat, open_heartbeat
from lamppost.envelope.keys import DecryptionKey
from lamppost.envelope.refusal import EnvelopeError
from lamppost_hub.database import Database
from lamppost_hub.registry import ACTIVE, Registry
from lamppost_hub.transport import Incoming

STATE = "state"
LAST_WILL = b"disconnected"
SLACK = 60  # seconds that a heartbeat may be late before it counts
SILENT_AFTER = 1800  # seconds without a batch, where no heartbeat ever came
OK, DEGRADED, LATE, OFFLINE = "ok", "degraded", "late", "offline"
MAINTENANCE, UNCLAIMED = "maintenance", "unclaimed"
TIMED = ("synced", "holdover")


@dataclass(frozen=True, slots=True)
class Said:
    """A gateway's newest heartbeat, when it came, and when its connection was last reported gone (UTC ns; 0: never)."""

    beat: Heartbeat
    received: int
    gone: int


class States:
    """The table of states. Writes join the caller's transaction."""

    def __init__(
        self,
        database: Database,
        registry: Registry,
        hub: str,
        decryption: Mapping[bytes, DecryptionKey],
    ) -> None:
        self._database = database
        self._registry = registry
        self._hub = hub
        self._decryption = decryption

    def take(self, message: Incoming, gateway: str, utc: int) -> str:
        """Keep what came for `gateway`; "" or the code of a refusal. What is older than the kept one is passed over."""
        if message.payload == LAST_WILL:
            self._database.run(
                "UPDATE states SET gone = ? WHERE gateway = (SELECT number FROM gateways WHERE id = ?)",
                utc,
                gateway,
            )
            return ""
        try:
            _, kid, beat = open_heartbeat(
                message.payload,
                message.topic,
                aud=self._hub,
                hub_keys=self._decryption,
                signer_of=self._registry.signer_of,
            )
        except EnvelopeError as error:
            return error.code
        code = self._registry.refusal_of(kid)
        if code is not None:
            return code
        # `said` grows: a replayed heartbeat says less. One without a clock is taken, and never hides one with it.
        self._database.run(
            "INSERT INTO states (gateway, received, said, gone, content)"
            " SELECT number, ?, ?, 0, ? FROM gateways WHERE id = ?"
            " ON CONFLICT (gateway) DO UPDATE SET received = excluded.received, said = excluded.said,"
            " gone = 0, content = excluded.content WHERE excluded.said = 0 OR excluded.said > states.said",
            utc,
            beat.at,
            json.dumps(asdict(beat)),
            gateway,
        )
        return ""


def said(database: Database) -> dict[str, Said]:
    """The newest heartbeat of each gateway, by id."""
    rows = database.rows(
        "SELECT g.id, s.content, s.received, s.gone FROM states s JOIN gateways g ON g.number = s.gateway"
    )
    return {row[0]: Said(_beat(row[1]), row[2], row[3]) for row in rows}


def _beat(content: str) -> Heartbeat:
    found = json.loads(content)
    return Heartbeat(**{**found, "wrong": tuple(found["wrong"])})


def standing(state: str, heard: int, last: Said | None, utc: int) -> str:
    """One of the six words, or the registry's own for a gateway that is locked out.

    `heard` is when the newest batch came, `utc` now (nanoseconds). A gateway's word never stands for its devices.
    """
    if state != ACTIVE:
        return state
    if last is None:
        return OK if heard and utc - heard <= SILENT_AFTER * 10**9 else OFFLINE
    beat, quiet = last.beat, (utc - max(heard, last.received)) / 1e9
    if quiet > 2 * beat.every + SLACK:
        return OFFLINE
    if beat.until * 10**9 > utc:
        return MAINTENANCE
    if quiet > beat.every + SLACK:
        return LATE
    well = beat.ring == "ok" and beat.clock in TIMED and not beat.silent and not beat.wrong
    return OK if well else DEGRADED
