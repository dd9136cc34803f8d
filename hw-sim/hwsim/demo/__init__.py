"""The demo: a simulated cabinet, a real gateway, a real broker, a real hub, and an outage in the middle.

Everything but the hardware is the product itself, started as its own processes; only their commands and sockets are
used here, none of their code.
"""
