"""Sign inside, encrypt outside; open, prove and settle: COSE envelopes, Merkle logs, receipts, identity.

Used by the gateway and by the hub. Knows bytes and keys; must not touch readings, the ring, MQTT, a clock or the
network. Nothing is imported here: a command that needs no key must not pay for `cryptography`.
"""
