"""DHCP as a Pi speaks it: ProxyDHCP beside the LAN's own server, with the Pi's option 43."""
