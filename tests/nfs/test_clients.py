"""What the kernel and mountd say of who mounts, read from texts that hold what clients chose to send."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from pinetboot.nfs.clients import Client, Mount, Used, parse_info, parse_rmtab, parse_used

INFO = """clientid: 0x5c6d3c5b6751d4a8
address: "10.55.0.5:812"
status: confirmed
seconds from last renew: 12
name: "Linux NFSv4.2 address: \\"6.6.6.6:1\\""
minor version: 2
Implementation domain: "kernel.org"
Implementation name: "Linux 6.1.0-28-cloud-amd64"
callback state: UP
callback address: 10.55.0.5:0
"""
RMTAB = """10.55.0.5:/srv/pis/5b154510/1/root:0x00000001
10.55.0.5:/srv/my data:here/pis/5b154510/1/boot:0x0000000a
[fd00::5]:/srv/pis/5b154510/1/root:0x00000002
nonsense
10.55.0.5:relative:0x00000001
"""
USED = """#path domain(flags)
/srv/pis/5b154510/1/root\t10.55.0.5/32(rw,no_root_squash,sync,wdelay,no_subtree_check,uuid=1:2:3:4,sec=1)
# /srv/pis/5b154510/2/root\t10.55.0.5/32(rw)
/srv/my\\040data\t10.55.0.0/24,10.55.0.5/32(ro)
/\t10.55.0.5/32(ro,no_root_squash,sync,no_wdelay,v4root,fsid=0)
/srv/refused\t10.55.0.9()
"""


def test_a_client_of_version_4() -> None:
    assert parse_info(7, INFO) == Client(7, "10.55.0.5", confirmed=True, renewed_s=12)
    assert parse_info(7, INFO.replace("confirmed", "courtesy")) == Client(7, "10.55.0.5", confirmed=False, renewed_s=12)


def test_an_older_kernel_says_less() -> None:
    assert parse_info(7, 'clientid: 0x1\naddress: "10.55.0.5:812"\nname: "x"\n') == Client(7, "10.55.0.5")
    assert parse_info(7, 'address: "[fd00::5]:812"\n') == Client(7, "fd00::5")
    assert parse_info(7, "clientid: 0x1\n") is None


def test_a_clients_own_name_is_not_taken_for_its_address() -> None:
    found = parse_info(7, 'name: "x\\naddress: \\"6.6.6.6:1\\""\naddress: "10.55.0.5:812"\n')
    assert found is not None
    assert found.address == "10.55.0.5"


def test_mountds_table() -> None:
    assert parse_rmtab(RMTAB) == (
        Mount("10.55.0.5", "/srv/pis/5b154510/1/root", 1),
        Mount("10.55.0.5", "/srv/my data:here/pis/5b154510/1/boot", 10),
        Mount("fd00::5", "/srv/pis/5b154510/1/root", 2),
    )


def test_the_exports_in_nfsds_cache() -> None:
    assert parse_used(USED) == {
        Used("/srv/pis/5b154510/1/root", "10.55.0.5/32"),
        Used("/srv/my data", "10.55.0.0/24,10.55.0.5/32"),
        Used("/", "10.55.0.5/32"),
    }


@given(st.text(max_size=300) | st.binary(max_size=300).map(lambda octets: octets.decode("utf-8", "surrogateescape")))
def test_any_text_is_read_without_a_fault(text: str) -> None:
    parse_info(1, text)
    for mount in parse_rmtab(text):
        assert mount.path.startswith("/")
    for used in parse_used(text):
        assert used.path.startswith("/")
