"""HTTP boot on a LAN whose DHCP server knows nothing of booting, without ProxyDHCP: an address is all it takes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import bootkeys
import pytest
from imagetrees import raspios
from support import require, wait_until

if TYPE_CHECKING:
    from lab.lan import Lan

pytestmark = pytest.mark.timeout(90)

SERVER = "10.55.0.2"
SERIAL = "da591740"


def test_a_pi_5_boots_over_http_with_an_address_from_anybody_and_is_told_its_seed(lan: Lan) -> None:
    require("mcopy", "mformat", "openssl")
    lan.router()
    key = bootkeys.pair()
    data = lan.folder / "data"
    raspios(data, cloud_init="25.2")
    (data / "fleet.toml").write_text(f'[[pi]]\nserial = "{SERIAL}"\nboot = "img"\n')
    config = f'[dhcp]\nmode = "off"\n[nfs]\nmode = "off"\n[boot_img]\nkey_file = "{key.private}"\n'
    daemon = lan.serve(config, shared=data)
    assert wait_until(lambda: daemon.said("Pi made ready"), 30), daemon.text

    code, report = lan.rehearse("pi5", SERIAL, "--http", "--server", SERVER, "--key", str(key.public), "--online")

    assert (code, report["cause"]) == (0, None), report
    assert [step["stage"] for step in report["steps"]] == ["seen", "firmware", "kernel", "linux", "seed", "online"]
    assert all(step["ok"] for step in report["steps"]), report["steps"]
    assert report["files"][2]["bytes"] == (data / "boot" / SERIAL / "boot.img").stat().st_size
    seeds = [line for line in daemon.said("http seed") if line["status"] == 200]
    assert {line["serial"] for line in seeds} == {SERIAL}
    # Nobody but its requests over HTTP told where it is.
    (boot, *_) = daemon.said("http boot")
    assert boot["client"].startswith("10.55.0.1")
    assert wait_until(lambda: daemon.said("Pi online")), daemon.text
