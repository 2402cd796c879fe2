"""What is in the EEPROM of a virtual Pi, and what follows from its settings for a network boot (reference 4.2).

Belongs here: the values, and keeping them as JSON. How they change is `selfupdate`'s.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from pinetboot.eeprom import bootconf, order

_UNSET: Final = 0xF41  # BOOT_ORDER where it is not set (reference 4.1)
_NETWORK: Final = 0xF2
_LONGEST_FOLDER: Final = 32
_NEW: Final = 1_704_067_200  # 2024-01-01, about when the bootloaders of the profiles are from


@dataclass(frozen=True, slots=True)
class Eeprom:
    """What is in it: the time of its last update (seconds since 1970), its bootconf.txt, and the user's public key.

    `digest` names the image that was flashed, in hex.
    """

    timestamp: int = _NEW
    bootconf: str = f"[all]\nBOOT_ORDER=0x{_NETWORK:x}\n"
    public: bytes = b""
    digest: str = ""

    @property
    def settings(self) -> dict[str, str]:
        """Its settings for this board."""
        return bootconf.settings(self.bootconf)

    @property
    def boots_by_network(self) -> bool:
        """Whether BOOT_ORDER gets to network or HTTP boot; everything before them is taken for missing."""
        value = self.order
        return order.has(value, "network") or order.has(value, "http")

    @property
    def order(self) -> int:
        """BOOT_ORDER."""
        try:
            return int(self.settings.get("BOOT_ORDER", ""), 0) or _UNSET
        except ValueError:
            return _UNSET

    def folder(self, serial: str, mac: bytes) -> str:
        """Say in which folder it asks, with a slash at its end (reference 3.4)."""
        settings = self.settings
        kind = settings.get("TFTP_PREFIX", "0")
        if kind == "1":
            return settings.get("TFTP_PREFIX_STR", "")[:_LONGEST_FOLDER]
        return f"{mac.hex('-')}/" if kind == "2" else f"{serial}/"

    @property
    def server(self) -> str:
        """TFTP_IP; empty where DHCP says where to boot from."""
        return self.settings.get("TFTP_IP", "")

    def to_json(self) -> dict[str, Any]:
        """The shape in which `rehearse --eeprom` keeps it."""
        told = {"timestamp": self.timestamp, "bootconf": self.bootconf, "digest": self.digest}
        return told | {"public": self.public.hex()}


def from_json(item: object) -> Eeprom | None:
    """Read it back; None for what is none."""
    match item:
        case {"timestamp": int(timestamp), "bootconf": str(text), "digest": str(digest), "public": str(public)}:
            try:
                return Eeprom(timestamp, text, bytes.fromhex(public), digest)
            except ValueError:
                return None
    return None
