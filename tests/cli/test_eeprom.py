"""`pinetboot eeprom`: what it prints, what it writes, and what it refuses without writing anything."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from contextlib import redirect_stderr, redirect_stdout
from hashlib import sha256
from io import StringIO
from pathlib import Path
from typing import Any

import eepromimages
import imagetrees
import pytest
from eepromimages import PI4, PI5
from support import Daemon, require

from pinetboot import check
from pinetboot.boot.generated import Served
from pinetboot.cli import _app, fleet_view
from pinetboot.demo import tree as demo
from pinetboot.eeprom.update import Came
from pinetboot.errors import OperatorError
from pinetboot.fleet import flashing, generation, trees
from pinetboot.fleet.fence import ALONE
from pinetboot.fleet.flashing import Record
from pinetboot.fleet.pi import Pi
from pinetboot.settings import Source

SERIAL = "5b154510"
CONFIG = '[server]\naddress = "192.168.1.10"\n'
FLEET = f'[[pi]]\nserial = "{SERIAL}"\nhostname = "node-1"\naddress = "192.168.1.101"\nimage = "raspios"\n'


class Home:
    """A data directory with a Pi whose trees stand, as a daemon leaves them."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.data = folder, folder / "data"
        self.config = folder / "pinetboot.toml"
        self.config.write_text(CONFIG)
        (self.data / "boot").mkdir(parents=True)
        (self.data / "fleet.toml").write_text(FLEET)
        self.seen(SERIAL, "Pi 4")
        for name, size in (("pi4.bin", PI4), ("pi5.bin", PI5)):
            (folder / name).write_bytes(eepromimages.make(size))

    def seen(self, serial: str, model: str) -> None:
        (self.data / "state").mkdir(exist_ok=True)
        known = [{"serial": serial, "model": model, "address": "192.168.1.101", "first": 1.0, "last": 2.0}]
        (self.data / "state" / "seen.json").write_text(json.dumps(known))

    def tree(self) -> Path:
        image = imagetrees.raspios(self.data)
        served = Served("192.168.1.10", 80, "192.168.1.10", str(self.data))
        generation.make(self.data, Pi(serial=SERIAL), image, 1, served, lambda _: None, lambda: False)
        trees.switch(self.data, SERIAL, 1)
        return self.data / "pis" / SERIAL / "1" / "boot"

    def flags(self, *words: str) -> list[str]:
        return ["eeprom", *words, "--config", str(self.config), "--data", str(self.data)]

    def run(self, *words: str, code: int = 0) -> tuple[str, str]:
        """Call the command here, as starting Python for each takes its time; standard output and error."""
        with redirect_stdout(StringIO()) as out, redirect_stderr(StringIO()) as errors:
            came = _app("eeprom")(self.flags(*words), standalone_mode=False)
        assert (came or 0) == code, out.getvalue() + errors.getvalue()
        return out.getvalue(), errors.getvalue()

    def refused(self, *words: str) -> str:
        with pytest.raises(OperatorError) as error:
            self.run(*words)
        return str(error.value)

    def told(self, *words: str) -> dict[str, Any]:
        (one,) = json.loads(self.run(SERIAL, "--json", *words)[0])["pis"]
        found: dict[str, Any] = one
        return found

    @property
    def requests(self) -> list[str]:
        return sorted(path.name for path in (self.data / "state").glob("eeprom/*"))


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path)


@pytest.fixture(scope="module")
def settled(tmp_path_factory: pytest.TempPathFactory) -> Home:
    """One with a tree and images that will not do, for what writes nothing."""
    home = Home(tmp_path_factory.mktemp("settled"))
    home.tree()
    (home.folder / "cut.bin").write_bytes(bytes(1000))
    (home.folder / "full.bin").write_bytes(eepromimages.make(PI4, b"[all]\n" + b"# of my own\n" * 330))
    return home


def test_the_bootconf_of_a_pi_is_printed_with_a_reason_for_each_line(home: Home) -> None:
    home.config.write_text(CONFIG + "[netconsole]\nenabled = true\n")
    lines = home.run(SERIAL, "--order", "network,usb,sd")[0].splitlines()
    assert lines[0] == "[all]"
    assert all(line.startswith("# ") for line in lines[1::2])
    assert lines[2::2] == [
        "BOOT_ORDER=0xf142",
        "TFTP_IP=192.168.1.10",
        "TFTP_PREFIX=0",
        "DHCP_TIMEOUT=45000",
        "TFTP_FILE_TIMEOUT=30000",
        "NETCONSOLE=@192.168.1.101/,@192.168.1.10/",
        "ENABLE_SELF_UPDATE=1",
    ]


def test_scripts_get_it_as_json(home: Home) -> None:
    told = home.told("--model", "pi5", "--order", "http,nvme,sd")
    assert (told["serial"], told["model"], told["boot_order"], told["update"]) == (SERIAL, "pi5", "0xf167", None)
    assert {line["key"]: line["value"] for line in told["lines"]}["HTTP_PATH"] == f"boot/{SERIAL}"
    assert all(line["why"] for line in told["lines"])


def test_a_pi_3_is_told_what_it_needs_instead(home: Home) -> None:
    home.seen(SERIAL, "Pi 3B+")
    out, errors = home.run(SERIAL, code=1)
    assert "a Pi 3 has no EEPROM to set" in errors
    assert "program_usb_boot_mode=1" in errors
    assert not out


@pytest.mark.parametrize(
    ("words", "why"),
    [
        ((), "name one Pi by its serial, or all of them"),
        ((SERIAL, "--all"), "name one Pi by its serial, or all of them"),
        (("xyz",), "'xyz' is no serial"),
        (("91cdf03d",), "which model pi-91cdf03d is, is not known: it was never seen"),
        ((SERIAL, "--model", "pi9"), "there is no model 'pi9'"),
        ((SERIAL, "--order", "wifi"), "'wifi' is nothing to boot from"),
        ((SERIAL, "--set", "BOOT_UART"), "--set BOOT_UART is not KEY=VALUE"),
        ((SERIAL, "--set", "BOOT_UARTS=1"), "BOOT_UARTS is no setting of a bootloader; BOOT_UART is"),
        ((SERIAL, "--server", "boot.example"), "looks up no names"),
        ((SERIAL, "--static"), "no network of this host holds 192.168.1.101"),
        ((SERIAL, "--image", "none.bin"), "none.bin cannot be read: No such file"),
        ((SERIAL, "--image", "pi5.bin"), "is an image for a Pi 5, and node-1 is a Pi 4"),
        ((SERIAL, "--image", "pi4.bin", "--key", "none.pem"), "the key none.pem cannot be read"),
        ((SERIAL, "--image", "pi4.bin", "--order", "http"), "HTTP boot takes what is signed alone"),
        ((SERIAL, "--image", "pi4.bin", "--set", "SIGNED_BOOT=1"), "SIGNED_BOOT=1 needs settings that are signed"),
        ((SERIAL, "--image", "cut.bin"), "cut.bin cannot be used: it has 1,000 bytes"),
        ((SERIAL, "--image", "full.bin"), "bootconf.txt has "),
        ((SERIAL, "--image", "pi4.bin", "--prefix", "rack-1"), "node-1 would ask in rack-1/ from then on"),
        (("91cdf03d", "--model", "pi4", "--image", "pi4.bin"), "the Pi 91cdf03d is not in fleet.toml"),
    ],
)
def test_what_cannot_be_is_told_in_a_sentence_and_nothing_is_written(
    settled: Home, words: tuple[str, ...], why: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(settled.folder)
    assert why in settled.refused(*words)
    assert not settled.requests


def test_a_sentence_on_standard_error_and_exit_code_2_is_all_that_people_see(home: Home) -> None:
    command = [sys.executable, "-m", "pinetboot", *home.flags(SERIAL, "--order", "wifi")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 2
    assert done.stderr.startswith(
        "pinetboot: the bootloader of node-1 cannot be set so:\n  'wifi' is nothing to boot from"
    )
    assert not done.stdout


def test_a_pi_without_a_tree_of_its_own_gets_no_update(home: Home) -> None:
    image = str(home.folder / "pi4.bin")
    assert "node-1 has no boot tree of its own yet" in home.refused(SERIAL, "--image", image)
    (home.data / "boot" / SERIAL).mkdir()
    assert "a folder of your own" in home.refused(SERIAL, "--image", image)
    home.config.write_text(CONFIG + f'[tftp]\nroot = "{home.folder}"\n')
    assert "which tftp.root names and you keep by hand" in home.refused(SERIAL, "--image", image)
    assert not home.requests


def test_an_update_that_somebody_else_put_there_stays(home: Home) -> None:
    boot = home.tree()
    (boot / "pieeprom.upd").write_bytes(b"theirs")
    assert "has an update already, which is not pinetboot's" in home.refused(
        SERIAL, "--image", str(home.folder / "pi4.bin")
    )
    assert (boot / "pieeprom.upd").read_bytes() == b"theirs"


def test_an_update_is_asked_for_and_taken_back(home: Home) -> None:
    home.tree()
    told = home.told("--image", str(home.folder / "pi4.bin"))
    update = (home.data / "state" / "eeprom" / f"{SERIAL}.upd").read_bytes()
    sig = (home.data / "state" / "eeprom" / f"{SERIAL}.sig").read_text()
    assert told["update"]["sha256"] == sha256(update).hexdigest()
    assert sig == f"{told['update']['sha256']}\nts: {told['update']['timestamp']}\ntarget-soc: 2711\n"
    config = eepromimages.files(update)["bootconf.txt"].decode()
    # What the image had stays, but for what is set.
    assert config.startswith("[all]\nBOOT_UART=0\nWAKE_ON_GPIO=1\n\n[none]\nFREEZE_VERSION=0\n[all]\n")
    assert "\nBOOT_ORDER=0xf142\nTFTP_IP=192.168.1.10\n" in config
    assert "0xf41" not in config
    assert eepromimages.walk(update)
    assert "taken back" in home.run(SERIAL, "--cancel")[0]
    assert not home.requests
    assert "no update waits" in home.run(SERIAL, "--cancel", code=1)[1]


def test_a_signed_image_has_the_key_and_openssl_verifies_its_signatures(home: Home) -> None:
    require("openssl")
    for words in (
        ("genrsa", "-out", "own.pem", "2048"),
        ("rsa", "-in", "own.pem", "-pubout", "-out", "public.pem"),
    ):
        subprocess.run(["openssl", *words], cwd=home.folder, check=True, capture_output=True, timeout=30)
    (home.folder / "own.pem").chmod(0o600)
    home.config.write_text(CONFIG + f'[boot_img]\nkey_file = "{home.folder / "own.pem"}"\n')
    out = home.folder / "out"
    out.mkdir()
    home.run(SERIAL, "--model", "pi5", "--order", "http,sd", "--image", str(home.folder / "pi5.bin"), "-o", str(out))
    files = eepromimages.files((out / "pieeprom.upd").read_bytes())
    (out / "bootconf.sig").write_bytes(files["bootconf.sig"])
    for signed, sig in (("pieeprom.upd", "pieeprom.sig"), ("settings", "bootconf.sig")):
        (out / "settings").write_bytes(files["bootconf.txt"])
        told = dict(line.split(": ") for line in (out / sig).read_text().splitlines()[1:])
        (out / "raw").write_bytes(bytes.fromhex(told["rsa2048"]))
        verify = ["openssl", "dgst", "-sha256", "-verify", "../public.pem", "-signature", "raw", signed]
        done = subprocess.run(verify, cwd=out, capture_output=True, text=True, timeout=30, check=False)
        assert done.stdout == "Verified OK\n", signed
    shown = ["openssl", "rsa", "-pubin", "-in", "public.pem", "-noout", "-modulus"]
    modulus = subprocess.run(shown, cwd=home.folder, capture_output=True, text=True, check=True, timeout=30).stdout
    assert files["pubkey.bin"][:256][::-1].hex() == modulus.strip().partition("=")[2].lower()
    assert files["pubkey.bin"][256:] == (65537).to_bytes(8, "little")


def test_all_pis_are_written_below_a_folder_and_a_pi_3_is_told_apart(home: Home) -> None:
    with (home.data / "fleet.toml").open("a") as fleet:
        fleet.write('[[pi]]\nserial = "91cdf03d"\n')
    known = [{"serial": SERIAL, "model": "Pi 4"}, {"serial": "91cdf03d", "model": "Pi 3B"}]
    (home.data / "state" / "seen.json").write_text(json.dumps(known))
    out, errors = home.run("--all", code=1)
    assert "BOOT_ORDER=0xf142" in out
    assert "pi-91cdf03d: a Pi 3 has no EEPROM" in errors
    home.run("--all", "--model", "pi4", "-o", str(home.folder))
    assert (home.folder / SERIAL / "bootconf.txt").is_file()
    assert (home.folder / "91cdf03d" / "bootconf.txt").is_file()


def test_a_virtual_pi_flashes_what_was_written_into_a_folder_kept_by_hand(
    serve: Callable[..., Daemon], home: Home
) -> None:
    daemon = serve()
    demo.make(daemon.data, f"http://127.0.0.1:{daemon.http_port}/")
    boot = daemon.data / "boot" / SERIAL
    home.run(SERIAL, "--server", "10.9.8.7", "--image", str(home.folder / "pi4.bin"), "-o", str(boot))
    kept = home.folder / "eeprom.json"
    command = [sys.executable, "-m", "pinetboot", "rehearse", "--serial", SERIAL, "--no-dhcp"]
    command += ["--server", "127.0.0.1", "--tftp-port", str(daemon.tftp_port), "--eeprom", str(kept), "--json"]
    for asked in (["pieeprom.sig", "pieeprom.upd", "pieeprom.sig"], ["pieeprom.sig"]):
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
        report = json.loads(done.stdout)
        names = [file["name"].rpartition("/")[2] for file in report["files"]]
        assert [name for name in names if name.startswith("pieeprom")] == asked
        steps = [step["what"] for step in report["steps"]]
        assert ("its bootloader is flashed, and it starts over" in steps) == (len(asked) > 1)
    eeprom = json.loads(kept.read_text())
    assert "TFTP_IP=10.9.8.7" in eeprom["bootconf"]
    assert eeprom["digest"] == sha256((boot / "pieeprom.upd").read_bytes()).hexdigest()
    kept.write_text("{}")
    with pytest.raises(OperatorError, match="holds no EEPROM of a rehearsal"):
        _app("rehearse")(command[3:], standalone_mode=False)


def test_the_doctor_finds_an_update_that_was_left_behind(home: Home) -> None:
    boot = home.tree()
    settings = Source(home.config, {("server", "data"): (str(home.data), "--data")}).load()[0]

    def found() -> list[tuple[str, str]]:
        findings = [one.to_json() for one in check.run(settings).findings]
        return [(one["rule"], one["what"]) for one in findings if "update" in one["what"] or one["rule"] == "D25"]

    assert not found()
    (boot / "pieeprom.sig").write_text("0" * 64 + "\nts: 5\n")
    left = f"node-1 ({SERIAL}): its boot tree has a pieeprom.upd that pinetboot did not put there"
    assert found() == [("D25", left)]
    flashing.keep(home.data, SERIAL, Record("0" * 64, 5, Came.OFFERED, 1.0), ALONE)
    assert found() == [("", f"node-1 ({SERIAL}): an update of its bootloader waits")]
    (row,) = fleet_view.collect(settings)
    ((_, text),) = [line for line in fleet_view.details(home.data, row) if line[0] == "bootloader"]
    assert text.startswith("update offered ")
    assert text.endswith("it lies in the Pi's boot tree and is taken at its next network boot")
