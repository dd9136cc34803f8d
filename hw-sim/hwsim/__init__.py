"""Simulated hardware below the real libraries: serial lines, Modbus, I2C, GPIO, BLE, M-Bus, whole cabinets, faults.

Shares no code with lamppost or lamppost_drivers and imports neither pymodbus nor pyserial, so that a bug on one
side cannot hide the same bug on the other. It reads clocks itself: it *is* the outside world.
"""
