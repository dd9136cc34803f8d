"""The way to the hub: MQTT session, in-flight window, receipts.

Sends sealed batches as the ring holds them and settles the ring by verified receipts. Must not touch readings,
windows, devices or the envelope's inside; knows no other stage.
"""

from lamppost.uplink.budget import LONG_WINDOW, Budget, Thrift
from lamppost.uplink.state import UplinkState, UplinkStatus
from lamppost.uplink.uplink import Uplink

__all__ = ["LONG_WINDOW", "Budget", "Thrift", "Uplink", "UplinkState", "UplinkStatus"]
