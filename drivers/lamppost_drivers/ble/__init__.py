"""Bluetooth LE sensors that advertise their values: BTHome v2, Ruuvi. Passive only, nothing is connected to."""
