"""Running nfsd where nobody else does, in a container mostly: the module, its file system, and the programs beside it.

Belongs here: rpcbind, rpc.statd, rpc.mountd and nfsd's threads, in this order, and what to do when one ends. Every
method waits and belongs in a thread. What is exported is `nfs.server`'s, which exports before anything starts here: an
nfsd that knows no export yet tells running Pis that their root is gone.

Nothing is ended at our stop. nfsd's threads are the kernel's and serve on for as long as its file system is mounted
anywhere in their network namespace: a container's own mount goes with it, and so its host had better hold one as well.
mountd answers nfsd's questions, each of which holds half an hour; nfsd takes half a minute without mountd for a pause,
and says no after that. So programs that outlive us (started by hand) are left and taken over at the next start, and
those that end with their container start again within seconds with the next one. A systemd service had better leave
nfsd to the host (nfs.mode "exports").
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from pinetboot import run
from pinetboot.config import Nfs
from pinetboot.errors import OperatorError
from pinetboot.nfs import kernel, onc, rooting, rpc
from pinetboot.nfs.portmap import replay

_STATE: Final = Path("/var/lib/nfs")
_LOCKD: Final = Path("/proc/sys/fs/nfs")
_LIMIT_S: Final = 20.0
_UP_S: Final = 3.0
_PAUSE_S: Final = 0.05
_LOOK_S: Final = 5.0
_LONGEST_S: Final = 60.0
_REPLAY_S: Final = 10.0
_TICK_S: Final = 0.1  # the kernel's clock for times of files is that coarse at most
_NOT_HELD: Final = (
    "nfsd ends with this container, and running Pis wait until the next one serves. For nfsd to serve on meanwhile, "
    "mount it on the host as well: `mount -t nfsd nfsd /proc/fs/nfsd`"
)
_V3, _V4 = 3, 4


@dataclass(frozen=True, slots=True)
class Told:
    """One sentence on how things go; `well` is false for what somebody should look at."""

    well: bool
    what: str


@dataclass(slots=True)
class _Program:
    """One program: how it is started, and the RPC program that answers once it is up (port 0: none does).

    `within` is a command that becomes this one, empty where it is started as it is.
    """

    command: Sequence[str]
    program: int
    version: int
    port: int
    within: Sequence[str] = ()
    started: run.Started | None = None
    adopted: bool = False
    failures: int = 0
    next_at: float = 0.0

    @property
    def name(self) -> str:
        return self.command[0]

    def there(self) -> bool:
        """Whether it is up, whoever started it."""
        if self.port:
            return rpc.answers(rpc.LOCALHOST, self.port, self.program, self.version)
        return any(True for _ in _processes(self.name))


class Daemons:
    """Everything that nfsd needs, started and kept running by `settings`. `data` is what will be exported."""

    def __init__(self, settings: Nfs, data: Path) -> None:
        self._settings = settings
        self._data = data
        self._held = True
        self._v3 = _V3 in settings.versions
        self._programs: list[_Program] | None = None
        self._nfsd_at = 0.0
        self._failures = 0
        self._replay_at = 0.0
        self._said: set[str] = set()
        self._told: list[Told] = []

    def prepare(self) -> None:
        """Load the module, mount nfsd's file system, make what the programs write to. Raises OperatorError."""
        wanted = ["exportfs", "rpc.mountd", "rpc.nfsd", *(["rpcbind", "rpc.statd"] if self._v3 else [])]
        missing = [program for program in wanted if run.find(program) is None]
        if missing:
            raise OperatorError(
                f"NFS cannot be served: {', '.join(missing)} not installed",
                "Install nfs-kernel-server, and rpcbind for version 3, where pinetboot runs.",
            )
        if not kernel.look().supported:
            _try(["modprobe", "nfsd"])
        if not kernel.look().supported:
            raise OperatorError(
                "NFS cannot be served: this kernel has no nfsd, and none can be loaded from here",
                "Run `modprobe nfsd` on the host, and `echo nfsd > /etc/modules-load.d/nfsd.conf` for the next boot.",
            )
        if not kernel.look().mounted:
            began = time.time()
            said = _try(["mount", "-t", "nfsd", "nfsd", str(kernel.NFSD)])
            if not kernel.look().mounted:
                raise OperatorError(
                    f"NFS cannot be served: {kernel.NFSD} cannot be mounted: {said}",
                    "Give the container the capability SYS_ADMIN (privileged: true).",
                )
            # It is one for a network namespace, made with its first mount: an older one is held by somebody else.
            self._held = not _contained() or kernel.NFSD.stat().st_ctime < began - _TICK_S
        _make_state()
        if self._v3:
            self._fix_lockd()

    def look(self, now: float) -> list[Told]:
        """Start what is not there, and start again what ended; returns what is worth telling. Call it every second."""
        if self._programs is None:
            self._programs = self._all()
        self._told = []
        if not self._held:
            self._tell_once(Told(well=False, what=_NOT_HELD))
        up = True
        for program in self._programs:
            runs = self._keep(program, now, may_start=up)
            # Without statd locks are lost with a restart; roots are mounted with `nolock`.
            up = up and (runs or program.program == onc.STATUS)
        if up:
            self._keep_nfsd(now)
        if self._v3 and now >= self._replay_at:
            self._replay_at = now + _REPLAY_S
            self._replay()
        return self._told

    def _all(self) -> list[_Program]:
        settings = self._settings
        fresh = kernel.look().threads == 0
        versions = [f"--no-nfs-version={number}" for number in (_V3, _V4) if number not in settings.versions]
        mountd = ["rpc.mountd", "--foreground", f"--port={settings.mountd_port}", *versions]
        # A server that did not go down has no lock to have given back: its clients are told once, when it comes up.
        quiet = [] if fresh else ["--no-notify"]
        statd = ["rpc.statd", "--foreground", f"--port={settings.statd_port}", *quiet]
        apart = rooting.command(self._data.resolve()) if _V4 in settings.versions else []
        if not self._v3:
            return [_Program(mountd, onc.MOUNT, _V3, 0, apart)]
        return [
            _Program(["rpcbind", "-f"], onc.PORTMAPPER, 2, rpc.PORTMAPPER_PORT),
            _Program(statd, onc.STATUS, 1, settings.statd_port),
            _Program(mountd, onc.MOUNT, _V3, settings.mountd_port, apart),
        ]

    def _keep(self, program: _Program, now: float, *, may_start: bool) -> bool:
        """Have a program run; says whether it does. It is not started before what it registers with."""
        if program.started is not None:
            for line in program.started.said():
                self._told.append(Told(well=True, what=line))
            code = program.started.ended()
            if code is None:
                return True
            program.started = None
            self._put_off(program, now, f"{program.name} ended with {_code(code)}")
        if now < program.next_at:
            return program.adopted
        program.next_at = now + _LOOK_S
        if program.there():
            if not program.adopted:
                self._told.append(Told(well=True, what=f"{program.name} runs here already, and is used"))
            program.adopted = True
            return True
        program.adopted = False
        if not may_start:
            program.next_at = now
            return False
        other = self._other_mountd(program)
        if other:
            self._tell_once(Told(well=False, what=other))
            return False
        return self._start(program, now)

    def _start(self, program: _Program, now: float) -> bool:
        try:
            started = run.start([*program.within, *program.command])
        except (run.ProgramMissing, run.ProgramFailed) as error:
            self._put_off(program, now, str(error))
            return False
        end = time.monotonic() + _UP_S
        while started.ended() is None and time.monotonic() < end:
            if program.there():
                break
            time.sleep(_PAUSE_S)
        code = started.ended()
        if code is not None:
            said = "; ".join(started.said()[-2:])
            self._put_off(
                program, now, f"{program.name} ended with {_code(code)} at once" + (f": {said}" if said else "")
            )
            return False
        program.started, program.failures = started, 0
        self._told.append(Told(well=True, what=f"{program.name} started"))
        return True

    def _put_off(self, program: _Program, now: float, why: str) -> None:
        wait_s = min(_LONGEST_S, 2.0**program.failures)
        program.failures = min(program.failures + 1, 10)
        program.next_at = now + wait_s
        self._told.append(Told(well=False, what=f"{why}; it is started again in {wait_s:.0f} s"))

    def _other_mountd(self, program: _Program) -> str:
        """Say that another mountd is at work: nfsd would ask now the one, now the other, and get two answers."""
        if program.program != onc.MOUNT:
            return ""
        with suppress(rpc.Unanswered):
            for mapping in rpc.registered() if self._v3 else ():
                found = mapping.program == onc.MOUNT and mapping.protocol == onc.TCP
                if found and rpc.answers(rpc.LOCALHOST, mapping.port, onc.MOUNT, mapping.version):
                    return (
                        f"another rpc.mountd answers at port {mapping.port}: ours is not started beside it. Stop the "
                        'NFS server of the host (`systemctl disable --now nfs-server`), or set nfs.mode to "exports"'
                    )
        return ""

    def _keep_nfsd(self, now: float) -> None:
        settings = self._settings
        found = kernel.look()
        if found.running:
            lacking = sorted(set(settings.versions) - found.versions)
            if lacking:
                told = ", ".join(str(version) for version in lacking)
                what = f"nfsd runs without version {told}, which only a start anew changes: `rpc.nfsd 0` ends it"
                self._tell_once(Told(well=False, what=what))
            return
        if now < self._nfsd_at:
            return
        versions = [f"--{'' if number in settings.versions else 'no-'}nfs-version={number}" for number in (_V3, _V4)]
        said = _try(["rpc.nfsd", f"--port={rpc.NFS_PORT}", *versions, str(settings.threads)])
        if kernel.look().running:
            self._failures = 0
            self._told.append(Told(well=True, what=f"nfsd serves with {settings.threads} threads"))
            return
        wait_s = min(_LONGEST_S, 2.0**self._failures)
        self._failures = min(self._failures + 1, 10)
        self._nfsd_at = now + wait_s
        self._told.append(Told(well=False, what=f"nfsd does not start: {said or 'it does not say why'}"))

    def _replay(self) -> None:
        names, faults = replay(self._settings)
        self._told += [Told(well=True, what=f"{name} registered with rpcbind again") for name in names]
        for fault in faults:
            self._tell_once(Told(well=False, what=fault))

    def _fix_lockd(self) -> None:
        """Give lockd its port, which it takes when nfsd starts."""
        _try(["modprobe", "lockd"])
        for name in ("nlm_tcpport", "nlm_udpport"):
            with suppress(OSError):
                (_LOCKD / name).write_text(str(self._settings.lockd_port))

    def _tell_once(self, told: Told) -> None:
        if told.what not in self._said:
            self._said.add(told.what)
            self._told.append(told)


def _make_state() -> None:
    """Make what the programs expect of their packages' installation, where a container's image has it not."""
    for folder in (_STATE / "sm", _STATE / "sm.bak", _STATE / "v4recovery", Path("/run/rpcbind")):
        with suppress(OSError):
            folder.mkdir(mode=0o755, parents=True, exist_ok=True)
    for file in (_STATE / "etab", _STATE / "rmtab"):
        with suppress(OSError):
            file.touch(mode=0o644, exist_ok=True)


def _contained() -> bool:
    """Whether what we mount goes with us: as the first process of our own world, or over a container's root."""
    return os.getpid() == 1 or rooting.over_union()


def _try(command: Sequence[str]) -> str:
    """Run a program whose outcome is looked at by itself; returns why it failed, or nothing."""
    try:
        run.run(command, timeout_s=_LIMIT_S)
    except (run.ProgramMissing, run.ProgramFailed) as error:
        return str(error)
    return ""


def _processes(name: str) -> Iterator[int]:
    """List the processes of a name in our own network namespace, as far as they can be seen from here."""
    with suppress(OSError):
        network = Path("/proc/self/ns/net").readlink()
        for entry in os.listdir("/proc"):  # noqa: PTH208 - names alone are wanted
            with suppress(OSError):
                process = Path("/proc") / entry
                named = entry.isdigit() and (process / "comm").read_text().strip() == name[:15]
                if named and (process / "ns" / "net").readlink() == network:
                    yield int(entry)


def _code(code: int) -> str:
    return f"signal {-code}" if code < 0 else f"code {code}"
