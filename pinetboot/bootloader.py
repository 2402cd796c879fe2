"""The bootloader's settings for the Pis of a fleet, and images that hold them, from what is known of each.

Belongs here: joining fleet, settings and this host's addresses with what was asked for. What a setting may be is
`eeprom.keys`', what an image is `eeprom.image`'s, and how a Pi comes to it `fleet.updates`'.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256
from ipaddress import AddressValueError, IPv4Address
from pathlib import Path
from typing import Final

from pinetboot.eeprom import bootconf, image, keys, order, signature
from pinetboot.eeprom.bootconf import Line, Static, Wanted
from pinetboot.eeprom.image import Image, Spoilt
from pinetboot.errors import OperatorError
from pinetboot.fleet import flashing, told, trees
from pinetboot.fleet.pi import Pi
from pinetboot.fleet.subject import Ground
from pinetboot.image.models import family
from pinetboot.observe import netconsole
from pinetboot.signing import Key

BY_DHCP: Final = "dhcp"
_LARGEST: Final = 4 << 20
# A bootloader from these dates on knows HTTP boot (reference 4.4): 2022-03-10, 2024-01-15.
_HTTP_SINCE: Final = {"pi4": 1_646_870_400, "pi5": 1_705_276_800}
_OTP: Final = (
    "a Pi 3 has no EEPROM to set: a 3B+ boots over the network as it comes, a 3B once program_usb_boot_mode=1 in the "
    "config.txt of an SD card has set its OTP bit, for good"
)


class NoEeprom(Exception):
    """A model that has none; the message says what it needs instead."""


@dataclass(frozen=True, slots=True)
class Choice:
    """What was asked for. Empty texts and None leave it to what is known; `order` and `server` are words as given."""

    order: str = "network,usb,sd"
    model: str = ""
    server: str = ""
    prefix: str = "serial"
    static: bool = False
    gateway: str = ""
    dhcp_timeout: int = 45_000
    file_timeout: int = 30_000
    more: Sequence[tuple[str, str]] = ()


@dataclass(frozen=True, slots=True)
class Settings:
    """What one Pi's bootloader is to have. `model` is a key of eeprom.keys.FAMILIES."""

    pi: Pi
    model: str
    order: int
    lines: tuple[Line, ...]

    @property
    def text(self) -> str:
        """Its bootconf.txt, explained."""
        return bootconf.text(self.lines)


def settings(ground: Ground, pi: Pi, choice: Choice) -> Settings:
    """Choose the settings of a Pi. Raises OperatorError, and NoEeprom."""
    model = _model(ground, pi, choice.model)
    address = ground.address_of(pi)
    served = told.served(ground.config, ground.links, pi, address)
    if served is None and choice.server in {"", BY_DHCP}:
        raise OperatorError("this host has no address that a Pi could be told", "Set server.address, or give --server.")
    host = choice.server if choice.server not in {"", BY_DHCP} else served.server if served else ""
    try:
        chosen = order.parse(choice.order, model)
        wanted = Wanted(
            model,
            pi.serial,
            chosen,
            server="" if choice.server == BY_DHCP else host,
            prefix=choice.prefix,
            netconsole=_netconsole(ground, host, address),
            static=_static(ground, pi, host, choice) if choice.static else None,
            http=_http(ground, pi, host) if order.has(chosen, "http") else None,
            dhcp_timeout=choice.dhcp_timeout,
            file_timeout=choice.file_timeout,
            more=choice.more,
        )
        lines = bootconf.lines(wanted)
    except ValueError as error:
        faults = "".join(f"\n  {fault}" for fault in str(error).split("\n"))
        raise OperatorError(f"the bootloader of {pi.name} cannot be set so:{faults}") from None
    return Settings(pi, model, chosen, tuple(lines))


def _model(ground: Ground, pi: Pi, chosen: str) -> str:
    seen = ground.seen.get(pi.serial)
    known = chosen or (seen.model if seen else "")
    if chosen in keys.FAMILIES:
        return chosen
    found = family(known)
    if found == "pi3":
        raise NoEeprom(_OTP)
    if found in keys.FAMILIES:
        return found
    if chosen:
        raise OperatorError(f"there is no model {chosen!r}", f"Known are {', '.join(keys.FAMILIES)}.")
    raise OperatorError(
        f"which model {pi.name} is, is not known: it was never seen on the network",
        f"Say it with --model: {', '.join(keys.FAMILIES)}.",
    )


def _netconsole(ground: Ground, server: str, address: str) -> str:
    """Where its log goes; the bootloader wants the address that it comes from written down."""
    config = ground.config.netconsole
    if not config.enabled:
        return ""
    return netconsole.setting(config.port, server, address or netconsole.LINK_LOCAL).partition("=")[2]


def _static(ground: Ground, pi: Pi, server: str, choice: Choice) -> Static:
    if not pi.address:
        raise ValueError(
            f"--static needs an `address` in fleet.toml: pinetboot pi set {pi.serial} --address 192.168.1.101"
        )
    own = IPv4Address(pi.address)
    link = ground.links.towards(own)
    network = next((one.network for one in link.addresses if own in one.network), None) if link else None
    if network is None:
        raise ValueError(
            f"no network of this host holds {pi.address}, so its subnet mask is not known; give --set SUBNET=…"
        )
    try:
        gateway = choice.gateway if choice.gateway or IPv4Address(server) in network else ""
    except AddressValueError:
        gateway = choice.gateway
    return Static(pi.address, str(network.netmask), gateway)


def _http(ground: Ground, pi: Pi, host: str) -> tuple[str, int, str]:
    if not ground.config.http.enabled:
        raise ValueError("http is in the order, and http.enabled is false: there would be no answer")
    return host, ground.config.http.port, f"boot/{pi.serial}"


def read_image(path: Path) -> Image:
    """Read an EEPROM image that the user gives. Raises OperatorError."""
    where = "rpi-eeprom publishes them as firmware-2711/…/pieeprom-*.bin and firmware-2712/…"
    try:
        with path.open("rb") as file:
            return image.parse(file.read(_LARGEST + 1))
    except OSError as error:
        raise OperatorError(f"{path} cannot be read: {error.strerror}", where + ".") from None
    except Spoilt as error:
        raise OperatorError(f"{path} cannot be used: {error}", f"Take another; {where}.") from None


def update(found: Image, path: Path, wanted: Settings, key: Key | None, now: int) -> tuple[bytes, bytes]:
    """Make a Pi's pieeprom.upd and pieeprom.sig. `now` is seconds since 1970. Raises OperatorError."""
    its = keys.FAMILIES[wanted.model]
    if found.family != its:
        raise OperatorError(
            f"{path} is an image for {keys.NAMES[found.family]}, and {wanted.pi.name} is {keys.NAMES[wanted.model]}",
            f"Take one for it: firmware-{image.CHIPS[its]} of rpi-eeprom has them.",
        )
    over_http = order.has(wanted.order, "http")
    if over_http:
        _fit_for_http(found, path, key)
    try:
        before = found.read(image.BOOTCONF).decode("utf-8", "replace")
        content = bootconf.merged(before, wanted.lines)
        if bootconf.settings(content).get("SIGNED_BOOT") == "1" and key is None:
            raise OperatorError("SIGNED_BOOT=1 needs settings that are signed", "Name the private key with --key.")
        made = found.put(image.BOOTCONF, content.encode())
        if key is not None:
            made = _signed(made, content.encode(), key, now)
    except Spoilt as error:
        raise OperatorError(f"{path} cannot be used: {error}", "Take another image, or fewer settings.") from None
    digest = sha256(made.content).digest()
    rsa = key.sign(digest) if key is not None else b""
    return made.content, signature.to_text(digest, now, soc=image.CHIPS[its], rsa=rsa).encode()


def _fit_for_http(found: Image, path: Path, key: Key | None) -> None:
    if key is None:
        raise OperatorError(
            "HTTP boot takes what is signed alone, so the image has to hold the public half of your key",
            "Name the private key with --key, or as boot_img.key_file.",
        )
    if not found.has(image.PUBLIC_KEY):
        raise OperatorError(f"{path} has no place for a public key, which HTTP boot needs", "Take a newer image.")
    if found.built is not None and found.built < _HTTP_SINCE[found.family]:
        raise OperatorError(f"the bootloader in {path} is older than HTTP boot", "Take a newer image.")


def _signed(made: Image, content: bytes, key: Key, now: int) -> Image:
    """Put the public key, and a signature over the settings, where an image has places for them."""
    digest = sha256(content).digest()
    told_by = {
        image.BOOTCONF_SIGNATURE: signature.to_text(digest, now, rsa=key.sign(digest)).encode(),
        image.PUBLIC_KEY: key.public,
    }
    for name, part in told_by.items():
        if made.has(name):
            made = made.put(name, part)
    return made


def require_tree(ground: Ground, wanted: Settings) -> None:
    """Make sure that pinetboot keeps the boot tree that a Pi asks in, before and after. Raises OperatorError."""
    pi = wanted.pi
    by_hand = "Write the pair of files yourself, with -o FOLDER."
    if pi.serial not in ground.inventory.by_serial:
        raise OperatorError(
            f"the Pi {pi.serial} is not in fleet.toml, and has no boot tree of its own",
            f"Add it with `pinetboot pi add {pi.serial}`. {by_hand}",
        )
    folder = next((line.value for line in wanted.lines if line.key == "TFTP_PREFIX_STR"), "")
    if folder:
        raise OperatorError(
            f"{pi.name} would ask in {folder} from then on, and pinetboot keeps its files in {pi.serial}/", by_hand
        )
    if ground.tree.pis is None:
        raise OperatorError(f"{ground.tree.root} is served, which tftp.root names and you keep by hand", by_hand)
    link = trees.link_in(ground.data, pi.serial)
    if link.is_dir() and not link.is_symlink():
        raise OperatorError(f"{pi.name} boots from {link}, a folder of your own", by_hand)
    number = trees.current(ground.data, pi.serial)
    if number is None:
        raise OperatorError(
            f"{pi.name} has no boot tree of its own yet", f"Wait until `pinetboot pi list` says ready. {by_hand}"
        )
    boot = ground.data / "pis" / pi.serial / str(number) / "boot"
    if flashing.others(boot, flashing.record(ground.data, pi.serial)):
        raise OperatorError(
            f"the boot tree of {pi.name} has an update already, which is not pinetboot's",
            f"Delete {signature.NAME} and {signature.UPDATE} in {boot}, once the Pi has taken them or is not to.",
        )
