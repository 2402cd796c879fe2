"""What real boot firmware and loaders ask, as it was captured, and what they are granted, byte for byte."""

from __future__ import annotations

import socket
from collections.abc import Callable
from pathlib import Path

from golden import load
from support import Daemon

from pinetboot.boot.names import normalise
from pinetboot.tftp import packet
from pinetboot.tftp.packet import ErrorCode, Oack, Request

FOLDER = Path(__file__).parent / "golden"
CLIENTS = [path.stem for path in sorted(FOLDER.glob("*.hex"))]


def exchanges() -> list[tuple[str, bytes, bytes]]:
    """List each client's requests, with what each was granted."""
    found = []
    for client in CLIENTS:
        datagrams = load(client, FOLDER)
        found += [(client, *pair) for pair in zip(datagrams[::2], datagrams[1::2], strict=True)]
    return found


def test_real_clients_are_granted_what_they_were_granted_when_they_booted(serve: Callable[..., Daemon]) -> None:
    daemon = serve()
    assert len(exchanges()) == 8
    for client, asked, granted in exchanges():
        request, oack = packet.parse(asked), packet.parse(granted)
        assert isinstance(request, Request)
        assert isinstance(oack, Oack)
        assert packet.encode_request(request.filename, request.mode, request.options) == asked, client
        path = daemon.data / "boot" / normalise(request.filename)
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(bytes(int(oack.options.get("tsize", "10000"))))
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            sock.settimeout(20)
            sock.sendto(asked, ("127.0.0.1", daemon.tftp_port))
            content, peer = sock.recvfrom(2048)
            assert content == granted, client
            sock.sendto(packet.encode_error(ErrorCode.NOT_DEFINED, "enough"), peer)
