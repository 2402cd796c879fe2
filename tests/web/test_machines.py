"""`/ipxe`, `/preseed/<mac>`, and what GRUB asks at the root, from a running daemon."""

from __future__ import annotations

import http.client
import json
from collections.abc import Callable
from pathlib import Path

import pytest
from installer.conftest import make_image
from support import Daemon, wait_until

from pinetboot.image.watch import Unwatched
from pinetboot.installer import adding
from pinetboot.installer.adding import Wanted
from pinetboot.installer.loaders import LOADERS

MAC = "52:54:00:12:34:56"
FLEET = f"""
[[machine]]
mac = "{MAC}"
boot = "debian-12"
preseed = "server.cfg"

[[machine]]
mac = "52:54:00:aa:aa:aa"
boot = "debian-11"
"""


@pytest.fixture(scope="module")
def system(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("system")
    for loader in (*LOADERS["amd64"], *LOADERS["arm64"]):
        (root / loader.path).parent.mkdir(parents=True, exist_ok=True)
        (root / loader.path).write_text(loader.name)
    return root


def get(daemon: Daemon, path: str) -> tuple[int, str]:
    connection = http.client.HTTPConnection("127.0.0.1", daemon.http_port, timeout=20)
    try:
        connection.request("GET", path)
        answer = connection.getresponse()
        return answer.status, answer.read().decode()
    finally:
        connection.close()


def test_scripts_menus_and_preseeds_of_a_running_daemon(
    serve: Callable[..., Daemon], tmp_path: Path, system: Path
) -> None:
    daemon = serve()
    base = f"http://127.0.0.1:{daemon.http_port}/boot/"
    status, text = get(daemon, "/ipxe")
    assert status == 200
    assert text.startswith("#!ipxe\n")
    assert "kernel" not in text

    boot = daemon.data / "boot"
    for source in (make_image(tmp_path / "12"), make_image(tmp_path / "arm", "arm64")):
        adding.add(Wanted(daemon.data, boot, str(source), system=system), Unwatched())
    (daemon.data / "fleet.toml").write_text(FLEET)
    own = boot / "pxelinux.cfg/01-52-54-00-12-34-56"
    assert wait_until(own.exists)
    assert "ONTIMEOUT debian-12-amd64" in own.read_text()
    assert wait_until(lambda: daemon.said("dhcp"))
    assert [line["what"] for line in daemon.said("dhcp")] == [
        "the machine 52:54:00:aa:aa:aa is to boot debian-11, and there is no such installer"
    ]

    # A menu for all, ending at the disk; for the machine that is to install by itself, with its preseed.
    _, text = get(daemon, "/ipxe?arch=0")
    assert "choose --default local --timeout 60000" in text
    assert f"kernel {base}installers/debian-12/amd64/linux initrd=initrd.gz vga=788 --- quiet" in text
    assert "chain --autofree tftp://127.0.0.1/lpxelinux.0 || goto failed" in text
    _, text = get(daemon, "/ipxe?mac=52-54-00-12-34-56&arch=7")
    assert "choose --default debian-12-amd64 --timeout 5000" in text
    assert f"url=http://127.0.0.1:{daemon.http_port}/preseed/52-54-00-12-34-56" in text
    assert "chain" not in text
    _, text = get(daemon, "/ipxe?arch=11")
    assert "/arm64/linux" in text
    assert "/amd64/linux" not in text
    # Nobody is sent to a script again, whatever was asked for.
    for query in ("", "?arch=99999", "?arch=x&mac=y", "?mac=%00", "?arch=-1"):
        status, text = get(daemon, f"/ipxe{query}")
        assert status == 200
        assert "/ipxe" not in text
        assert text.endswith(":local\nexit\n")

    # What GRUB asks that came over HTTP.
    for path in ("grub/grub.cfg", "installers/debian-12/arm64/linux", "debian-installer/arm64/grub/grub.cfg"):
        assert get(daemon, f"/{path}") == (200, (boot / path).read_text()) == get(daemon, f"/boot/{path}")
    assert get(daemon, "/installers/../../fleet.toml")[0] in {403, 404}
    assert get(daemon, "/grub/%2e%2e/%2e%2e/fleet.toml")[0] in {403, 404}

    # Loopback has no MAC: whoever asks is not seen to be the machine.
    assert get(daemon, "/preseed/52-54-00-12-34-56") == (
        403,
        f"the preseed of {MAC} is told to that machine alone, which 127.0.0.1 is not seen to be\n",
    )
    for mac in ("52-54-00-aa-aa-aa", "52-54-00-bb-bb-bb", "nonsense"):
        assert get(daemon, f"/preseed/{mac}")[0] == 404
    machines = json.loads(get(daemon, "/api/pis")[1])["machines"]
    assert [(one["mac"], one["boots"], one["state"]) for one in machines] == [
        (MAC, "debian-12", "unseen"),
        ("52:54:00:aa:aa:aa", "debian-11", "unseen"),
    ]
