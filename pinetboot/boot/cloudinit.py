"""What a NoCloud seed says: the operator's templates filled in for one Pi, and what stands in where there are none.

Belongs here: which text is a template, what it is filled in with, and the generated texts (reference 6.2). A seed file
is never 404, which costs a Pi ten seconds a file.

Given as it is, byte for byte: what is no text (gzip, say), what holds no tag, and what begins with
`## template: jinja`, because cloud-init fills that in by itself on the Pi. For a seed that both fill in, write the
first line as `{{ "## template: jinja" }}` and put cloud-init's own tags between `{% raw %}` and `{% endraw %}`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from pinetboot.boot import template
from pinetboot.fleet.pi import Pi

SEED_FILES = ("user-data", "meta-data", "vendor-data", "network-config")
DEFAULT_SEED = "default"
_FOR_CLOUD_INIT = "## template: jinja"
# How user-data may begin (cloud-init's INCLUSION_TYPES_MAP), of which the first alone is YAML of keys and values.
_CLOUD_CONFIG = "#cloud-config"
_BEGINNINGS = (
    _CLOUD_CONFIG,
    "#include",
    "#!",
    "#cloud-boothook",
    "#part-handler",
    "#upstart-job",
    _FOR_CLOUD_INIT,
)
_MIME = "mime-version:"  # anywhere in the beginning
_LOOKED_AT = 4096

Read = Callable[[str], bytes | None]


@dataclass(frozen=True, slots=True)
class Asker:
    """Who a seed is for.

    `pi` is None for a machine that is in no fleet, of which `serial` may be known all the same. `generation` is empty
    where there is no tree, `address` where nobody asked yet. `server` and `http_port` are where this was asked.
    """

    address: str
    serial: str | None = None
    pi: Pi | None = None
    generation: str = ""
    server: str = ""
    http_port: int = 0

    @property
    def seed(self) -> str:
        """The name of its seed folder."""
        return self.pi.seed if self.pi else DEFAULT_SEED

    @property
    def who(self) -> str:
        """What tells it from all others: serial, else address."""
        return self.serial or self.address.replace(":", "-").replace(".", "-")

    @property
    def hostname(self) -> str:
        """Its host name."""
        return self.pi.name if self.pi else f"pi-{self.who}"


def fill(name: str, read: Read, asker: Asker) -> bytes:
    """Make a seed file. `read` gives a file of the seed's folder, None for one that is not there.

    Raises template.TemplateFault, and whatever `read` raises for `name` itself.
    """
    content = read(name)
    if content is None:
        return default(name, asker).encode()
    text = _template(content)
    if text is None:
        return content
    texts = {name: text}

    def beside(other: str) -> str | None:
        return texts[other] if other in texts else _text(read(other))

    return template.render(name, beside, variables(asker), f"cloud-init/{asker.seed}/")


def check(name: str, content: bytes) -> list[str]:
    """Say what is wrong with a seed file whichever Pi it is for; nothing for what is given as it is."""
    text = _template(content)
    return [] if text is None else template.check(text, name)


def misread(name: str, content: bytes) -> str:
    """Say why cloud-init would not understand a finished seed file; empty where it would. Tells no line of it.

    User-data is known by how it begins, in any case and after blanks; what is packed or MIME is not looked into.
    """
    text = _text(content)
    if text is None or not (text.strip() or name == "meta-data"):
        return ""
    begins = text.lstrip()[:_LOOKED_AT].lower()
    if name in {"user-data", "vendor-data"} and begins.partition("\n")[0].rstrip() != _CLOUD_CONFIG:
        known = begins.startswith(_BEGINNINGS) or _MIME in begins
        return "" if known else "it begins with nothing that cloud-init knows, #cloud-config say"
    try:
        read = template.load(text)
    except template.TemplateFault as fault:
        return str(fault)
    if read is not None and not isinstance(read, dict):
        return "it is no YAML of keys and values"
    if name == "meta-data" and not (isinstance(read, dict) and read.get("instance-id")):
        return "it has no instance-id, so that cloud-init would not tell a new root from an old one"
    return ""


def variables(asker: Asker) -> dict[str, Any]:
    """Say what a template is filled in with: `pi`, `data`, `server` and `seed`.

    What is not known of a Pi (its MAC, an image) is left out, so that to name it is an error rather than a gap.
    """
    pi = asker.pi
    known = {
        "serial": asker.serial,
        "mac": pi.mac if pi else "",
        "hostname": asker.hostname,
        "image": pi.image if pi else "",
        "generation": asker.generation,
        "address": (pi.address if pi else "") or asker.address,
    }
    server = {"address": asker.server, "http_port": asker.http_port}
    return {
        "pi": {key: value for key, value in known.items() if value},
        "data": pi.data if pi else {},
        "server": {key: value for key, value in server.items() if value},
        "seed": asker.seed,
    }


def default(name: str, asker: Asker) -> str:
    """Make the text of a seed file that is not there.

    meta-data carries an instance-id of its own for each Pi and generation, so that a new root is set up anew, and the
    Pi's `data`; the optional files are empty, which cloud-init takes as absent. Raises template.TemplateFault.
    """
    if name == "meta-data":
        generation = f"-{asker.generation}" if asker.generation else ""
        content = {"instance-id": f"pinetboot-{asker.who}{generation}", "local-hostname": asker.hostname}
        return template.dump(content | ({"data": asker.pi.data} if asker.pi else {}))
    if name == "user-data":
        return "#cloud-config\n"
    return ""


def _template(content: bytes) -> str | None:
    """Read a file that is to be filled in here; None for one that is not."""
    text = _text(content)
    # cloud-init looks past blanks and at no case.
    if text is None or not template.has_tags(text) or text.lstrip().lower().startswith(_FOR_CLOUD_INIT):
        return None
    return text


def _text(content: bytes | None) -> str | None:
    if content is None or b"\0" in content:
        return None
    try:
        return content.decode()
    except UnicodeDecodeError:
        return None
