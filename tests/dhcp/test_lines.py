"""The text of `pinetboot dhcp-lines`: any menu fits into it, and it says for whom it is and where it goes."""

from __future__ import annotations

import json
from ipaddress import IPv4Address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pinetboot.config import PXE_LOADERS
from pinetboot.dhcp import lines, lines_machines
from pinetboot.dhcp.options import RASPBERRY_PI_OUIS, encode_pxe_menu
from pinetboot.dhcp.pxe import Pxe

ADDRESS = IPv4Address("192.0.2.2")
MENU = "Raspberry Pi Boot   "
# What the settings allow: printable ASCII, quotes and backslashes too.
MENUS = st.text(st.characters(min_codepoint=0x20, max_codepoint=0x7E), min_size=1, max_size=200)
SERVERS = sorted(lines.FOR)


def offering(loaders: dict[str, str] = PXE_LOADERS, http: str | None = "", lacks: str = "") -> Pxe:
    """What there is for machines that are no Pi: all loaders, or all but one."""
    return Pxe(loaders, http, lambda name: name != lacks and "beside/" not in name, lambda _: False)


@given(st.sampled_from(SERVERS), MENUS)
def test_any_menu_is_written_as_octets(server: str, menu: str) -> None:
    # Nothing but these octets depends on it, so that nothing of it can end a string or begin a line.
    assert lines.FOR[server](ADDRESS, menu, None) == lines.FOR[server](ADDRESS, MENU, None).replace(
        written(server, MENU), written(server, menu)
    )


def written(server: str, menu: str) -> str:
    octets = encode_pxe_menu(menu)
    return octets.hex() if server == "kea" else octets.hex(":")


@pytest.mark.parametrize("server", SERVERS)
@pytest.mark.parametrize("offered", [None, offering()], ids=["Pis alone", "machines too"])
def test_every_server_is_told_the_address_and_every_prefix_of_raspberry_pi(server: str, offered: Pxe | None) -> None:
    text = lines.FOR[server](ADDRESS, MENU, offered)
    assert str(ADDRESS) in text
    for oui in RASPBERRY_PI_OUIS:
        assert (oui.hex() if server == "kea" else oui.hex(":")) in text
    assert max(len(line) for line in text.splitlines() if line.lstrip().startswith("#")) <= 120
    assert "/etc/" in text.partition("# What follows")[0]  # where it goes stands before it


@given(MENUS)
def test_keas_lines_are_members_of_an_object(menu: str) -> None:
    assert classes(lines.kea(ADDRESS, menu)) == ["pinetboot", "pinetboot-rom"]
    assert classes(lines.kea(ADDRESS, menu, offering({"0": "gone"}, lacks="gone"))) == ["pinetboot", "pinetboot-rom"]
    assert classes(lines.kea(ADDRESS, menu, offering())) == ["pinetboot", "pinetboot-rom", *KINDS, "pinetboot-u-boot"]


def classes(text: str) -> list[str]:
    bare = "\n".join(line for line in text.splitlines() if not line.lstrip().startswith("#"))
    found = json.loads("{" + bare.rstrip().removesuffix(",") + "}")
    return [one["name"] for one in found["client-classes"]]


KINDS = ["pinetboot-0", "pinetboot-7", "pinetboot-11", "pinetboot-http-16", "pinetboot-http-19"]
KINDS += ["pinetboot-ipxe-0", "pinetboot-ipxe-7", "pinetboot-ipxe-11"]


def kinds(offered: Pxe | None) -> dict[str, tuple[tuple[int, ...], str, str]]:
    """Give for each kind of machine its architectures, its file, and its path prefix."""
    return {one.name: (one.architectures, one.file, one.prefix) for one in lines_machines.kinds(offered, ADDRESS)}


def test_there_are_lines_for_what_the_settings_name_and_the_boot_tree_has() -> None:
    script = "http://192.0.2.2:8080/ipxe?mac=${netX/mac:hexhyp}&arch="
    boot = "http://192.0.2.2:8080/boot/"
    assert kinds(offering(http=":8080")) == {
        "pinetboot-0": ((0,), "lpxelinux.0", boot),
        "pinetboot-7": ((7, 9), "bootx64.efi", ""),
        "pinetboot-11": ((11,), "bootaa64.efi", ""),
        "pinetboot-http-16": ((16,), f"{boot}bootx64.img", ""),
        "pinetboot-http-19": ((19,), f"{boot}bootaa64.img", ""),
        "pinetboot-ipxe-0": ((0,), f"{script}0", boot),
        "pinetboot-ipxe-7": ((7, 9), f"{script}7", ""),
        "pinetboot-ipxe-11": ((11,), f"{script}11", ""),
    }
    assert kinds(None) == {}
    assert list(kinds(offering(lacks="lpxelinux.0"))) == [name for name in KINDS if not name.endswith("-0")]
    own = {"0": "pxe/lpxelinux.0", "9": "other.efi", "7": "bootx64.efi", "300": "board.bin", "70000": "no architecture"}
    # Without HTTP there is no script, and iPXE is a client like any other.
    assert kinds(offering(own, http=None)) == {
        f"pinetboot-{which}{architecture}": ((architecture,), file, "")
        for which in ("", "ipxe-")
        for architecture, file in ((0, "pxe/lpxelinux.0"), (7, "bootx64.efi"), (9, "other.efi"), (300, "board.bin"))
    }


@pytest.mark.parametrize("server", SERVERS)
@pytest.mark.parametrize("name", ['a"b', "a,b", "a b", "a\nb", "a#b", "a\\b", "ü", "a" * 81])
def test_a_name_that_could_end_a_line_or_a_string_gets_no_line(server: str, name: str) -> None:
    with_it = lines.FOR[server](ADDRESS, MENU, offering({"7": name, "11": "bootaa64.efi"}))
    assert with_it == lines.FOR[server](ADDRESS, MENU, offering({"11": "bootaa64.efi"}))


@pytest.mark.parametrize("server", SERVERS)
def test_where_no_loader_is_there_it_says_so_and_where_machines_are_left_alone_nothing(server: str) -> None:
    assert "# Nobody else is told anything" in lines.FOR[server](
        ADDRESS, MENU, offering({"7": "x"}, lacks="x")
    ).replace("    #", "#")
    alone = lines.FOR[server](ADDRESS, MENU, None)
    assert "Nobody else" not in alone
    assert "other machines" not in alone
