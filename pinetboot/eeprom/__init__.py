"""The bootloader of a Pi 4 and newer, in its EEPROM: settings, images, signatures, and what comes of an update."""
