"""The commented beginning of a register map, as `lamppost device new` writes it. It is a valid map as it stands."""

from __future__ import annotations

_TEXT = """\
model = "{model}"
products = ["{title}"]      # as on the plate; several are allowed
source = "register list of the maker: title and revision"
table = "input"           # input (function 4), holding (3), coil or discrete; a point may say otherwise
word_order = "big"        # big (ABCD), little (CDAB), BADC or DCBA; a point may say otherwise
serial = {{ baud = 9600, parity = "N", stop_bits = 1 }}    # as it leaves the factory
# max_words = 80          # registers in one read, if the device allows less than 125
# turnaround = 0.05       # seconds of silence before the next request, if it needs some
# caveats = [{{ text = "what to beware of", link = "" }}]

[[point]]
name = "voltage.l1"
address = 0               # as sent on the wire, zero-based: subtract 1, 30001 or 40001 from many manuals
type = "float32"          # int16 uint16 int32 uint32 int64 uint64 float16 float32 float64 bcd16 bcd32 bcd64 bool text
unit = "V"
range = [0, 300]          # what is plausible; outside it a reading is marked, never changed
poll = "fast"             # fast, normal or slow: the site says how many seconds these are

[[point]]
name = "energy.import"
address = 72
type = "uint32"
scale = 0.01              # value = raw x scale + offset
# absent = [0xFFFFFFFF]   # raw values that mean "not available"
unit = "kWh"
range = [0, 1e7]
kind = "counter"          # it only grows; all other points are gauges

[[vector]]
note = "worked by hand from the register list: replace it by registers that you read from your device"
registers = {{ 0 = [0x4366, 0x3333], 72 = [0x0001, 0xE240] }}
expect = {{ "voltage.l1" = 230.2, "energy.import" = 1234.56 }}
"""


def skeleton(model: str) -> str:
    """The text of a new map for `model`, whose name is lower-case letters, digits, `-` and `_`."""
    return _TEXT.format(model=model, title=model.replace("-", " ").replace("_", " ").title())
