"""Air quality sensors on UART and I2C: particulates, CO2, climate. No ports here, only bytes."""
