"""What a firewall surely drops: rules as nft itself lists them, and listings that make no sense."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support import require, require_root

from pinetboot.host.filtering import Packet, dropped_by

TFTP, DHCP, HTTP = (
    Packet("udp", 69, "eth0"),
    Packet("udp", 67, "eth0"),
    Packet("tcp", 80, "eth0"),
)
RUNNING = Packet("udp", 40000, "eth0", "established")
INPUT = "type filter hook input priority 0; policy {policy};"


def listed(folder: Path, rules: str) -> list[dict[str, Any]]:
    """Have a network namespace of its own filter so, and nft list it."""
    require_root()
    require("nft", "unshare")
    (folder / "rules").write_text(rules)
    command = ["unshare", "--net", "sh", "-c", f"nft -f {folder / 'rules'} && nft --json list ruleset"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=20, check=False)
    assert done.returncode == 0, done.stderr
    items: list[dict[str, Any]] = json.loads(done.stdout)["nftables"]
    return items


def chain(policy: str, *rules: str) -> str:
    lines = "\n".join(rules)
    return f"table inet filter {{\nchain input {{\n{INPUT.format(policy=policy)}\n{lines}\n}}\n}}\n"


SETS = """
table inet filter {
    set open { type inet_service; flags interval; elements = { 67, 69, 8000-8100 } }
    chain pis { udp dport @open accept; }
    chain last { reject; }
    chain input {
        type filter hook input priority 0; policy accept;
        ct state vmap { established : accept, related : accept, invalid : drop }
        iifname "lo" accept
        jump pis
        goto last
    }
}
"""


@pytest.mark.parametrize(
    ("rules", "dropped"),
    [
        (chain("accept"), ()),
        (chain("drop"), (TFTP, DHCP, HTTP, RUNNING)),
        (chain("drop", "ct state established,related accept", "udp dport 67 accept"), (TFTP, HTTP)),
        (chain("drop", "udp dport { 67, 69 } accept", "tcp dport 1-1023 accept"), (RUNNING,)),
        (chain("accept", "udp dport 69 counter drop"), (TFTP,)),
        (chain("accept", "meta l4proto tcp reject"), (HTTP,)),
        (chain("accept", "iifname != eth0 drop"), ()),
        (chain("accept", 'iifname eth0 udp dport 69 log prefix "no " drop'), (TFTP,)),
        (chain("accept", 'iifname "en*" drop'), ()),
        # What is not known of a packet may let it in, and never surely drops it.
        (chain("drop", "ip saddr 10.0.0.0/8 accept"), ()),
        (chain("accept", "ip saddr 10.0.0.0/8 drop"), ()),
        (chain("drop", "limit rate 5/second accept"), ()),
        (chain("accept", "ip6 nexthdr udp drop"), ()),
        ("table ip6 filter {\nchain input {\ntype filter hook input priority 0; policy drop;\n}\n}\n", ()),
        (SETS, (HTTP,)),
    ],
)  # fmt: skip
def test_what_nft_lists_is_understood(tmp_path: Path, rules: str, dropped: tuple[Packet, ...]) -> None:
    items = listed(tmp_path, rules)
    assert tuple(one for one in (TFTP, DHCP, HTTP, RUNNING) if dropped_by(items, one)) == dropped


def test_the_chain_is_named(tmp_path: Path) -> None:
    assert dropped_by(listed(tmp_path, chain("drop")), TFTP) == "table inet filter, chain input"


def test_chains_that_lead_to_each_other_end() -> None:
    place = {"family": "ip", "table": "t"}
    items: list[dict[str, Any]] = [
        {"chain": {**place, "name": "a", "type": "filter", "hook": "input", "policy": "accept"}},
        {"rule": {**place, "chain": "a", "expr": [{"jump": {"target": "b"}}]}},
        {"rule": {**place, "chain": "b", "expr": [{"jump": {"target": "a"}}]}},
    ]
    assert dropped_by(items, TFTP) == ""


ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.sampled_from(["", "udp", "drop", "@s", "set", "input", "filter"]),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.sampled_from(
                ["match", "left", "right", "op", "set", "range", "vmap", "key", "data", "jump", "goto", "target",
                 "payload", "protocol", "field", "meta", "ct", "drop", "accept", "return"]
            ),
            inner,
            max_size=3,
        )
    ),
    max_leaves=20,
)  # fmt: skip


@given(rules=st.lists(st.lists(ANYTHING, max_size=4), max_size=4), elements=ANYTHING)
def test_a_listing_that_makes_no_sense_is_no_fault(rules: list[list[Any]], elements: Any) -> None:
    place = {"family": "inet", "table": "t"}
    items: list[dict[str, Any]] = [
        {"chain": {**place, "name": "c", "type": "filter", "hook": "input", "policy": "accept"}},
        {"set": {**place, "name": "s", "elem": elements}},
        *({"rule": {**place, "chain": "c", "expr": rule}} for rule in rules),
    ]
    assert dropped_by(items, TFTP) in {"", "table inet t, chain c"}
