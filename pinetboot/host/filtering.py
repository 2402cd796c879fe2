"""Whether a firewall lets a packet in, as far as its listing tells (libnftables-json(5)).

Belongs here: going through the rules for one packet, with "maybe" for all that is not known of it. What maybe lets it
in is taken to do so: a hint that is wrong would send people the wrong way.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

from pinetboot.host.scene import Protocol

_FAMILIES: Final = {"ip", "inet"}
_HOOKS: Final = {"prerouting", "input"}
_DEEPEST: Final = 16
_OTHER_PROTOCOLS: Final = {"udp", "tcp", "sctp", "dccp", "icmp", "icmpv6", "igmp", "ip6"}
_SILENT: Final = {"counter", "log", "comment", "mangle", "set"}

Item = Mapping[str, Any]
_Chain = tuple[str, str, str]
_Outcome = Literal["open", "drop", "end"]


@dataclass(frozen=True, slots=True)
class Packet:
    """A packet that comes in over IPv4. `state` is what connection tracking calls it."""

    protocol: Protocol
    port: int
    interface: str
    state: Literal["new", "established"] = "new"

    def __str__(self) -> str:
        """`UDP 69`."""
        return f"{self.protocol.upper()} {self.port}"


def dropped_by(items: Sequence[Item], packet: Packet) -> str:
    """Name the chain that surely drops a packet, empty where none does."""
    listing = _Listing(items)
    for key, chain in listing.bases.items():
        outcome = listing.walk(key, packet, 0)
        if outcome == "drop" or (outcome == "end" and chain.get("policy") == "drop"):
            return f"table {key[0]} {key[1]}, chain {key[2]}"
    return ""


class _Listing:
    def __init__(self, items: Iterable[Item]) -> None:
        self.bases: dict[_Chain, Item] = {}
        self._rules: defaultdict[_Chain, list[Sequence[Any]]] = defaultdict(list)
        self._sets: dict[_Chain, Any] = {}
        for item in items:
            for kind, body in item.items():
                if isinstance(body, dict) and body.get("family") in _FAMILIES:
                    self._take(kind, body)

    def _take(self, kind: str, body: Item) -> None:
        place = str(body.get("family")), str(body.get("table"))
        if kind == "chain" and body.get("type") == "filter" and body.get("hook") in _HOOKS:
            self.bases[(*place, str(body.get("name")))] = body
        elif kind == "rule" and isinstance(body.get("expr"), list):
            self._rules[(*place, str(body.get("chain")))].append(body["expr"])
        elif kind == "set":
            self._sets[(*place, str(body.get("name")))] = {"set": body.get("elem", [])}

    def walk(self, chain: _Chain, packet: Packet, depth: int) -> _Outcome:
        """Go through a chain: what surely becomes of the packet, "open" where it may get through."""
        if depth > _DEEPEST:
            return "open"
        for expressions in self._rules[chain]:
            outcome = self._rule(chain, expressions, packet, depth)
            if outcome is not None:
                return outcome
        return "end"

    def _rule(self, chain: _Chain, expressions: Sequence[Any], packet: Packet, depth: int) -> _Outcome | None:
        """Apply one rule; None where the next one is up."""
        sure = True
        for expression in expressions:
            kind, body = _only(expression)
            if kind == "match":
                matches = self._match(chain, body, packet)
                if matches is False:
                    return None
                sure = sure and matches is True
            elif kind == "limit":
                sure = False
            elif kind == "vmap":
                return self._by_map(chain, body, packet, depth, sure=sure)
            elif kind not in _SILENT:
                return self._verdict(chain, kind, body, packet, depth, sure=sure)
        return None

    def _verdict(
        self, chain: _Chain, kind: str, body: Any, packet: Packet, depth: int, *, sure: bool
    ) -> _Outcome | None:
        if kind in {"drop", "reject"}:
            return "drop" if sure else None
        if kind in {"jump", "goto"} and isinstance(body, dict):
            outcome = self.walk((*chain[:2], str(body.get("target"))), packet, depth + 1)
            if outcome == "open" or (outcome == "drop" and sure):
                return outcome
            return "end" if kind == "goto" and sure else None
        if kind == "return" and sure:
            return "end"
        if kind == "continue":
            return None
        return "open"

    def _by_map(self, chain: _Chain, body: Any, packet: Packet, depth: int, *, sure: bool) -> _Outcome | None:
        """Apply a map of verdicts, which is a rule for each of its values."""
        known, value = _value(body.get("key") if isinstance(body, dict) else None, packet)
        pairs = _only(body.get("data"))[1] if known else None
        if not isinstance(pairs, list) or value is None:
            return "open"
        for pair in pairs:
            if not isinstance(pair, list) or len(pair) != 2:  # noqa: PLR2004 - a value and its verdict
                return "open"
            matches = self._holds(chain, pair[0], value)
            if matches is not False:
                return self._verdict(chain, *_only(pair[1]), packet, depth, sure=sure and matches is True)
        return None

    def _match(self, chain: _Chain, body: Any, packet: Packet) -> bool | None:
        """Whether a match is true of the packet, None where that is not known."""
        if not isinstance(body, dict):
            return None
        known, value = _value(body.get("left"), packet)
        if not known:
            return None
        if value is None:
            return False
        holds = self._holds(chain, body.get("right"), value)
        if holds is None or body.get("op") in {"==", "in"}:
            return holds
        return not holds if body.get("op") == "!=" else None

    def _holds(self, chain: _Chain, right: Any, value: str | int) -> bool | None:
        """Whether a value is the one, or among those, that a rule names."""
        if isinstance(right, str) and right.startswith("@"):
            right = self._sets.get((*chain[:2], right[1:]))
        if isinstance(right, str) and right.endswith("*"):
            return str(value).startswith(right[:-1])
        if isinstance(right, str | int):
            return right == value
        kind, body = _only(right) if isinstance(right, dict) else ("set", right)
        if kind == "range" and isinstance(body, list) and all(isinstance(end, int) for end in body):
            return isinstance(value, int) and body[0] <= value <= body[-1]
        return self._among(chain, body, value) if kind == "set" and isinstance(body, list) else None

    def _among(self, chain: _Chain, ones: Sequence[Any], value: str | int) -> bool | None:
        answers = [self._holds(chain, one, value) for one in ones]
        return True if True in answers else None if None in answers else False


def _value(left: Any, packet: Packet) -> tuple[bool, str | int | None]:
    """What the packet has where a rule looks: whether that is known, and it; None for what such a packet never has."""
    kind, body = _only(left)
    if not isinstance(body, dict):
        return False, None
    if kind == "payload":
        return _payload(body.get("protocol"), body.get("field"), packet)
    known: Mapping[tuple[str, Any], str] = {
        ("meta", "iifname"): packet.interface,
        ("meta", "iif"): packet.interface,
        ("meta", "l4proto"): packet.protocol,
        ("meta", "protocol"): "ip",
        ("meta", "nfproto"): "ipv4",
        ("ct", "state"): packet.state,
    }
    found = known.get((kind, str(body.get("key"))))
    return found is not None, found


def _payload(protocol: Any, field: Any, packet: Packet) -> tuple[bool, str | int | None]:
    if protocol == "ip" and field == "protocol":
        return True, packet.protocol
    if protocol in _OTHER_PROTOCOLS - {packet.protocol}:
        return True, None
    if protocol in {packet.protocol, "th"} and field == "dport":
        return True, packet.port
    return False, None


def _only(body: Any) -> tuple[str, Any]:
    """Take the one pair that an expression has; nothing of what is no expression."""
    return next(iter(body.items())) if isinstance(body, dict) and len(body) == 1 else ("", None)
