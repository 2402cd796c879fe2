"""Which settings a bootloader has, and which values they take (reference 4.1, 4.2).

Belongs here: names, ranges, and the models that know them. What is written for whom is `bootconf`'s.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from ipaddress import AddressValueError, IPv4Address, NetmaskValueError, ip_network
from typing import Final

from pinetboot.eeprom import order
from pinetboot.net.addresses import parse_mac

# The bootloader cuts off what is longer (reference 3.4, 4.5).
LONGEST_TEXT: Final = 32
# Compute modules by themselves: they differ from the boards of their family in what they have.
FAMILIES: Final[Mapping[str, str]] = {"pi4": "pi4", "cm4": "pi4", "pi5": "pi5", "cm5": "pi5"}
NAMES: Final[Mapping[str, str]] = {
    "pi4": "a Pi 4",
    "cm4": "a Compute Module 4",
    "pi5": "a Pi 5",
    "cm5": "a Compute Module 5",
}

Check = Callable[[str, str], None]


@dataclass(frozen=True, slots=True)
class Key:
    """One setting. `check` raises ValueError for a value that it does not take; `models` None are all."""

    check: Check
    models: frozenset[str] | None = None


def check(name: str, value: str, model: str) -> None:
    """Make sure that a model knows a setting and takes the value. Raises ValueError with the reason."""
    key = _KEYS.get(name)
    if key is None:
        near = difflib.get_close_matches(name.upper(), _KEYS, 1)
        raise ValueError(f"{name} is no setting of a bootloader" + (f"; {near[0]} is" if near else ""))
    if key.models is not None and model not in key.models:
        have = " and ".join(NAMES[one] for one in NAMES if one in key.models)
        raise ValueError(f"{name} is not known to {NAMES[model]}; {have} {'have' if len(key.models) > 1 else 'has'} it")
    if not value.isascii() or not value.isprintable():
        raise ValueError(f"{name}={value!r} has what no line of bootconf.txt can hold; printable ASCII alone will do")
    try:
        key.check(value, model)
    except ValueError as error:
        raise ValueError(f"{name}: {error}") from None


def problems(pairs: Iterable[tuple[str, str]], model: str) -> list[str]:
    """Check settings as a whole, in the order in which they are written; every fault in a sentence."""
    found = []
    settings: dict[str, str] = {}
    for name, value in pairs:
        try:
            check(name, value, model)
        except ValueError as error:
            found.append(str(error))
        settings[name] = value
    return found or [why for rule in _TOGETHER if (why := rule(settings))]


def _static(settings: Mapping[str, str]) -> str:
    """All or none: otherwise DHCP is asked all the same (reference 2.5)."""
    if not settings.get("CLIENT_IP"):
        return ""
    lacks = [name for name in ("SUBNET", "TFTP_IP") if not settings.get(name)]
    if lacks:
        return f"CLIENT_IP without {' and '.join(lacks)} does nothing: DHCP is skipped with all three alone"
    network = ip_network(f"{settings['CLIENT_IP']}/{settings['SUBNET']}", strict=False)
    inside = IPv4Address(settings["TFTP_IP"]) in network
    if not inside and not settings.get("GATEWAY"):
        return f"TFTP_IP {settings['TFTP_IP']} is not in {network}, and there is no GATEWAY to reach it by"
    if settings.get("GATEWAY") and IPv4Address(settings["GATEWAY"]) not in network:
        return f"GATEWAY {settings['GATEWAY']} is not in {network}"
    return ""


def _prefix(settings: Mapping[str, str]) -> str:
    by_text, text = settings.get("TFTP_PREFIX") == "1", settings.get("TFTP_PREFIX_STR")
    if by_text and not text:
        return "TFTP_PREFIX=1 needs TFTP_PREFIX_STR"
    return "TFTP_PREFIX_STR does nothing without TFTP_PREFIX=1" if text and not by_text else ""


def _frozen(settings: Mapping[str, str]) -> str:
    """FREEZE_VERSION=1 overrides ENABLE_SELF_UPDATE (reference 4.2)."""
    if settings.get("FREEZE_VERSION") == "1" and settings.get("ENABLE_SELF_UPDATE") == "1":
        return "FREEZE_VERSION=1 and ENABLE_SELF_UPDATE=1 contradict each other; with the first no update is taken"
    return ""


_TOGETHER: Final[tuple[Callable[[Mapping[str, str]], str], ...]] = (_static, _prefix, _frozen)


def _number(low: int, high: int) -> Check:
    def within(value: str, _: str) -> None:
        if not re.fullmatch(r"-?[0-9]{1,10}", value) or not low <= int(value) <= high:
            raise ValueError(f"{value!r} will not do; a whole number from {low} to {high} is right")

    return within


def _hex(value: str, _: str) -> None:
    if not re.fullmatch(r"0x[0-9a-fA-F]{1,8}|[0-9]{1,10}", value):
        raise ValueError(f"{value!r} will not do; a number such as 0x34695052 is right")


def _order(value: str, model: str) -> None:
    order.parse(value if value.lower().startswith("0x") else f"no number: {value}", model)


def _one_of(*words: str) -> Check:
    def known(value: str, _: str) -> None:
        if value not in words:
            raise ValueError(f"{value!r} will not do; {', '.join(words)} will")

    return known


def _address(value: str, _: str) -> None:
    try:
        address = IPv4Address(value)
    except AddressValueError:
        raise ValueError(f"{value!r} is no IPv4 address; the bootloader looks up no names") from None
    if address.is_unspecified or address.is_multicast or address.is_loopback:
        raise ValueError(f"{value} is no address of a host on a network")


def _subnet(value: str, _: str) -> None:
    try:
        ip_network(f"0.0.0.0/{value}")
        IPv4Address(value)
    except (AddressValueError, NetmaskValueError, ValueError):
        raise ValueError(f"{value!r} is no subnet mask; 255.255.255.0, say, is") from None


def _text(longest: int, what: str) -> Check:
    def fits(value: str, _: str) -> None:
        if len(value) > longest:
            raise ValueError(f"{value!r} has {len(value)} characters; the bootloader takes {longest}")
        if not re.fullmatch(what, value):
            raise ValueError(f"{value!r} will not do")

    return fits


def _prefix_text(value: str, model: str) -> None:
    _text(LONGEST_TEXT, r".*")(value, model)
    if not re.fullmatch(r"[^/\s][^\s]*/", value) or ".." in value.split("/"):
        raise ValueError(f"{value!r} is no folder; rack-1/, say, is, with the slash at its end")


def _netconsole(value: str, model: str) -> None:
    _text(LONGEST_TEXT, r".*")(value, model)
    if not re.fullmatch(r"[0-9]*@[0-9.]*/[^,/]*,[0-9]*@[0-9.]*/[0-9a-f:]*", value):
        raise ValueError(f"{value!r} will not do; 6665@169.254.1.1/,6666@/, say, will, with every separator")


def _mac(value: str, _: str) -> None:
    parse_mac(value)


def _host(value: str, _: str) -> None:
    if not re.fullmatch(r"[a-z0-9.-]{1,255}", value):
        raise ValueError(f"{value!r} is no host; an address, or lower case letters, digits, '-' and '.', are")


_SWITCH: Final = _one_of("0", "1")
_PI4: Final = frozenset({"pi4", "cm4"})
_PI5: Final = frozenset({"pi5", "cm5"})
_MS: Final = 3_600_000
_S: Final = 86_400
_KEYS: Final[Mapping[str, Key]] = {
    "BOOT_ORDER": Key(_order),
    "BOOT_UART": Key(_SWITCH),
    "BOOT_WATCHDOG_PARTITION": Key(_number(0, 63)),
    "BOOT_WATCHDOG_TIMEOUT": Key(_number(0, _S)),
    "CLIENT_IP": Key(_address),
    "DHCP_OPTION97": Key(_hex),
    "DHCP_REQ_TIMEOUT": Key(_number(500, _MS)),
    "DHCP_TIMEOUT": Key(_number(5000, _MS)),
    "DISABLE_HDMI": Key(_SWITCH),
    "ENABLE_SELF_UPDATE": Key(_SWITCH),
    "FREEZE_VERSION": Key(_SWITCH),
    "GATEWAY": Key(_address),
    "HDMI_DELAY": Key(_number(0, _S)),
    "HTTP_CACERT_HASH": Key(_text(64, r"[0-9a-f]{64}"), _PI5),
    "HTTP_HOST": Key(_host),
    "HTTP_PATH": Key(_text(255, r"[^\s?#]+")),
    "HTTP_PORT": Key(_number(1, 65535)),
    "IMAGER_REPO_URL": Key(_text(1024, r"https?://\S+")),
    "MAC_ADDRESS": Key(_mac),
    "MAC_ADDRESS_OTP": Key(_text(3, r"[0-7],[0-7]")),
    "MAX_RESTARTS": Key(_number(-1, 1_000_000)),
    "NETCONSOLE": Key(_netconsole),
    "NET_BOOT_MAX_RETRIES": Key(_number(-1, 1_000_000)),
    "NET_INSTALL_AT_POWER_ON": Key(_SWITCH),
    "NET_INSTALL_ENABLED": Key(_SWITCH),
    "NET_INSTALL_KEYBOARD_WAIT": Key(_number(0, _MS)),
    "PARTITION_WALK": Key(_SWITCH),
    "PCIE_PROBE": Key(_SWITCH, _PI5),
    "POWER_OFF_ON_HALT": Key(_SWITCH),
    "PSU_MAX_CURRENT": Key(_one_of("3000", "5000"), frozenset({"pi5"})),
    "PXE_OPTION43": Key(_text(255, r".+")),
    "REBOOT_ON_FATAL_ERROR": Key(_SWITCH),
    "SD_BOOT_MAX_RETRIES": Key(_number(-1, 1_000_000)),
    "SIGNED_BOOT": Key(_SWITCH),
    "SUBNET": Key(_subnet),
    "TFTP_FILE_TIMEOUT": Key(_number(5000, _MS)),
    "TFTP_IP": Key(_address),
    "TFTP_PREFIX": Key(_one_of("0", "1", "2")),
    "TFTP_PREFIX_STR": Key(_prefix_text),
    "UART_BAUD": Key(_one_of("9600", "19200", "38400", "57600", "115200", "230400", "460800", "921600"), _PI5),
    "USB_MSD_DISCOVER_TIMEOUT": Key(_number(5000, _MS)),
    "USE_IPV6": Key(_SWITCH, _PI4),
    "VL805": Key(_SWITCH, frozenset({"cm4"})),
    "WAIT_FOR_POWER_BUTTON": Key(_SWITCH, _PI5),
    "WAKE_ON_GPIO": Key(_number(0, 2), _PI4),
}
