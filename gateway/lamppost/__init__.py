"""Lamppost, the gateway: links → acquire → quality → ring → aggregate → ngsild → envelope → uplink.

Each sub-package opens with what it holds and what it must not touch; `daemon` is the only place that joins them.
"""

__version__ = "0.1.0"

RELEASED_NS = 1_767_225_600 * 10**9
"""2026-01-01T00:00:00Z: this version did not exist before; the first time floor. Moved with `__version__`."""
