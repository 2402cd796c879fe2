"""A rehearsal: a virtual Pi boots for real, from DHCP to its seed, and says how far it came.

Belongs here: the stages in their order, and the report. What the Pi does in each is in `pi/`.
"""

from __future__ import annotations

import asyncio
import re
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from ipaddress import IPv4Address
from typing import Any

from pinetboot import causes
from pinetboot.causes import Cause
from pinetboot.net import http
from pinetboot.pi import config_txt, firmware
from pinetboot.pi.dhcp import DhcpDialogue, Lease
from pinetboot.pi.download import Fetched, Result
from pinetboot.pi.firmware import Ask, Booted, Stopped
from pinetboot.pi.link import Link
from pinetboot.pi.profiles import Profile, mac_of
from pinetboot.pi.tftp import TftpClient

_SEED_TIMEOUT_S = 10.0
_FORBIDDEN = 403  # RFC 9110
_TOLD_TO_ANOTHER = re.compile(
    rb"the seed of ([0-9a-f]{8}) is told to ([0-9a-f.: or]+) alone, which ([0-9a-f.:]+) is not\n"  # `web.seed` says so
)
# cloud-init from 24.3 asks in this order; without the last two it goes on (reference 6.2).
_SEED_FILES = (("network-config", False), ("meta-data", True), ("user-data", True), ("vendor-data", False))


@dataclass(frozen=True, slots=True)
class Step:
    """One thing that the Pi did; `ms` is how long it took."""

    stage: str
    what: str
    ok: bool
    ms: float


@dataclass(frozen=True, slots=True)
class FileStep:
    """One file that the Pi asked for. `probe` asked for its size only, so that no byte of it came."""

    name: str
    size: int
    ms: float
    result: str
    stage: str
    probe: bool = False


@dataclass(slots=True)
class Report:
    """What came of a rehearsal; filled while it runs."""

    model: str
    serial: str
    server: str = ""
    seconds: float = 0.0
    stopped_at: str | None = None
    cause: Cause | None = None
    steps: list[Step] = field(default_factory=list)
    files: list[FileStep] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    @property
    def ok(self) -> bool:
        """Whether the Pi would boot."""
        return self.cause is None

    @property
    def bytes(self) -> int:
        """Bytes of files that came."""
        return sum(file.size for file in self.files if not file.probe and file.result == Result.OK)

    def to_json(self) -> dict[str, Any]:
        """The shape that scripts rely on."""
        return {
            "ok": self.ok,
            "model": self.model,
            "serial": self.serial,
            "server": self.server,
            "seconds": round(self.seconds, 3),
            "bytes": self.bytes,
            "stopped_at": self.stopped_at,
            "cause": self.cause.to_json() if self.cause else None,
            "steps": [{"stage": s.stage, "what": s.what, "ok": s.ok, "ms": round(s.ms, 1)} for s in self.steps],
            "files": [
                {
                    "name": f.name,
                    "bytes": 0 if f.probe else f.size,
                    "ms": round(f.ms, 1),
                    "result": f.result,
                    "probe": f.probe,
                }
                for f in self.files
            ],
            "notes": self.notes,
        }


@dataclass(frozen=True, slots=True)
class Plan:
    """What to rehearse. `link` None leaves DHCP out, and `server` must then say where to boot from."""

    profile: Profile
    serial: str
    mac: bytes
    link: Link | None
    server: str | None = None
    tftp_port: int = 69
    dhcp_timeout_s: float = 45.0


def plan(
    profile: Profile,
    serial: str,
    *,
    link: Link | None,
    server: str | None = None,
    mac: bytes | None = None,
    **more: Any,
) -> Plan:
    """Make a Plan; without `mac` the virtual Pi gets one of its model."""
    return Plan(profile, serial, mac or mac_of(profile, serial), link, server, **more)


Told = Callable[[Step | FileStep], None]


async def rehearse(plan: Plan, told: Told) -> Report:
    """Boot once. `told` hears of every step. Raises OperatorError where the rehearsal itself cannot run."""
    run = _Rehearsal(plan, told)
    began = run.now()
    try:
        await run.boot()
    except Stopped as stop:
        run.report.stopped_at = stop.stage
        run.report.cause = stop.cause
    finally:
        await run.close()
        run.report.seconds = run.now() - began
    return run.report


class _Rehearsal:
    def __init__(self, plan: Plan, told: Told) -> None:
        self.plan = plan
        self.report = Report(plan.profile.model, plan.serial)
        self._told = told
        self._dialogue: DhcpDialogue | None = None

    @staticmethod
    def now() -> float:
        # The loop's own time is counted in whole milliseconds, too coarse for the files of a fast server.
        return time.monotonic()

    async def boot(self) -> None:
        local, server = "", self.plan.server or ""
        if self.plan.link is not None:
            lease = await self._dhcp(self.plan.link)
            local, server = str(lease.address), self.plan.server or str(lease.boot_server)
        self.report.server = server
        booted = await self._firmware(TftpClient(self.plan.profile, server, self.plan.tftp_port, local), server)
        self.report.notes += booted.notes
        if booted.cmdline:
            self._check_root(booted.cmdline)
            await self._seed(booted.cmdline, local)
        elif not booted.notes:
            raise Stopped("root", causes.no_root("cmdline.txt is missing or empty"))

    async def close(self) -> None:
        link, dialogue = self.plan.link, self._dialogue
        if link is None:
            return
        if dialogue is not None and dialogue.lease is not None:
            link.broadcast(dialogue.release())
        await link.close()

    async def _dhcp(self, link: Link) -> Lease:
        began = self.now()
        dialogue = self._dialogue = DhcpDialogue(
            self.plan.profile, self.plan.serial, self.plan.mac, secrets.randbits(32), self.plan.dhcp_timeout_s
        )
        progress = asyncio.Event()

        def heard(payload: bytes, source: str) -> None:
            for answer in dialogue.receive(payload, source, self.now()):
                link.broadcast(answer)
            progress.set()

        link.open(heard)
        for out in dialogue.start(self.now()):
            link.broadcast(out)
        while dialogue.lease is None and dialogue.cause is None:
            progress.clear()
            try:
                async with asyncio.timeout(max(0.001, dialogue.deadline - self.now())):
                    await progress.wait()
            except TimeoutError:
                for out in dialogue.tick(self.now()):
                    link.broadcast(out)
        heard_text = "; ".join(dialogue.notes) or "no answer"
        self._step("seen", f"DHCP: {heard_text}", ok=dialogue.lease is not None, began=began)
        if dialogue.lease is None:
            raise Stopped("seen", dialogue.cause or causes.no_address(boot_offer=False))
        await link.take(dialogue.lease)
        return dialogue.lease

    async def _firmware(self, client: TftpClient, server: str) -> Booted:
        boot = firmware.boot(self.plan.profile, self.plan.serial, server)
        stage, began = "", self.now()
        try:
            ask = next(boot)
            while True:
                if ask.stage != stage:
                    self._stage_over(stage, began)
                    stage, began = ask.stage, self.now()
                ask = boot.send(await self._file(client, ask))
        except StopIteration as end:
            self._stage_over(stage, began)
            booted: Booted = end.value
            return booted
        except Stopped as stop:
            self._step(stop.stage, stop.cause.what, ok=False, began=began)
            raise

    async def _file(self, client: TftpClient, ask: Ask) -> Fetched:
        began = self.now()
        fetched = await client.fetch(ask)
        ms = (self.now() - began) * 1000
        file = FileStep(ask.name, fetched.size, ms, str(fetched.result), ask.stage, ask.probe)
        self.report.files.append(file)
        self._told(file)
        return fetched

    def _stage_over(self, stage: str, began: float) -> None:
        if stage:
            files = [f for f in self.report.files if f.stage == stage and not f.probe and f.result == Result.OK]
            size = sum(file.size for file in files)
            what = f"{len(files)} file{'s' if len(files) != 1 else ''}, {size:,} bytes"
            self._step(stage, what, ok=True, began=began)

    def _check_root(self, cmdline: bytes) -> None:
        root = config_txt.root_of(cmdline)
        if root is None:
            self.report.notes.append("cmdline.txt names no root=; that is right only for an initramfs that needs none")

    async def _seed(self, cmdline: bytes, local: str) -> None:
        url = config_txt.seed_url(cmdline)
        if url is None:
            self.report.notes.append("cmdline.txt names no ds=nocloud address: no seed is asked for")
            return
        url = url if url.endswith("/") or "%s" in url else url + "/"
        began = self.now()
        size = 0
        for name, needed in _SEED_FILES:
            target = url.replace("%s", name) if "%s" in url else url + name
            asked = self.now()
            status, body, why = await _get(target, local)
            refused = _for_another(status, body)
            if refused:
                self._step("seed", refused, ok=True, began=began)
                return
            ms = (self.now() - asked) * 1000
            ok = status == 200  # noqa: PLR2004 - HTTP
            result = Result.OK if ok else Result.MISSING if status else Result.ERROR
            file = FileStep(target, len(body), ms, str(result), "seed")
            self.report.files.append(file)
            self._told(file)
            if not ok and needed:
                self._step("seed", f"{target}: {why}", ok=False, began=began)
                raise Stopped("seed", causes.no_seed(target, why))
            size += len(body)
        self._step("seed", f"{len(_SEED_FILES)} files, {size:,} bytes", ok=True, began=began)

    def _step(self, stage: str, what: str, *, ok: bool, began: float) -> None:
        step = Step(stage, what, ok, (self.now() - began) * 1000)
        self.report.steps.append(step)
        self._told(step)


async def _get(url: str, local: str) -> tuple[int, bytes, str]:
    """GET one seed file: status (0 for no answer), body, and words for what is wrong."""
    try:
        status, body = await http.get(url, local=local, timeout_s=_SEED_TIMEOUT_S, user_agent="Cloud-Init/24.4")
    except OSError as error:
        return 0, b"", str(error)
    return status, body, f"HTTP {status}"


def _for_another(status: int, body: bytes) -> str:
    """Say why a pinetboot tells this rehearsal no seed, which says nothing of the Pi itself; empty for all else."""
    told = _TOLD_TO_ANOTHER.fullmatch(body) if status == _FORBIDDEN else None
    if told is None:
        return ""
    serial, address, own = (part.decode() for part in told.groups())
    return f"the seed of {serial} is told to {address} alone, and this rehearsal comes from {own}: not a fault"


def is_address(text: str) -> bool:
    """Whether `text` is an IPv4 address, which is all that the firmware takes for a server."""
    try:
        IPv4Address(text)
    except ValueError:
        return False
    return True
