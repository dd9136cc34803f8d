"""Windows → NGSI-LD entities, and the write plan against a context broker (ETSI GS CIM 009).

`units`, `terms` and `entities` are pure. `plan` and `broker` write entities, know nothing of how they were made, and
import none of the other three, so that the hub can use them. Must not touch: clocks, the ring, envelopes.
"""
