"""What a NoCloud seed says when the operator's folder does not: never 404, which costs a Pi ten seconds a file.

Belongs here: the generated texts (reference 6.2).
"""

from __future__ import annotations

SEED_FILES = ("user-data", "meta-data", "vendor-data", "network-config")


def default(name: str, *, serial: str | None, address: str) -> str:
    """Make the text of a seed file that is not there, for the Pi with that serial or else at that address.

    meta-data carries an instance-id of its own for each Pi; the optional files are empty, which cloud-init takes as
    absent.
    """
    if name == "meta-data":
        who = serial or address.replace(":", "-").replace(".", "-")
        return f"instance-id: pinetboot-{who}\nlocal-hostname: pi-{who}\n"
    if name == "user-data":
        return "#cloud-config\n"
    return ""
