"""What a request is granted: the file in the form asked for, the negotiated options, and how its packets will go.

Belongs here: putting request, settings and path MTU together. Whether the request is granted at all is the server's.
"""

from __future__ import annotations

from dataclasses import dataclass

from pinetboot.config import Tftp
from pinetboot.net import udp
from pinetboot.tftp import packet
from pinetboot.tftp.content import Content
from pinetboot.tftp.lookup import Found
from pinetboot.tftp.options import Limits, negotiate
from pinetboot.tftp.packet import Request
from pinetboot.tftp.transfer import Patience, Transfer

# What a frame spends on IP, UDP and TFTP headers (RFC 791, 8200, 768, 1350).
_OVERHEAD = 20 + 8 + 4
_OVERHEAD6 = 40 + 8 + 4


@dataclass(frozen=True, slots=True)
class Grant:
    """`request` for the normalised `path`, granted; `oack` is the ready packet, empty when no option was taken."""

    path: str
    request: Request
    content: Content
    transfer: Transfer
    oack: bytes


def grant(config: Tftp, sock: udp.Socket, request: Request, path: str, found: Found) -> Grant:
    """Negotiate over a socket that is connected to the client. Raises OSError."""
    granted = negotiate(request.options, _limits(config, sock), found.size)
    content = Content(found.file, granted.blksize, lock_step=granted.windowsize == 1, index=found.index)
    # RFC 2349: the interval that the client sets is used as it is; our own grows.
    timeout_s = float(granted.timeout_s or config.timeout_s)
    patience = Patience(timeout_s, config.retries, backoff=granted.timeout_s is None)
    transfer = Transfer(
        blocks=content.blocks, windowsize=granted.windowsize, oack=granted.oack is not None, patience=patience
    )
    oack = packet.encode_oack(granted.oack) if granted.oack else b""
    return Grant(path, request, content, transfer, oack)


def _limits(config: Tftp, sock: udp.Socket) -> Limits:
    blksize = config.max_blksize
    if not blksize:
        blksize = udp.mtu(sock) - (_OVERHEAD6 if sock.family == udp.IPV6 else _OVERHEAD)
    return Limits(blksize, config.max_windowsize)
