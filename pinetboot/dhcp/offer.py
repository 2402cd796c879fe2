"""Whether a DHCP message gets a ProxyDHCP answer, which one, and when.

Belongs here: the decision, as an answer or the reason for none, so that no path forgets to stop.
The reference's section 0 gives the rules, 2.4 the timing of the 3B's ROM, 2.6 the bytes, 2.9 who must be left alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address

from pinetboot import causes
from pinetboot.causes import Cause
from pinetboot.dhcp.options import (
    PXE_CLIENT,
    RASPBERRY_PI_OUIS,
    Machine,
    MessageType,
    Option,
    decode_machine,
    encode_pxe_menu,
)
from pinetboot.dhcp.packet import BOOTREPLY, BOOTREQUEST, BROADCAST, ZERO, Message

_ROM_XID = 0x26F30339  # reference 2.1
_ROM_PARAMETERS = 12  # length of the 3B ROM's option 55, reference 2.1


@dataclass(frozen=True, slots=True)
class Pi:
    """A Pi as its DISCOVER shows it; `model` is for people, `serial` None where the message does not tell it."""

    model: str
    serial: str | None


@dataclass(frozen=True, slots=True)
class Offer:
    """Answer with `message`, once after each of `delays_s` (seconds from the request).

    `cause` says why this Pi will not go on all the same, None where nothing is known against it.
    """

    message: Message
    delays_s: Sequence[float]
    pi: Pi
    cause: Cause | None = None


@dataclass(frozen=True, slots=True)
class Ignored:
    """Stay silent. `pi` is known where it is a Pi all the same."""

    why: str
    pi: Pi | None = None


@dataclass(frozen=True, slots=True)
class Proxy:
    """What this server offers: `address` is put into option 54, 66 and siaddr, and the answer must leave from it."""

    address: IPv4Address
    pxe_menu: str
    rom_offers_s: Sequence[float]


def recognise(message: Message) -> Pi | None:
    """Tell whether a PXE client is a Pi: by option 97 or the MAC prefix, never by option 93 (reference 0, rule 1)."""
    machine = decode_machine(message.options.get(Option.MACHINE_IDENTIFIER, b""))
    if machine is not None:
        return Pi(_model(machine), machine.serial)
    if message.mac[:3] in RASPBERRY_PI_OUIS:
        return Pi("Raspberry Pi", None)
    return None


def decide(message: Message, proxy: Proxy) -> Offer | Ignored:
    """Decide on a message heard on port 67."""
    if message.op != BOOTREQUEST:
        return Ignored("it is a reply")
    if message.type is None:
        return Ignored("it has no message type")
    if not message.options.get(Option.VENDOR_CLASS, b"").startswith(PXE_CLIENT):
        # The kernel's DHCP client would take a proxy's offer for an address (reference 2.9).
        return Ignored("it is no PXE client")
    pi = recognise(message)
    if pi is None:
        return Ignored("it is a PXE client, but no Pi")
    if message.type != MessageType.DISCOVER:
        return Ignored(f"a ProxyDHCP answers DISCOVER, not {message.type.name}", pi)
    rom = is_rom(message)
    # Through a relay it is answered all the same: that does no harm, and some relays are hardly there.
    cause = causes.relayed_rom(str(message.giaddr)) if rom and message.giaddr != ZERO else None
    return Offer(_offer(message, proxy), proxy.rom_offers_s if rom else (0.0,), pi, cause)


def is_rom(message: Message) -> bool:
    """Whether the mask ROM of a Pi 3B asks, which must be answered late and twice (reference 2.4)."""
    machine = decode_machine(message.options.get(Option.MACHINE_IDENTIFIER, b""))
    return (
        message.xid == _ROM_XID
        and machine is not None
        and machine.family == "rom"
        and len(message.options.get(Option.PARAMETER_LIST, b"")) == _ROM_PARAMETERS
    )


def boot_options(proxy: Proxy, machine: bytes) -> dict[int, bytes]:
    """Make the options that tell a Pi to boot from here (reference 2.6); `machine` is its option 97, empty for none."""
    options = {
        Option.VENDOR_CLASS: PXE_CLIENT,
        Option.MACHINE_IDENTIFIER: machine,
        # 66 before 43: the ROM takes the last of the two (reference 2.6).
        Option.TFTP_SERVER: str(proxy.address).encode("ascii"),
        Option.VENDOR_SPECIFIC: encode_pxe_menu(proxy.pxe_menu),
    }
    return {int(code): value for code, value in options.items() if value}


def _offer(message: Message, proxy: Proxy) -> Message:
    address = proxy.address
    options = {
        int(Option.MESSAGE_TYPE): bytes([MessageType.OFFER]),
        int(Option.SERVER_IDENTIFIER): address.packed,
        **boot_options(proxy, message.options.get(Option.MACHINE_IDENTIFIER, b"")),
        # RFC 3046: agents want their option back, last.
        int(Option.RELAY_AGENT): message.options.get(Option.RELAY_AGENT, b""),
    }
    return Message(
        op=BOOTREPLY,
        xid=message.xid,
        mac=message.mac,
        flags=BROADCAST,
        siaddr=address,
        giaddr=message.giaddr,
        options={code: value for code, value in options.items() if value},
    )


_MODELS = {"rom": "Pi 3B", "serial": "Pi 3B+ or earlier", "pi4": "Pi 4", "pi5": "Pi 5"}


def _model(machine: Machine) -> str:
    return _MODELS[machine.family]
