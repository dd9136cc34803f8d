"""The queue of alerts alone: the same archive with cursors of its own, so that a sink's backlog is overtaken."""

from __future__ import annotations

from lamppost.envelope.seal import ALERT
from lamppost_hub.queue import ENTRY, EXPRESS, Queue, Queued

_ALERTS = f"substr(s.epoch, 1, {len(ALERT)}) = '{ALERT}'"


def express_name(sink: str) -> str:
    """The name under which the cursors of a sink's alerts are kept."""
    return sink + EXPRESS


class AlertQueue(Queue):
    """As `Queue`, but there is nothing in it but batches of alert streams. Sinks are named by `express_name`."""

    _waiting = (
        "EXISTS (SELECT 1 FROM streams s WHERE s.gateway = g.number"
        f" AND {_ALERTS} AND c.through < (SELECT e.position FROM entries e"
        " WHERE e.stream = s.number ORDER BY e.seq DESC LIMIT 1))"
    )

    def backlog(self, sink: str) -> int:
        """How many batches of alerts this sink has not got yet."""
        row = self._database.row(
            "SELECT count(*) FROM streams s JOIN entries e ON e.stream = s.number"
            " LEFT JOIN cursors c ON c.gateway = s.gateway AND c.sink = ?"
            f" WHERE {_ALERTS} AND e.position > coalesce(c.through, 0)",
            sink,
        )
        return int(row[0]) if row else 0

    def next_of(self, sink: str, gateway: str, limit: int) -> list[Queued]:
        """The gateway's next batches of alerts for this sink, in the order in which they were booked."""
        rows = self._database.rows(
            f"{ENTRY} WHERE {_ALERTS} AND e.gateway = (SELECT number FROM gateways WHERE id = ?)"
            " AND e.position > coalesce((SELECT c.through FROM cursors c WHERE c.sink = ?"
            " AND c.gateway = e.gateway), 0) ORDER BY e.position LIMIT ?",
            gateway,
            sink,
            limit,
        )
        return [Queued(*row) for row in rows]
