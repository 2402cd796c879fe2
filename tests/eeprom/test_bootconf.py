"""bootconf.txt: which lines a Pi gets, what is refused, and what of an older one stays."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pinetboot.eeprom import bootconf, keys
from pinetboot.eeprom.bootconf import Line, Static, Wanted
from pinetboot.observe import netconsole

WANTED = Wanted("pi4", "5b154510", 0xF142, server="192.168.1.10")


def pairs(**more: Any) -> dict[str, str]:
    return {line.key: line.value for line in bootconf.lines(replace(WANTED, **more))}


def test_a_pi_gets_what_a_network_boot_needs_and_each_line_says_why() -> None:
    assert pairs() == {
        "BOOT_ORDER": "0xf142",
        "TFTP_IP": "192.168.1.10",
        "TFTP_PREFIX": "0",
        "DHCP_TIMEOUT": "45000",
        "TFTP_FILE_TIMEOUT": "30000",
        "ENABLE_SELF_UPDATE": "1",
    }
    lines = bootconf.text(bootconf.lines(WANTED)).splitlines()
    assert lines[0] == "[all]"
    assert all(why.startswith("# ") for why in lines[1::2])
    assert all("=" in setting and not setting.startswith("#") for setting in lines[2::2])


def test_what_is_asked_for_is_written() -> None:
    got = pairs(
        server="",
        prefix="rack-1",
        netconsole="6665@169.254.1.1/,6666@/",
        http=("192.168.1.10", 80, "boot/5b154510"),
        dhcp_timeout=5000,
        more=[("TFTP_FILE_TIMEOUT", "60000"), ("BOOT_UART", "1")],
    )
    assert "TFTP_IP" not in got
    assert (got["TFTP_PREFIX"], got["TFTP_PREFIX_STR"]) == ("1", "rack-1/")
    assert (got["HTTP_HOST"], got["HTTP_PORT"], got["HTTP_PATH"]) == ("192.168.1.10", "80", "boot/5b154510")
    assert (got["DHCP_TIMEOUT"], got["TFTP_FILE_TIMEOUT"], got["BOOT_UART"]) == ("5000", "60000", "1")
    assert pairs(prefix="mac")["TFTP_PREFIX"] == "2"
    static = pairs(static=Static("192.168.1.101", "255.255.255.0"))
    assert (static["CLIENT_IP"], static["SUBNET"]) == ("192.168.1.101", "255.255.255.0")


@pytest.mark.parametrize(
    ("model", "name", "value", "why"),
    [
        ("pi4", "TFTP_PREFX", "1", "TFTP_PREFX is no setting of a bootloader; TFTP_PREFIX is"),
        ("pi4", "tftp_ip", "192.168.1.10", "tftp_ip is no setting of a bootloader; TFTP_IP is"),
        ("pi4", "PCIE_PROBE", "1", "PCIE_PROBE is not known to a Pi 4; a Pi 5 and a Compute Module 5 have it"),
        ("pi5", "VL805", "1", "VL805 is not known to a Pi 5; a Compute Module 4 has it"),
        ("pi5", "USE_IPV6", "1", "USE_IPV6 is not known to a Pi 5"),
        ("pi4", "TFTP_FILE_TIMEOUT", "4999", "a whole number from 5000"),
        ("pi4", "DHCP_REQ_TIMEOUT", "499", "a whole number from 500"),
        ("pi4", "DHCP_TIMEOUT", "soon", "a whole number from 5000"),
        ("pi4", "TFTP_IP", "boot.example", "is no IPv4 address; the bootloader looks up no names"),
        ("pi4", "TFTP_IP", "127.0.0.1", "no address of a host"),
        ("pi4", "SUBNET", "255.0.255.0", "is no subnet mask"),
        ("pi4", "SUBNET", "24", "is no subnet mask"),
        ("pi4", "TFTP_PREFIX", "3", "0, 1, 2 will"),
        ("pi4", "TFTP_PREFIX_STR", "rack-1", "with the slash at its end"),
        ("pi4", "TFTP_PREFIX_STR", "../other/", "is no folder"),
        ("pi4", "TFTP_PREFIX_STR", "x" * 32 + "/", "has 33 characters; the bootloader takes 32"),
        ("pi4", "NETCONSOLE", "6665@169.254.1.1,6666@", "with every separator"),
        ("pi4", "BOOT_ORDER", "network", "no number"),
        ("pi4", "BOOT_ORDER", "0xf6", "a Pi 4 has no NVMe"),
        ("pi4", "HTTP_HOST", "http://a/", "is no host"),
        ("pi4", "HTTP_CACERT_HASH", "0" * 64, "not known to a Pi 4"),
        ("pi4", "MAC_ADDRESS", "dc:a6", "dc:a6"),
        ("pi4", "PXE_OPTION43", "caf\u00e9", "printable ASCII alone"),
        ("pi4", "PXE_OPTION43", "a\nBOOT_ORDER=0xe", "printable ASCII alone"),
    ],
)
def test_what_a_model_does_not_know_or_take_is_refused_with_the_reason(
    model: str, name: str, value: str, why: str
) -> None:
    with pytest.raises(ValueError, match=r"(?s).*") as error:
        bootconf.lines(replace(WANTED, model=model, order=0xF2, more=[(name, value)]))
    assert why in str(error.value)


@pytest.mark.parametrize(
    ("more", "why"),
    [
        ({"server": "", "static": Static("192.168.1.101", "255.255.255.0")}, "CLIENT_IP without TFTP_IP does nothing"),
        ({"static": Static("192.168.2.101", "255.255.255.0")}, "there is no GATEWAY to reach it by"),
        ({"static": Static("192.168.2.101", "255.255.255.0", "192.168.1.1")}, "GATEWAY 192.168.1.1 is not in"),
        ({"more": [("TFTP_PREFIX_STR", "a/")]}, "TFTP_PREFIX_STR does nothing without TFTP_PREFIX=1"),
        ({"more": [("TFTP_PREFIX", "1")]}, "TFTP_PREFIX=1 needs TFTP_PREFIX_STR"),
        ({"more": [("FREEZE_VERSION", "1")]}, "contradict each other"),
    ],
)
def test_what_does_not_go_together_is_refused(more: dict[str, Any], why: str) -> None:
    with pytest.raises(ValueError, match=r"(?s).*") as error:
        bootconf.lines(replace(WANTED, **more))
    assert why in str(error.value)


def test_every_fault_is_told_at_once() -> None:
    with pytest.raises(ValueError, match=r"(?s).*") as error:
        bootconf.lines(replace(WANTED, more=[("A", "1"), ("SUBNET", "x"), ("UART_BAUD", "9600")]))
    assert len(str(error.value).splitlines()) == 3


def test_a_bootconf_that_stands_keeps_what_is_not_set() -> None:
    before = (
        "# of my own\r\n[all]\r\nBOOT_UART=1\r\nBOOT_ORDER=0xf41 # old\r\n[gpio7=0]\r\nBOOT_ORDER=0xe1\r\n"
        "[all]\r\nTFTP_IP=10.0.0.1\r\n[config.txt]\r\nBOOT_ORDER=no setting\r\ndtparam=audio=on\r\n"
    )
    lines = [Line("BOOT_ORDER", "0xf2", "x"), Line("TFTP_IP", "192.168.1.10", "x")]
    made = bootconf.merged(before, lines)
    assert made == (
        "# of my own\n[all]\nBOOT_UART=1\n[gpio7=0]\nBOOT_ORDER=0xe1\n"
        "[all]\n# By pinetboot.\nBOOT_ORDER=0xf2\nTFTP_IP=192.168.1.10\n"
        "[config.txt]\nBOOT_ORDER=no setting\ndtparam=audio=on\n"
    )
    assert bootconf.settings(made) == {"BOOT_UART": "1", "BOOT_ORDER": "0xf2", "TFTP_IP": "192.168.1.10"}
    assert bootconf.merged(made, lines) == made


_NAMES = st.sampled_from(["BOOT_ORDER", "TFTP_IP", "BOOT_UART", "X"])
_LINES = st.lists(
    st.one_of(
        st.builds("{}={}".format, _NAMES, st.sampled_from(["1", "0xf2", ""])),
        st.sampled_from(["[all]", "[none]", "[pi4]", "[config.txt]", "", "# By pinetboot.", "noise", "[", "=", "\0"]),
    ),
    max_size=12,
)


@given(_LINES)
def test_whatever_stood_there_what_is_set_counts_and_again_changes_nothing(lines: list[str]) -> None:
    wanted = [Line("BOOT_ORDER", "0xf142", "x"), Line("TFTP_IP", "10.0.0.1", "x")]
    made = bootconf.merged("\n".join(lines), wanted)
    found = bootconf.settings(made)
    assert (found["BOOT_ORDER"], found["TFTP_IP"]) == ("0xf142", "10.0.0.1")
    before = bootconf.settings("\n".join(lines))
    assert all(found[name] == value for name, value in before.items() if name not in {"BOOT_ORDER", "TFTP_IP"})
    assert bootconf.merged(made, wanted) == made


@given(st.text(max_size=30), st.text(max_size=40), st.sampled_from(sorted(keys.FAMILIES)))
def test_any_setting_is_taken_or_refused_in_a_sentence(name: str, value: str, model: str) -> None:
    sentences = []
    try:
        keys.check(name, value, model)
    except ValueError as error:
        sentences.append(str(error))
    assert all(sentences)


@pytest.mark.parametrize(
    ("port", "server", "own", "value"),
    [
        (6666, "10.0.0.2", "169.254.1.1", "6665@169.254.1.1/,6666@10.0.0.2/"),
        (6666, "192.168.100.200", "169.254.1.1", "@169.254.1.1/,@192.168.100.200/"),
        (5555, "192.168.100.200", "192.168.100.101", "6665@192.168.100.101/,5555@/"),
    ],
)
def test_the_line_for_its_log_always_fits(port: int, server: str, own: str, value: str) -> None:
    assert netconsole.setting(port, server, own) == f"NETCONSOLE={value}"
    keys.check("NETCONSOLE", value, "pi4")
