"""One root for everything that can go wrong on purpose; the child says who must act. No terminal formatting here.

`code` is stable and documented in docs/reference/errors.md (a test keeps the two equal), `hint` says what to type
or check next, `retry` tells whether waiting can help. A bad sensor is data, not an error.
"""

from __future__ import annotations


class LamppostError(Exception):
    """Root of all expected failures."""

    def __init__(self, message: str, *, code: str, hint: str, retry: bool = False) -> None:
        super().__init__(message)
        self.code = code
        self.hint = hint
        self.retry = retry


class SiteError(LamppostError):
    """The operator must act: the site file is wrong."""


class LinkError(LamppostError):
    """Wait or re-plug: an endpoint of the operating system does not answer."""


class StoreError(LamppostError):
    """The disk needs attention."""


class TrustError(LamppostError):
    """Someone lied, or a key is old."""


class HubError(LamppostError):
    """Wait: the way to the hub or the hub itself is down."""
