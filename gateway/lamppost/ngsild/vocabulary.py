"""Names that every entity uses, in full, so that a broker need not download a context.

The core terms of NGSI-LD (`id`, `type`, `value`, `object`, `location`, `observedAt`, `unitCode`) stay short: the core
context is always in force. Lamppost's own names are URNs: they are never looked up.
"""

from __future__ import annotations

COMMON = "https://smartdatamodels.org/"
OWN = "urn:lamppost:"

DATE_OBSERVED = COMMON + "dateObserved"
SOURCE = COMMON + "source"
DATA_PROVIDER = COMMON + "dataProvider"
NAME = COMMON + "name"
DESCRIPTION = "http://purl.org/dc/terms/description"

# Sub-properties of a measured attribute.
MIN = OWN + "min"
MAX = OWN + "max"
LAST = OWN + "last"
DELTA = OWN + "delta"
COUNT = OWN + "count"
UNCERTAIN = OWN + "uncertain"
BAD = OWN + "bad"
QUALITY = OWN + "quality"
TIME_QUALITY = OWN + "timeQuality"
WINDOW_START = OWN + "windowStart"
WINDOW_END = OWN + "windowEnd"
LIVE = OWN + "live"  # true: a momentary value, ahead of the window that will count its reading

OF_WINDOWS = frozenset({COUNT, UNCERTAIN, BAD, MIN, MAX, LAST, DELTA, WINDOW_START, WINDOW_END})
"""What a momentary value has none of."""

# Attributes of our own.
QUALITY_OF = QUALITY + ":"  # + local name (+ "." + member): why an attribute has no value
GAP = OWN + "gap"
GAP_TYPE = OWN + "Gap"
CARRIED = OWN + "carried"
CARRIED_TYPE = OWN + "Carried"
REDUCED = OWN + "reduced"
REDUCED_TYPE = OWN + "Reduced"
NUMBERS = OWN + "numbers"
LIVE_TYPE = OWN + "Live"
GATEWAY = OWN + "gateway"
ALERT_STATE = OWN + "alertState"
VALUE = OWN + "value"
POINT = OWN + "point"
UNSENT = OWN + "unsent"
WHY = OWN + "why"
POINTS = OWN + "points"
CONFIGURATION = OWN + "configuration"
