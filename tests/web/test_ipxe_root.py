"""`/ipxe` for the MAC of one of fleet.toml's Pis: it boots its own generation, whatever firmware runs there."""

from __future__ import annotations

import http.client
from collections.abc import Callable

from support import Daemon, wait_until

SERIAL, MAC = "5b154510", "52-54-00-12-34-56"
FLEET = f"""
[[pi]]
serial = "{SERIAL}"
mac = "{MAC.replace("-", ":")}"
hostname = "box"
"""


def script(daemon: Daemon, mac: str) -> str:
    connection = http.client.HTTPConnection("127.0.0.1", daemon.http_port, timeout=20)
    try:
        connection.request("GET", f"/ipxe?mac={mac}&arch=0")
        answer = connection.getresponse()
        assert answer.status == 200
        return answer.read().decode()
    finally:
        connection.close()


def test_a_pi_s_own_tree_is_what_iPXE_at_its_mac_boots(serve: Callable[..., Daemon]) -> None:  # noqa: N802 - its name
    daemon = serve()
    boot = daemon.data / "boot" / SERIAL
    boot.mkdir()
    (boot / "config.txt").write_text("kernel=vmlinuz\ninitramfs initrd.img followkernel\n")
    (boot / "cmdline.txt").write_text("console=ttyS0 root=/dev/nfs rw\n")
    (boot / "vmlinuz").write_bytes(b"kernel")
    (boot / "initrd.img").write_bytes(b"initramfs")
    (daemon.data / "fleet.toml").write_text(FLEET)
    assert wait_until(lambda: "Boot box" in script(daemon, MAC))
    base = f"http://127.0.0.1:{daemon.http_port}/boot/{SERIAL}/"
    text = script(daemon, MAC)
    assert f"kernel {base}vmlinuz initrd=initrd.img console=ttyS0 root=/dev/nfs rw || goto failed" in text
    assert f"initrd --name initrd.img {base}initrd.img || goto failed" in text
    assert "/ipxe" not in text
    assert "Boot box" not in script(daemon, "52-54-00-00-00-01")

    (boot / "cmdline.txt").write_text("console=ttyS0 init=${evil}\n")
    assert "kernel" not in script(daemon, MAC)
    assert wait_until(lambda: [line for line in daemon.said("dhcp") if "no script of iPXE can say" in line["what"]])
    (boot / "cmdline.txt").write_text("console=ttyS0\n")
    (boot / "vmlinuz").unlink()
    assert "Boot box" not in script(daemon, MAC)
