"""pinetboot as a service of a host with systemd: what its unit says, and putting it in place."""
