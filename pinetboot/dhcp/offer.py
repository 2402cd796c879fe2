"""Whether a DHCP message gets a ProxyDHCP answer, which one, and when.

Belongs here: the decision, as an answer or the reason for none, so that no path forgets to stop.
The reference's section 0 gives the rules, 2.4 the timing of the 3B's ROM, 2.6 the bytes, 2.9 who must be left alone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from ipaddress import IPv4Address

from pinetboot import causes
from pinetboot.causes import Cause
from pinetboot.dhcp import pxe
from pinetboot.dhcp.options import (
    HTTP_CLIENT,
    PXE_CLIENT,
    RASPBERRY_PI_OUIS,
    Machine,
    MessageType,
    Option,
    decode_machine,
    encode_pxe_menu,
)
from pinetboot.dhcp.packet import BOOTREPLY, BOOTREQUEST, BROADCAST, ZERO, Message
from pinetboot.dhcp.pxe import Machine as PxeMachine
from pinetboot.dhcp.pxe import NoWay, Pxe

_ROM_XID = 0x26F30339  # reference 2.1
# A Pi with one of these in option 97 is one whatever else it says (reference 2.3).
_EEPROM_FAMILIES = frozenset({"pi4", "pi5"})
_ROM_PARAMETERS = 12  # length of the 3B ROM's option 55, reference 2.1


@dataclass(frozen=True, slots=True)
class Pi:
    """A Pi as its DISCOVER shows it; `model` is for people, `serial` None where the message does not tell it."""

    model: str
    serial: str | None


@dataclass(frozen=True, slots=True)
class Offer:
    """Answer with `message`, once after each of `delays_s` (seconds from the request), a Pi or another `machine`.

    `cause` says why this Pi will not go on all the same, None where nothing is known against it.
    """

    message: Message
    delays_s: Sequence[float]
    pi: Pi | None
    cause: Cause | None = None
    machine: PxeMachine | None = None


@dataclass(frozen=True, slots=True)
class Ignored:
    """Stay silent. `pi` is known where it is a Pi all the same, `machine` where it is another that could boot.

    `lacks` names the file that is missing in the boot tree where that alone is why.
    """

    why: str
    pi: Pi | None = None
    machine: PxeMachine | None = None
    lacks: str = ""


@dataclass(frozen=True, slots=True)
class Proxy:
    """What this server offers: `address` is put into option 54, 66 and siaddr, and the answer must leave from it.

    `pxe` is what machines that are no Pi boot, None where they are left alone.
    """

    address: IPv4Address
    pxe_menu: str
    rom_offers_s: Sequence[float]
    pxe: Pxe | None = None


def recognise(message: Message) -> Pi | None:
    """Tell whether a PXE client is a Pi: by option 97 or the MAC prefix, never by option 93 (reference 0, rule 1).

    Every Pi's own firmware says the architecture of a BIOS PC; another one, or iPXE, may run on a Pi's board as well.
    """
    machine = decode_machine(message.options.get(Option.MACHINE_IDENTIFIER, b""))
    if (machine is None or machine.family not in _EEPROM_FAMILIES) and (
        pxe.architecture(message) or pxe.is_ipxe(message)
    ):
        return None
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
    vendor = message.options.get(Option.VENDOR_CLASS, b"")
    if not vendor.startswith(PXE_CLIENT if proxy.pxe is None else (PXE_CLIENT, HTTP_CLIENT)):
        # The kernel's DHCP client would take a proxy's offer for an address (reference 2.9).
        return Ignored("it is no PXE client")
    pi = recognise(message) if vendor.startswith(PXE_CLIENT) else None
    if pi is None:
        return _machine(message, proxy)
    if message.type != MessageType.DISCOVER:
        return Ignored(f"a ProxyDHCP answers DISCOVER, not {message.type.name}", pi)
    rom = is_rom(message)
    # Through a relay it is answered all the same: that does no harm, and some relays are hardly there.
    cause = causes.relayed_rom(str(message.giaddr)) if rom and message.giaddr != ZERO else None
    return Offer(_offer(message, proxy), proxy.rom_offers_s if rom else (0.0,), pi, cause)


def decide_boot(message: Message, proxy: Proxy) -> Offer | Ignored:
    """Decide on a message heard on port 4011, where a PXE client asks for the file alone (PXE 2.1 section 2.2.4)."""
    if message.op != BOOTREQUEST or message.type not in {MessageType.REQUEST, MessageType.INFORM}:
        return Ignored("it is no request to a boot server")
    if message.options.get(Option.VENDOR_CLASS, b"").startswith(PXE_CLIENT) and recognise(message) is not None:
        return Ignored("no Pi needs to ask here", recognise(message))
    return _for_machine(message, proxy, MessageType.ACK)


def _machine(message: Message, proxy: Proxy) -> Offer | Ignored:
    if proxy.pxe is None:
        return Ignored("it is a PXE client, but no Pi")
    if message.type != MessageType.DISCOVER:
        kind = message.type.name if message.type else ""
        return Ignored(f"a ProxyDHCP answers DISCOVER, not {kind}", machine=pxe.recognise(message))
    return _for_machine(message, proxy, MessageType.OFFER)


def _for_machine(message: Message, proxy: Proxy, kind: MessageType) -> Offer | Ignored:
    chosen = pxe.way_of(message, proxy.pxe, proxy.address)
    if isinstance(chosen, NoWay):
        return Ignored(chosen.why, machine=pxe.recognise(message), lacks=chosen.lacks)
    tells = kind is MessageType.ACK or pxe.by_itself(chosen)
    identifier = message.options.get(Option.MACHINE_IDENTIFIER, b"")
    told = pxe.options(chosen, proxy.address, identifier, proxy=True)
    if not tells:
        told = {code: told[code] for code in (Option.VENDOR_CLASS, Option.MACHINE_IDENTIFIER) if code in told}
    answer = _reply(message, proxy.address, kind, told)
    return Offer(replace(answer, file=chosen.file_field if tells else b""), (0.0,), None, machine=chosen.machine)


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
    told = boot_options(proxy, message.options.get(Option.MACHINE_IDENTIFIER, b""))
    return _reply(message, proxy.address, MessageType.OFFER, told)


def _reply(message: Message, address: IPv4Address, kind: MessageType, told: Mapping[int, bytes]) -> Message:
    options = {
        int(Option.MESSAGE_TYPE): bytes([kind]),
        int(Option.SERVER_IDENTIFIER): address.packed,
        **told,
        # RFC 3046: agents want their option back, last.
        int(Option.RELAY_AGENT): message.options.get(Option.RELAY_AGENT, b""),
    }
    return Message(
        op=BOOTREPLY,
        xid=message.xid,
        mac=message.mac,
        flags=BROADCAST,
        ciaddr=message.ciaddr if kind is MessageType.ACK else ZERO,
        siaddr=address,
        giaddr=message.giaddr,
        options={code: value for code, value in options.items() if value},
    )


_MODELS = {"rom": "Pi 3B", "serial": "Pi 3B+ or earlier", "pi4": "Pi 4", "pi5": "Pi 5"}


def _model(machine: Machine) -> str:
    return _MODELS[machine.family]
