"""Event-time windows: timed samples in, closed windows out. Pure.

Must not touch: clocks, files, the ring, NGSI-LD. Same samples, kinds and carry in, same windows and carry out.
"""

from lamppost.aggregate.carry import Carry
from lamppost.aggregate.deferred import Deferred
from lamppost.aggregate.windows import Timed, reduce_windows

__all__ = ["Carry", "Deferred", "Timed", "reduce_windows"]
