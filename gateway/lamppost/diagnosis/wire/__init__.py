"""Asks devices raw, and reads only: what came, byte for byte and when, is the evidence.

Works on a `line.RawLine`: the port itself, or the daemon's port under a lease. No request here can change a device.
"""
