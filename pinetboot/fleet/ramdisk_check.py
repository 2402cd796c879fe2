"""What is wrong with the boot.img of a Pi, or with what it is made of, as findings.

Belongs here: the sentences, and when each is right. A Pi whose boot.img is missing boots by its files still, as long as
its bootloader does not boot over HTTP alone: nothing here is fatal.
"""

from __future__ import annotations

from typing import Final

from pinetboot.bootimg import fat, layout
from pinetboot.causes import Finding
from pinetboot.errors import OperatorError
from pinetboot.fleet import ramdisk, ramdisk_tree, ramdisks
from pinetboot.fleet.subject import Subject
from pinetboot.image.models import family

_RULE: Final = "D41"


def findings(subject: Subject) -> list[Finding]:
    """Look at the boot.img of a Pi that is to have one. Raises OSError."""
    ground, pi = subject.ground, subject.pi
    if subject.number is None or subject.boot is None:
        return [_no_generation()] if pi.boot == "img" and subject.has_own_folder else []
    generation = subject.boot.parent
    if not ramdisks.wanted(generation, pi, ground.found.images):
        return []
    model = family(subject.model)
    found = [_no_http_boot()] if model == "pi3" else []
    if not ground.config.http.enabled:
        found.append(_http_off())
    key = ""
    try:
        key = ramdisk.Keys().name(ground.config.boot_img.key_file)
    except OperatorError as error:
        return [*found, Finding("warning", f"its boot.img cannot be signed: {error.what}", _SIGNED, error.do, _RULE)]
    if not key:
        found.append(_unsigned())
    return [*found, *_of_the_image(subject, key, model)]


def _of_the_image(subject: Subject, key: str, model: str) -> list[Finding]:
    if subject.boot is None:
        return []
    made = ramdisk.record(subject.boot.parent)
    found = layout.of_the_size(made.size, model) if made is not None else []
    if ramdisk.is_current(subject.boot.parent, key):
        return found
    try:
        layout.geometry(ramdisk_tree.sizes(subject.boot))
    except layout.Unfit as error:
        return [*found, Finding("warning", "no boot.img can be made for it", str(error), error.do, _RULE)]
    if not fat.is_there():
        return [*found, _no_mtools()]
    what = "its boot.img is not made yet" if made is None else "its boot.img is older than its boot tree, or its key"
    why = "the daemon has not come to it, or cannot" if subject.ground.running else "no daemon keeps its trees"
    do = "Wait a minute, then look into its log." if subject.ground.running else "Start `pinetboot serve`."
    return [*found, Finding("warning", what, why, do, _RULE)]


_SIGNED: Final = "HTTP boot takes no boot.img without a signature by a key that is in the bootloader"


def _unsigned() -> Finding:
    do = "Make a key with `openssl genrsa -out FILE 2048`, `chmod 600 FILE`, and name it as boot_img.key_file."
    return Finding("warning", "its boot.img is not signed: boot_img.key_file names no key", _SIGNED, do, _RULE)


def _no_generation() -> Finding:
    return Finding(
        "warning",
        "no boot.img is made for it",
        "it boots from a folder of your own, which pinetboot keeps nothing in",
        "Move the folder away, or put a boot.img and a boot.sig into it yourself.",
        _RULE,
    )


def _no_http_boot() -> Finding:
    return Finding(
        "warning",
        "it gets a boot.img, and a Pi 3 has no HTTP boot",
        "its firmware takes one over TFTP at most, with boot_ramdisk=1 and a bootcode.bin of 2025-08-20 or later",
        'Set boot = "files" for it.',
        _RULE,
    )


def _http_off() -> Finding:
    return Finding(
        "warning",
        "its boot.img is not served over HTTP",
        "http.enabled is false",
        "Switch HTTP on; over TFTP a boot.img is no faster than files.",
        _RULE,
    )


def _no_mtools() -> Finding:
    return Finding(
        "warning", "no boot.img can be made for it", "mtools is not installed on this host", "Install mtools.", _RULE
    )
