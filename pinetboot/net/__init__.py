"""The network below any protocol: addresses, interfaces, UDP sockets, an HTTP client."""
