"""What the firmware reads in config.txt and cmdline.txt, as far as it decides which files are asked for.

Belongs here: the grammar of both files. Filters such as [pi4] are obeyed; what is unknown is passed over.
"""

from __future__ import annotations

from dataclasses import dataclass, field

# Over the network only the first 4 KiB are honoured by some stages (reference 3.2).
HONOURED = 4096

_MODEL_FILTERS = {
    "pi3": {"all", "pi3"},
    "pi3b-rom": {"all", "pi3"},
    "pi3bp": {"all", "pi3", "pi3+"},
    "pi4": {"all", "pi4"},
    "pi4-2020": {"all", "pi4"},
    "pi5": {"all", "pi5"},
}


@dataclass(slots=True)
class ConfigTxt:
    """Settings by name (the last one counts), overlays, initramfs files and included files in their order."""

    settings: dict[str, str] = field(default_factory=dict)
    overlays: list[str] = field(default_factory=list)
    initramfs: list[str] = field(default_factory=list)
    includes: list[str] = field(default_factory=list)

    def flag(self, name: str, *, default: bool = False) -> bool:
        """Whether a setting is on."""
        value = self.settings.get(name)
        return default if value is None else value not in {"", "0"}


def parse(text: bytes, model: str, into: ConfigTxt | None = None) -> ConfigTxt:
    """Read config.txt as `model` (pi3bp, pi4, pi5) does, on top of `into`; never fails."""
    found = into or ConfigTxt()
    applies = True
    for raw in text[:HONOURED].decode("utf-8", "replace").splitlines():
        line = raw.partition("#")[0].strip()
        if line.startswith("[") and line.endswith("]"):
            applies = line[1:-1].strip().lower() in _MODEL_FILTERS.get(model, {"all"})
        elif not line or not applies:
            continue
        elif line.startswith("include "):
            found.includes.append(line.split(None, 1)[1])
        elif line.startswith("initramfs "):
            found.initramfs += line.split()[1].split(",")
        else:
            name, equals, value = (part.strip() for part in line.partition("="))
            if name in {"dtoverlay", "device_tree_overlay"}:
                overlay = value.partition(",")[0].partition(":")[0]
                found.overlays += [overlay] if overlay else []
            elif equals:
                found.settings[name] = value
    return found


def without_ramdisk(text: bytes) -> bytes:
    """Leave out of config.txt what has the firmware look for a boot.img, once it is inside of one."""
    lines = text.splitlines(keepends=True)
    return b"".join(line for line in lines if line.partition(b"=")[0].strip() != b"boot_ramdisk")


def seed_url(cmdline: bytes) -> str | None:
    """Find the NoCloud seed's address on the kernel command line; the last `ds=nocloud` counts (reference 6.1)."""
    url = None
    for word in cmdline.decode("utf-8", "replace").split():
        if not word.startswith("ds=nocloud"):
            continue
        for pair in word.split(";")[1:]:
            key, _, value = pair.partition("=")
            if key in {"s", "seedfrom"}:
                url = value
    return url if url and url.startswith(("http://", "https://")) else None


def root_of(cmdline: bytes) -> str | None:
    """Find what root= says on the kernel command line."""
    words = cmdline.decode("utf-8", "replace").split()
    return next((word[5:] for word in reversed(words) if word.startswith("root=")), None)
