"""The text of `pinetboot dhcp-lines`: any menu fits into it, and it says for whom it is and where it goes."""

from __future__ import annotations

import json
from ipaddress import IPv4Address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pinetboot.dhcp import lines
from pinetboot.dhcp.options import RASPBERRY_PI_OUIS, encode_pxe_menu

ADDRESS = IPv4Address("192.0.2.2")
MENU = "Raspberry Pi Boot   "
# What the settings allow: printable ASCII, quotes and backslashes too.
MENUS = st.text(st.characters(min_codepoint=0x20, max_codepoint=0x7E), min_size=1, max_size=200)


@given(st.sampled_from(sorted(lines.FOR)), MENUS)
def test_any_menu_is_written_as_octets(server: str, menu: str) -> None:
    # Nothing but these octets depends on it, so that nothing of it can end a string or begin a line.
    assert lines.FOR[server](ADDRESS, menu) == lines.FOR[server](ADDRESS, MENU).replace(
        written(server, MENU), written(server, menu)
    )


def written(server: str, menu: str) -> str:
    octets = encode_pxe_menu(menu)
    return octets.hex() if server == "kea" else octets.hex(":")


@pytest.mark.parametrize("server", sorted(lines.FOR))
def test_every_server_is_told_the_address_and_every_prefix_of_raspberry_pi(server: str) -> None:
    text = lines.FOR[server](ADDRESS, MENU)
    assert str(ADDRESS) in text
    for oui in RASPBERRY_PI_OUIS:
        assert (oui.hex() if server == "kea" else oui.hex(":")) in text
    assert max(len(line) for line in text.splitlines() if line.lstrip().startswith("#")) <= 120
    assert "/etc/" in text.partition("# What follows")[0]  # where it goes stands before it


@given(MENUS)
def test_keas_lines_are_members_of_an_object(menu: str) -> None:
    text = lines.kea(ADDRESS, menu)
    bare = "\n".join(line for line in text.splitlines() if not line.lstrip().startswith("#"))
    found = json.loads("{" + bare.rstrip().removesuffix(",") + "}")
    assert [one["name"] for one in found["client-classes"]] == ["pinetboot", "pinetboot-rom"]
