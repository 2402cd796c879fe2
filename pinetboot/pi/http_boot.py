"""HTTP boot of a virtual Pi 4 or 5: a signature, an image, and then a boot from that in memory (reference 4.4).

Belongs here: what is asked for, in which order, and what the bootloader checks before it goes on. Never here: sockets,
time.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

from pinetboot import causes
from pinetboot.eeprom import signature
from pinetboot.pi import firmware
from pinetboot.pi.asking import Ask, Boot, Booted, Firmware, Stopped
from pinetboot.pi.config_txt import without_ramdisk
from pinetboot.pi.download import Fetched, Result
from pinetboot.pi.fat import BadFat, Fat
from pinetboot.pi.profiles import Profile

IMAGE: Final = "boot.img"
SIG: Final = "boot.sig"
# Bootloaders with HTTP boot are of 2022-03-10 or later, from when on a Pi 4 takes as much (reference 3.5). A Pi 5 took
# 160 MiB (raspberrypi/documentation#4321); where it ends is not known, and this is where a rehearsal does.
_MOST: Final = {4: 128 << 20, 5: 512 << 20}
_MODELS: Final = frozenset({"pi4", "pi5"})
_KEPT: Final = 64 << 10
_HTTP: Final = 80


@dataclass(frozen=True, slots=True)
class HttpBoot:
    """HTTP_PORT and HTTP_PATH as a bootloader has them (empty: `boot/<serial>`), and the public key, empty for none.

    The key is as an EEPROM holds it: modulus and exponent, little endian, 264 bytes.
    """

    port: int = _HTTP
    path: str = ""
    public: bytes = b""

    def url(self, server: str, serial: str) -> str:
        """Where the files are, with a slash at the end."""
        port = "" if self.port == _HTTP else f":{self.port}"
        path = (self.path or f"boot/{serial}").strip("/")
        return f"http://{server}{port}/{path}/"


@dataclass(frozen=True, slots=True)
class FetchedImage(Fetched):
    """A boot.img that came whole: its SHA-256, and its bytes."""

    sha256: bytes = b""
    body: memoryview = field(default_factory=lambda: memoryview(b""))


def can(profile: Profile) -> bool:
    """Whether a model has HTTP boot at all."""
    return profile.model in _MODELS


def boot(profile: Profile, server: str, url: str, public: bytes) -> Boot:
    """Boot over HTTP from `url`; the generator raises Stopped where the firmware would stop."""
    sig = yield Ask(url + SIG, "firmware")
    _require(sig)
    told = signature.parse(sig.content)
    if told is None or not told.rsa:
        raise Stopped("firmware", causes.signature_unread(url + SIG))
    size = yield Ask(url + IMAGE, "kernel", probe=True)
    _require(size)
    most = _MOST[profile.generation]
    if size.size > most:
        raise Stopped("kernel", causes.ramdisk_too_large(size.size, most))
    image = yield Ask(url + IMAGE, "kernel", whole=True)
    _require(image)
    if not isinstance(image, FetchedImage) or image.sha256 != told.digest:
        raise Stopped("kernel", causes.ramdisk_tampered(url + IMAGE))
    notes: list[str] = []
    if not public:
        notes.append("the signature of boot.img is not checked: no public key was given")
    elif not signature.verified(told.digest, told.rsa, public):
        raise Stopped("kernel", causes.ramdisk_by_another_key(url + IMAGE))
    booted = _from_memory(firmware.inside(profile, server), image.body)
    return Booted(booted.cmdline, (*notes, *booted.notes), ramdisk=not booted.cmdline)


def _require(fetched: Fetched) -> None:
    """Go on with what came alone. Raises Stopped."""
    stage = "firmware" if fetched.name.endswith(SIG) else "kernel"
    if fetched.result is Result.MISSING:
        raise Stopped(stage, causes.http_boot_lacks([fetched.name]))
    if fetched.result is not Result.OK:
        raise Stopped(stage, causes.http_silent(fetched.name, fetched.message))


def _from_memory(inside: Firmware, image: memoryview) -> Booted:
    """Boot from the files in an image, of which the firmware asks nobody any more."""
    asking = inside.run()
    count = 0
    try:
        system = Fat(image)
        ask = next(asking)
        while True:
            answer = _answer(system, ask)
            count += answer.result is Result.OK and not ask.probe
            ask = asking.send(answer)
    except StopIteration as end:
        booted: Booted = end.value
        return Booted(booted.cmdline, (*booted.notes, f"{count} files came out of {IMAGE}"))
    except BadFat as error:
        raise Stopped("kernel", causes.ramdisk_unreadable(str(error))) from None


def _answer(system: Fat, ask: Ask) -> Fetched:
    found = system.find(ask.name)
    if found is None:
        return Fetched(ask.name, Result.MISSING)
    content = b"" if ask.probe else system.read(found, _KEPT)
    if found.size > _KEPT:
        content = b""
    elif found.name.lower() == "config.txt":
        content = without_ramdisk(content)
    return Fetched(ask.name, Result.OK, found.size, content)
