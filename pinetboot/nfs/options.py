"""The options of an export, compared by what they mean: `rw` alone is `rw` with every default spelt out.

Belongs here: which options are whose opposites, and which hold where nothing is said (exports(5)).
"""

from __future__ import annotations

from typing import Final

# What holds unless something else is said; exportfs spells most of it out when it lists what is exported.
_DEFAULTS: Final = frozenset(
    {
        "ro",
        "sync",
        "wdelay",
        "hide",
        "nocrossmnt",
        "no_subtree_check",
        "secure_locks",
        "acl",
        "secure",
        "root_squash",
        "no_all_squash",
        "no_pnfs",
        "no_security_label",
        "sec=sys",
        "anonuid=65534",
        "anongid=65534",
        "mapping=identity",
    }
)
_OPPOSITES: Final = {
    "rw": "ro",
    "async": "sync",
    "no_wdelay": "wdelay",
    "nohide": "hide",
    "crossmnt": "nocrossmnt",
    "subtree_check": "no_subtree_check",
    "insecure_locks": "secure_locks",
    "no_acl": "acl",
    "insecure": "secure",
    "no_root_squash": "root_squash",
    "all_squash": "no_all_squash",
    "pnfs": "no_pnfs",
    "security_label": "no_security_label",
}
_SAME: Final = {"auth_nlm": "secure_locks", "no_auth_nlm": "insecure_locks", "fsid=root": "fsid=0"}


def meaning(options: str) -> frozenset[str]:
    """What `rw,sync,…` says beyond the defaults; of two that contradict each other the later one counts."""
    said: dict[str, str] = {}
    for word in options.split(","):
        option = _SAME.get(word.strip(), word.strip())
        if option:
            said[_subject(option)] = option
    return frozenset(said.values()) - _DEFAULTS


def squashes_root(options: str) -> bool:
    """Whether the root user of a client is nobody on the server, with which no root file system works (D33)."""
    meant = meaning(options)
    return "no_root_squash" not in meant or "all_squash" in meant


def _subject(option: str) -> str:
    name, sign, _ = option.partition("=")
    return name + sign if sign else _OPPOSITES.get(option, option)
