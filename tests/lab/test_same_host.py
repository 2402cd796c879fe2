"""A rehearsal on the very host that serves, as a user tries it first: its DHCP answers leave, and are heard, there."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING

import pytest

from pinetboot.demo import tree

if TYPE_CHECKING:
    from lab.lan import Lan

pytestmark = pytest.mark.timeout(60)

SERVER = "10.55.0.2"


@pytest.mark.parametrize(("model", "serial"), [("pi3b-rom", tree.PI3), ("pi5", tree.PI5)])
def test_it_hears_the_server_beside_it_and_the_dhcp_server_elsewhere(lan: Lan, model: str, serial: str) -> None:
    lan.router()
    tree.make(lan.serve().data, f"http://{SERVER}/")
    command = [sys.executable, "-m", "pinetboot", "rehearse", "--model", model, "--serial", serial, "--json"]
    done = lan.run("server", *command, "--interface", "eth0", within_s=40.0)
    report = json.loads(done.stdout)
    assert report["cause"] is None
    assert (done.returncode, report["server"]) == (0, SERVER)
    assert lan.addresses("server") == [SERVER]
