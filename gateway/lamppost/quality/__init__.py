"""The quality of a reading: which reasons there are, and when a value is doubted.

May lower a quality, never raise it; never changes a value. No I/O, no clock, no device.
"""
