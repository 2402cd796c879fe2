"""A virtual Raspberry Pi: it asks on the wire what the firmware asks, in its order."""
