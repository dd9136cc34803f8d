"""What to read next, on which bus, and what a failure means; a device's answers become samples.

Knows drivers, links and quality; must not touch the ring, the uplink or any library of the field. A device that does
not answer is a sample with bad readings, never an exception.
"""

from __future__ import annotations

from lamppost.acquire.acquisition import Acquisition, build, device_points

__all__ = ["Acquisition", "build", "device_points"]
