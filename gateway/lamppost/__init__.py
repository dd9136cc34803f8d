"""Lamppost, the gateway: links → acquire → quality → ring → aggregate → ngsild → envelope → uplink.

Each sub-package opens with what it holds and what it must not touch; `daemon` is the only place that joins them.
"""

__version__ = "0.1.0"
