"""Where deliveries go: a small embedded store, a file of lines, a context broker. One interface, one contract suite.

Must not touch: the ledger, keys, MQTT. A sink that raises has not taken the delivery.
"""

from lamppost_hub.sinks.opening import Sink, open_sink

__all__ = ["Sink", "open_sink"]
