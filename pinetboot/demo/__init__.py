"""The demonstration: the real servers, a stand-in for the LAN's router, and two virtual Pis, all on loopback."""
