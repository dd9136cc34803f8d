"""Water, gas, rain and level: pulse outputs, hall sensors, ultrasonic distance, 4..20 mA loops."""
