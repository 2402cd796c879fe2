"""A Pi's bootloader is flashed by its next network boot, and nothing of the update stays behind."""

from __future__ import annotations

import json
import sys
import time
from contextlib import closing
from http.client import HTTPConnection
from pathlib import Path
from typing import TYPE_CHECKING, Any

import eepromimages
import pytest
from lab.small_images import image
from support import wait_until

from pinetboot.demo import tree

if TYPE_CHECKING:
    from lab.lan import Lan

pytestmark = pytest.mark.timeout(120)

SERVER, PI = "10.55.0.2", "10.55.0.101"
CONFIG = '[nfs]\nmode = "off"\n'
MODELS = {"pi4": (tree.PI4, eepromimages.PI4), "pi5": (tree.PI5, eepromimages.PI5)}
WITHIN_S = 30.0


class Home:
    """A daemon with one Pi in its fleet, on a LAN, and an EEPROM image for it."""

    def __init__(self, lan: Lan, model: str) -> None:
        self.lan, self.model = lan, model
        self.serial, size = MODELS[model]
        lan.address("pi", f"{PI}/24")
        self.daemon = lan.serve(CONFIG)
        self.data = self.daemon.data
        image(self.data, "a", "first", SERVER, serial=self.serial)
        fleet = f'[[pi]]\nserial = "{self.serial}"\nhostname = "node-1"\nimage = "a"\nroot = "none"\n'
        (self.data / "fleet.toml").write_text(fleet)
        self.eeprom = lan.folder / "eeprom.json"
        self.image = lan.folder / "pieeprom.bin"
        self.image.write_bytes(eepromimages.make(size))
        assert wait_until((self.data / "boot" / self.serial).is_symlink, WITHIN_S), self.daemon.text

    def command(self, *words: str) -> str:
        command = [sys.executable, "-m", "pinetboot", *words, "--data", str(self.data)]
        done = self.lan.run("server", *command, "--config", str(self.daemon.settings))
        assert done.returncode == 0, done.stderr
        return done.stdout

    def ask(self, *words: str) -> str:
        """Ask for an update, and wait until it lies in the boot tree."""
        told = self.command("eeprom", self.serial, "--model", self.model, "--image", str(self.image), *words)
        sig = (self.data / "state" / "eeprom" / f"{self.serial}.sig").read_bytes()
        assert wait_until(lambda: self.sig.exists() and self.sig.read_bytes() == sig, WITHIN_S), self.daemon.text
        return told

    def status(self) -> str:
        command = [sys.executable, "-m", "pinetboot", "status", self.serial, "--config", str(self.daemon.settings)]
        return self.lan.run("server", *command).stdout

    @property
    def boot(self) -> Path:
        return self.data / "boot" / self.serial

    @property
    def sig(self) -> Path:
        return self.boot / "pieeprom.sig"

    def left(self) -> list[str]:
        """What lies in any boot tree of the Pi, or is asked for."""
        trees = self.data.glob(f"pis/{self.serial}/*/boot/pieeprom.*")
        asked = [path for path in self.data.glob("state/eeprom/*") if path.suffix != ".json"]
        return sorted(path.name for path in [*trees, *asked])

    def rehearse(self, *flags: str) -> tuple[int, dict[str, Any]]:
        flags = ("--no-dhcp", "--server", SERVER, "--eeprom", str(self.eeprom), *flags)
        return self.lan.rehearse(self.model, self.serial, *flags)

    def came(self, state: str) -> dict[str, Any]:
        """Wait until the update came to that, and all of it is gone; what `status --json` and the log say then."""

        def shown() -> dict[str, Any]:
            with closing(HTTPConnection(SERVER, 80, timeout=10)) as connection:
                with self.lan.inside("pi"):
                    connection.request("GET", f"/api/pis/{self.serial}")
                told: dict[str, Any] = json.loads(connection.getresponse().read())["bootloader_update"]
            return told

        assert wait_until(lambda: shown()["state"] == state and not self.left(), WITHIN_S), self.daemon.text
        assert wait_until(lambda: self.daemon.said(f"bootloader update {state}"), WITHIN_S)
        return shown()


def asked(report: dict[str, Any]) -> list[str]:
    names = [f"{file['name'].rpartition('/')[2]} {file['result']}" for file in report["files"]]
    return [name for name in names if name.startswith("pieeprom")]


def test_a_pi_is_flashed_and_the_files_go_away(lan: Lan) -> None:
    home = Home(lan, "pi5")
    told = home.ask("--order", "network,sd")
    assert f"its next network boot flashes them, and `pinetboot status {home.serial}` says when" in told
    assert wait_until(lambda: home.daemon.said("bootloader update offered"), WITHIN_S)

    code, report = home.rehearse()
    assert (code, report["ok"]) == (0, True), report
    assert asked(report) == ["pieeprom.sig ok", "pieeprom.upd ok", "pieeprom.sig ok"]
    home.came("flashed")
    config = json.loads(home.eeprom.read_text())["bootconf"]
    assert "\nBOOT_ORDER=0xf12\n" in config
    assert f"\nTFTP_IP={SERVER}\n" in config
    assert "update flashed" in home.status()

    code, report = home.rehearse()
    assert (code, asked(report)) == (0, ["pieeprom.sig missing"])


def test_an_update_that_no_eeprom_keeps_or_wants_is_taken_away(lan: Lan) -> None:
    home = Home(lan, "pi4")
    home.ask()
    code, report = home.rehearse("--fault", "write-protected")
    # It starts over for ever, as long as the update lies there; the virtual one gives up (reference D25).
    assert (code, report["cause"]["rule"]) == (1, "D25")
    home.came("loop")

    # The same image once more, for an EEPROM that keeps it; the daemon is started anew before the Pi goes on with it.
    home.ask()
    home.daemon.stop()
    home.daemon.start()
    code, report = home.rehearse()
    assert (code, asked(report)) == (0, ["pieeprom.sig ok", "pieeprom.upd ok", "pieeprom.sig ok"])
    home.came("flashed")

    # One that its EEPROM is too new for.
    told = json.loads(home.eeprom.read_text()) | {"timestamp": int(time.time()) + 1000}
    home.eeprom.write_text(json.dumps(told))
    home.ask("--set", "BOOT_UART=1")
    code, report = home.rehearse()
    assert (code, asked(report)) == (0, ["pieeprom.sig ok"])
    home.came("declined")

    home.ask("--set", "BOOT_UART=0")
    home.command("eeprom", home.serial, "--cancel")
    home.came("cancelled")
