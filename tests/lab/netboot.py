"""The lab whole: a LAN with a plain DHCP server, a server guest in which pinetboot runs, and Pis that boot from it.

A Pi is booted as its firmware and its kernel do together: what the firmware fetches is fetched over our TFTP from the
Pi's own address and MAC, and given to QEMU as it came.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPConnection
from pathlib import Path

from lab.estate import BOARDS, DATA, SERVER, Board, Estate, report
from lab.lan import INTERFACE, Lan
from lab.machines import Machine
from rawtftp import Client
from support import wait_until

HOSTS = {"router": ("10.55.0.1/24",), "pi": (), "client": ("10.55.0.50/24",)}
SERVER_MAC = "52:54:00:00:00:02"
SETTINGS = "/etc/pinetboot/pinetboot.toml"
LOG = "/run/pinetboot.log"
EXPORTS = "/etc/exports.d/pinetboot.exports"
UP = "LAB pi up"
_BOOT_S = 150.0
_COMMAND_S = 150.0
_DAEMON_S = 150.0

# What a host with an NFS server runs, started as Debian does but for the times that clients wait after a start.
HOST_NFS = """
modprobe nfsd && mount -t nfsd nfsd /proc/fs/nfsd && rpcbind -w &&
mkdir -p /etc/exports.d && touch /etc/exports && exportfs -ra &&
rpc.nfsd --lease-time 10 --grace-time 10 4 && rpc.mountd
"""


class Netboot:
    """A server guest with pinetboot in it, `mode` being its nfs.mode; with "exports" the host has an NFS server."""

    def __init__(self, estate: Estate, folder: Path, mode: str) -> None:
        self.estate = estate
        self.folder = folder
        self.mode = mode
        self.broken = False
        self.machines: list[Machine] = []
        self.pis: dict[str, Machine] = {}
        self.lan = Lan(folder, HOSTS)
        self.server = Machine(self.lan, folder, "server")
        self.disks = [estate.disk]

    def start(self) -> None:
        """Boot the server, and pinetboot in it. On any fault nothing is left running."""
        try:
            self.lan.build()
            self.lan.router({board.mac: board.address for board in BOARDS})
            self.boot_server()
            self.settings("")
            self.serve()
        except BaseException:
            self.broken = True
            self.close()
            raise

    def boot_server(self) -> None:
        self.server.start(
            self.estate.kernel,
            self.estate.archive,
            "console=ttyS0 quiet panic=-1",
            mac=SERVER_MAC,
            memory="2G",
            processors=2,
            disks=self.disks,
        )
        self.server.ready()
        report(f"server guest, nfs.mode {self.mode}: {time.monotonic() - self.server.started:.1f} s")
        if self.mode == "exports":
            self.server.do(HOST_NFS)

    def close(self) -> None:
        """End every guest, and take the LAN away."""
        for machine in [*self.machines, self.server]:
            machine.end()
        self.machines.clear()
        self.pis.clear()
        self.lan.close()

    # pinetboot in the server guest

    def settings(self, more: str) -> None:
        """Write pinetboot.toml: the mode, and more lines for its section [nfs] and sections after it."""
        text = f'[server]\nstop_s = 1\nlog_format = "json"\n[nfs]\nmode = "{self.mode}"\n{more}\n'
        self.server.do(f"mkdir -p /etc/pinetboot; cat > {SETTINGS} <<'END'\n{text}END")

    def serve(self) -> float:
        """Start pinetboot and wait until it serves; seconds that it took."""
        began = time.monotonic()
        self.server.do(
            f"cd /\nPYTHONPATH=/site setsid python3 -m pinetboot serve > {LOG} 2>&1 &\necho $! > /run/served"
        )
        self.server.keeps_trying(f'grep -q \'"event": *"ready"\' {LOG} || {{ tail -5 {LOG}; exit 1; }}', _DAEMON_S)
        took = time.monotonic() - began
        report(f"pinetboot serves after {took:.1f} s")
        return took

    def kill(self, signal: str) -> None:
        """Send pinetboot a signal and wait until it is gone."""
        self.server.do(
            f"pid=$(cat /run/served); kill -{signal} $pid; while kill -0 $pid 2> /dev/null; do sleep 0.1; done"
        )

    @property
    def log(self) -> list[dict[str, object]]:
        """What pinetboot logged since it was started."""
        found = []
        for line in self.server.do(f"cat {LOG}").splitlines():
            try:
                found.append(json.loads(line))
            except ValueError:
                continue
        return found

    def reinstall(self) -> str:
        """Replace pinetboot's files by those of another version, as an upgrade does; that version."""
        version = "99.0.1"
        self.server.do(
            "cp -a /site/pinetboot /site/pinetboot.new && "
            f"""sed -i 's/^__version__ = .*/__version__ = "{version}"/' /site/pinetboot.new/__init__.py && """
            "mv /site/pinetboot /site/pinetboot.old && mv /site/pinetboot.new /site/pinetboot && "
            "rm -r /site/pinetboot.old"
        )
        return version

    def pinetboot(self, *words: str) -> tuple[int, str]:
        """Run a command of pinetboot in the server: its exit code, and what it said."""
        quoted = " ".join(f"'{word}'" for word in words)
        return self.server.tries(f"cd / && PYTHONPATH=/site python3 -m pinetboot {quoted}", _COMMAND_S)

    def check(self) -> list[dict[str, str]]:
        """Ask `pinetboot check --files --json`: its findings."""
        code, output = self.pinetboot("check", "--files", "--json")
        assert code in {0, 1}, output
        told = json.loads(output[output.index("{") :])
        assert told["ok"] is (code == 0)
        found: list[dict[str, str]] = told["findings"]
        return found

    def api(self, serial: str) -> dict[str, object]:
        """Ask /api/pis/<serial> as a browser on the LAN does."""
        with self.lan.inside("client"):
            connection = HTTPConnection(SERVER, 80, timeout=20)
            connection.connect()
        try:
            connection.request("GET", f"/api/pis/{serial}")
            answer = connection.getresponse()
            text = answer.read()
            assert answer.status == 200, text
            told: dict[str, object] = json.loads(text)
            return told
        finally:
            connection.close()

    def listed(self) -> str:
        return self.server.do("exportfs -v")

    def exports(self) -> list[str]:
        """What `exportfs -v` says, an export a line: path, client, options."""
        text = re.sub(r"\n\s+", " ", self.listed())
        return sorted(" ".join(line.split()) for line in text.splitlines())

    def until_exported(self, board: Board, within_s: float = 60.0) -> None:
        """Wait until all that a board has is exported to it."""
        trees = 3 if "disks" in board.more else 2

        def exported() -> bool:
            time.sleep(0.5)
            return sum(board.serial in line and board.address in line for line in self.exports()) >= trees

        assert wait_until(exported, within_s), self.exports()

    def until_registered(self, within_s: float = 60.0) -> None:
        """Wait until rpcbind has mountd, nfs and statd, each of which runs."""
        self.server.keeps_trying(
            "pidof rpc.mountd && pidof rpc.statd && known=$(rpcinfo -p 127.0.0.1) && "
            "for name in mountd nfs status; do case $known in *$name*) ;; *) exit 1 ;; esac; done",
            within_s,
        )

    def until_generation(self, board: Board, number: int, within_s: float = 200.0) -> None:
        """Wait until a board is served that one."""
        self.server.keeps_trying(
            f"readlink {DATA}/boot/{board.serial} | grep -x ../pis/{board.serial}/{number}/boot || ! tail -9 {LOG}",
            within_s,
        )

    # Pis

    def pi(self, board: Board) -> Machine:
        """Have a board run, booted where it is not."""
        found = self.pis.get(board.serial)
        return found if found is not None and found.running else self.boot(board)

    def boot(self, board: Board, *, more: str = "", within_s: float = _BOOT_S, marker: str = UP) -> Machine:
        """Boot a PC in a board's place, up to where its init has told so; where it runs already, its plug is pulled."""
        before = self.pis.get(board.serial)
        if before is not None:
            before.end()
        folder = self.folder / f"fetched-{len(self.machines)}"
        folder.mkdir()
        began = time.monotonic()
        with self.firmware(board) as get:
            cmdline = get("cmdline.txt").decode().strip()
            assert b"kernel=kernel8.img" in get("config.txt")
            for name in ("kernel8.img", board.initrd):
                (folder / name).write_bytes(get(name))
        fetched = time.monotonic() - began
        machine = self.machine(f"{board.image}-{len(self.machines)}", folder)
        self.pis[board.serial] = machine
        whole = f"{cmdline} {more}".strip()
        machine.start(folder / "kernel8.img", folder / board.initrd, whole, mac=board.mac)
        up = machine.until(marker, within_s)
        report(f"{board.image} on {board.serial}: boot files {fetched:.1f} s, up {up:.1f} s later")
        return machine

    def machine(self, name: str, folder: Path) -> Machine:
        """Have one more machine, which is ended with this lab."""
        made = Machine(self.lan, folder, name)
        self.machines.append(made)
        return made

    @contextmanager
    def firmware(self, board: Board) -> Iterator[Fetch]:
        """Be a board's firmware for a while: its MAC and its address, and what it gets over TFTP."""
        self.lan.ip("pi", "link", "set", INTERFACE, "down")
        self.lan.ip("pi", "link", "set", INTERFACE, "address", board.mac, "up")
        self.lan.address("pi", f"{board.address}/24")
        try:
            yield Fetch(self.lan, board)
        finally:
            self.lan.ip("pi", "address", "flush", "dev", INTERFACE)
            self.lan.ip("pi", "link", "set", INTERFACE, "down")


class Fetch:
    """Gets files of a board's own folder."""

    def __init__(self, lan: Lan, board: Board) -> None:
        self._lan = lan
        self._board = board

    def __call__(self, name: str) -> bytes:
        with self._lan.inside("pi"):
            client = Client(69, SERVER, timeout_s=20.0)
        with client:
            first = client.answer(f"{self._board.serial}/{name}", tsize=0, blksize=1468, windowsize=16)
            content = client.take(first)
            assert len(content) == int(first.options["tsize"])
            return content
