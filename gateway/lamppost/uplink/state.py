"""What the uplink is doing, since when, and why: for status, the local page and the demo's screen."""

from __future__ import annotations

import enum
from dataclasses import dataclass

from lamppost.model import Instant


class UplinkState(enum.StrEnum):
    """One word for the technician."""

    STOPPED = "stopped"
    CONNECTING = "connecting"
    CONNECTED = "connected"
    WAITING = "waiting"  # a passing fault; tries again by itself
    REFUSED = "refused"  # tries again too, but somebody has to act


@dataclass(frozen=True, slots=True)
class UplinkStatus:
    """A snapshot. `code` and `hint` say why it is not simply connected; None and "" when all is well.

    `held` counts batches without a verified receipt, `in_flight` those sent over this connection and not answered.
    `thrift` is what gives way to the month's byte budget (`month_budget`, None where there is none), `month_bytes` what
    was spent of it, overheads included. `batch_readings` is how large a batch of a backlog is made at present.
    `bytes_sent` sums the sizes of the messages sent, repeats included, without MQTT, TLS and TCP headers.
    """

    state: UplinkState
    since: Instant
    code: str | None = None
    message: str = ""
    hint: str = ""
    next_try: Instant | None = None
    connections: int = 0
    held: int = 0
    in_flight: int = 0
    batches_sent: int = 0
    batches_resent: int = 0
    bytes_sent: int = 0
    receipts_verified: int = 0
    receipts_foreign: int = 0
    receipts_bad: int = 0
    last_bad: str = ""
    batches_refused: int = 0
    last_refusal: str = ""
    last_receipt: Instant | None = None
    alerts_held: int = 0
    alerts_sent: int = 0
    month_bytes: int = 0
    month_budget: int | None = None
    thrift: str = "full"
    batch_readings: int = 0
