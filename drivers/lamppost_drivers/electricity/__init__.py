"""Electricity: meters that describe themselves (SunSpec), P1 ports, S0 pulses. Plain Modbus meters are maps/*.toml."""
