"""What a DHCP server tells of each message that it heard, in the one shape that logs and timeline know.

Belongs here: from a message and what became of it to a DhcpHeard. Questions of a pinetboot itself are not told.
"""

from __future__ import annotations

from pinetboot.causes import Cause
from pinetboot.dhcp import asking
from pinetboot.dhcp.offer import Pi
from pinetboot.dhcp.options import MessageType, Option
from pinetboot.dhcp.packet import ZERO
from pinetboot.dhcp.port import Heard
from pinetboot.dhcp.pxe import Machine
from pinetboot.events import DhcpHeard, Sink
from pinetboot.net.addresses import format_mac


def tell(
    sink: Sink,
    heard: Heard,
    pi: Pi | None,
    *,
    machine: Machine | None = None,
    answered: str | None = None,
    why: str = "",
    cause: Cause | None = None,
) -> None:
    """Tell that a message was answered from an address of ours, or left alone for `why`."""
    message = heard.message
    if asking.is_probe(message):
        return
    kind, relayed = message.type, message.giaddr != ZERO
    unaddressed = kind is MessageType.REQUEST and message.address(Option.REQUESTED_ADDRESS) == ZERO
    sink(
        DhcpHeard(
            mac=format_mac(message.mac),
            kind=kind.name if kind is not None else "BOOTP",
            interface=heard.link.name,
            answered=answered,
            why=why,
            serial=pi.serial if pi else None,
            model=pi.model if pi else None,
            source="" if relayed else heard.source.host,
            requested=str(message.requested or ""),
            relay=str(message.giaddr) if relayed else "",
            cause=cause,
            server=str(message.address(Option.SERVER_IDENTIFIER) or ""),
            unaddressed=unaddressed,
            xid=message.xid,
            machine=machine.name if machine else "",
        )
    )
