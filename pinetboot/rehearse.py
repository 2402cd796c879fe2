"""A rehearsal: a virtual Pi boots for real, from DHCP to its seed or to being up, and says how far it came.

Belongs here: the stages in their order. What the Pi does in each is in `pi/`, its report too; many are `storm`'s.
"""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from ipaddress import IPv4Address
from typing import Any

from pinetboot import causes
from pinetboot.pi import config_txt, faults, firmware, http_boot, linux, online, seed, selfupdate
from pinetboot.pi.asking import Ask, Boot, Booted, Stopped
from pinetboot.pi.dhcp import DhcpDialogue, Lease, release
from pinetboot.pi.download import Fetched, Result
from pinetboot.pi.eeprom import Eeprom
from pinetboot.pi.faults import Fault, Meddler, Way
from pinetboot.pi.http_boot import HttpBoot
from pinetboot.pi.http_client import HttpClient
from pinetboot.pi.link import Link
from pinetboot.pi.linux import LinuxDialogue
from pinetboot.pi.profiles import Profile, mac_of
from pinetboot.pi.report import FileStep, Report, Step
from pinetboot.pi.selfupdate import Flashed
from pinetboot.pi.tftp import TftpClient

_MOST_UPDATES = 4  # of its bootloader, before it counts as a loop


@dataclass(frozen=True, slots=True)
class Plan:
    """What to rehearse. `link` None leaves DHCP out, and `server` must then say where to boot from.

    `local` is the address to boot from where DHCP gives none, empty for any; `dhcp_timeout_s` None is the model's own.
    `online`: it goes on as Linux, which asks for an address by itself and tells the server that it is up. `eeprom` is
    what is in that of a Pi 4 or newer before it boots. With `http` it boots over HTTP.
    """

    profile: Profile
    serial: str
    mac: bytes
    link: Link | None
    server: str | None = None
    tftp_port: int = 69
    dhcp_timeout_s: float | None = None
    local: str = ""
    faults: tuple[Fault, ...] = ()
    online: bool = False
    eeprom: Eeprom = field(default_factory=Eeprom)
    http: HttpBoot | None = None


def plan(
    profile: Profile,
    serial: str,
    *,
    link: Link | None,
    mac: bytes | None = None,
    with_faults: Sequence[Fault] = (),
    **more: Any,
) -> Plan:
    """Make a Plan; without `mac` the virtual Pi gets one of its model. `more` are further fields of the plan."""
    changed = faults.applied(profile, with_faults)
    return Plan(changed, serial, mac or mac_of(profile, serial), link, faults=tuple(with_faults), **more)


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
        self.report = Report(plan.profile.model, plan.serial, notes=[f"fault: {fault}" for fault in plan.faults])
        self._told = told
        self._meddler = Meddler(plan.faults) if plan.faults else None
        self._leased: dict[tuple[IPv4Address, IPv4Address], tuple[Lease, int]] = {}
        self._client: TftpClient | HttpClient | None = None
        self._local = self._server = ""
        self._eeprom = plan.eeprom

    @staticmethod
    def now() -> float:
        # The loop's own time is counted in whole milliseconds, too coarse for the files of a fast server.
        return time.monotonic()

    async def boot(self) -> None:
        booted = await self._booted()
        self.report.notes += booted.notes
        if booted.cmdline:
            self._check_root(booted.cmdline)
            await self._linux(booted.cmdline)
        elif not booted.ramdisk:
            raise Stopped("root", causes.no_root("cmdline.txt is missing or empty"))

    async def _booted(self) -> Booted:
        """Boot the firmware, again after each update of its bootloader. Raises Stopped where that finds no end."""
        for _ in range(_MOST_UPDATES):
            selfupdate.require_network(self._eeprom)
            client = await self._address("seen", self.plan.profile)
            began = self.now()
            try:
                return await self._firmware(client)
            except Flashed as flashed:
                self.report.eeprom = self._eeprom = flashed.eeprom
                self._step("firmware", "its bootloader is flashed, and it starts over", ok=True, began=began)
        raise Stopped("firmware", causes.update_loop())

    async def close(self) -> None:
        link = self.plan.link
        if self._client is not None:
            self._client.close()
        if link is None:
            return
        for lease, xid in self._leased.values():
            link.broadcast(release(lease, self.plan.mac, xid))
        await link.close(self.plan.mac)

    async def _address(self, stage: str, profile: Profile) -> TftpClient | HttpClient:
        """Have an address and a server, over DHCP or as the plan says, and a client that uses them."""
        plan = self.plan
        self._local, self._server = plan.local, plan.server or ""
        if plan.link is not None:
            lease = await self._dhcp(plan.link, stage, profile)
            self._local, self._server = str(lease.address), plan.server or str(lease.boot_server)
        self.report.server = self._server
        if self._client is not None:
            self._client.close()
        if plan.http is not None:
            self._client = HttpClient(plan.profile, self._local)
        else:
            self._client = TftpClient(plan.profile, self._server, plan.tftp_port, self._local, self._meddler)
        return self._client

    def _asking(self) -> Boot:
        """Say what the firmware asks for, in its order."""
        plan = self.plan
        if plan.http is None:
            return firmware.boot(plan.profile, plan.serial, self._server, self._eeprom, plan.mac)
        key = plan.http.public or self._eeprom.public
        return http_boot.boot(plan.profile, self._server, plan.http.url(self._server, plan.serial), key)

    async def _dhcp(self, link: Link, stage: str, profile: Profile) -> Lease:
        plan = self.plan
        xid = secrets.randbits(32) if profile.xid is None else profile.xid
        timeout_s = profile.dhcp_timeout_s if plan.dhcp_timeout_s is None else plan.dhcp_timeout_s
        own = plan.server or (self._eeprom.server if is_address(self._eeprom.server) else "")
        tftp_ip = IPv4Address(own) if own else None
        dialogue = DhcpDialogue(profile, plan.serial, plan.mac, xid, timeout_s, tftp_ip)
        who = "DHCP" if profile is plan.profile else f"DHCP of {profile.name}"
        lease = await self._converse(link, stage, who, dialogue, checksum=profile.checksum)
        # A model that confirms no address was leased none.
        if profile.requests:
            self._leased[lease.address, lease.dhcp_server] = lease, xid
        return lease

    async def _converse(
        self, link: Link, stage: str, who: str, dialogue: DhcpDialogue | LinuxDialogue, *, checksum: bool
    ) -> Lease:
        """Speak DHCP until there is a lease, which is taken. Raises Stopped where there is none."""
        began = self.now()
        wakes = isinstance(dialogue, DhcpDialogue) and dialogue.profile.decides_after_s > 0
        progress = asyncio.Event()

        def say(messages: list[bytes]) -> None:
            for message in messages:
                self._meddle(Way.DHCP_SENT, message, partial(link.broadcast, message, checksum=checksum))

        def take(payload: bytes, source: str) -> None:
            say(dialogue.receive(payload, source, self.now()))
            progress.set()

        def heard(payload: bytes, source: str) -> None:
            if payload:
                self._meddle(Way.DHCP_HEARD, payload, partial(take, payload, source))
            elif wakes:
                take(payload, source)

        link.open(self.plan.mac, heard)
        say(dialogue.start(self.now()))
        while dialogue.lease is None and dialogue.cause is None:
            progress.clear()
            try:
                async with asyncio.timeout(max(0.001, dialogue.deadline - self.now())):
                    await progress.wait()
            except TimeoutError:
                say(dialogue.tick(self.now()))
        heard_text = "; ".join(dialogue.notes) or "no answer"
        self._step(stage, f"{who}: {heard_text}", ok=dialogue.lease is not None, began=began)
        if dialogue.lease is None:
            raise Stopped(stage, dialogue.cause or causes.no_address(boot_offer=False))
        await link.take(dialogue.lease)
        return dialogue.lease

    def _meddle(self, way: Way, datagram: bytes, then: Callable[[], None]) -> None:
        """Let a datagram go on, unless a fault has it otherwise."""
        for late_s in self._meddler.fate(way, datagram) if self._meddler is not None else (0.0,):
            if late_s:
                asyncio.get_running_loop().call_later(late_s, then)
            else:
                then()

    async def _firmware(self, client: TftpClient | HttpClient) -> Booted:
        profile = self.plan.profile
        boot = self._asking()
        stage, program, began = "", 0, self.now()
        try:
            ask = next(boot)
            while True:
                if ask.stage != stage:
                    self._stage_over(stage, began)
                    stage, began = ask.stage, self.now()
                if ask.program and not program and profile.loads is not None and self.plan.link is not None:
                    client = await self._address(stage, profile.loads)
                program = ask.program
                ask = boot.send(await self._file(client, ask))
        except StopIteration as end:
            self._stage_over(stage, began)
            booted: Booted = end.value
            return booted
        except Stopped as stop:
            self._step(stop.stage, stop.cause.what, ok=False, began=began)
            raise

    async def _file(self, client: TftpClient | HttpClient, ask: Ask) -> Fetched:
        began = self.now()
        fetched = await client.fetch(ask)
        ms = (self.now() - began) * 1000
        self._got(FileStep(ask.name, fetched.size, ms, str(fetched.result), ask.stage, ask.probe))
        return fetched

    def _got(self, file: FileStep) -> None:
        self.report.files.append(file)
        self._told(file)

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

    async def _linux(self, cmdline: bytes) -> None:
        """Go on as Linux: its own address where the plan says so, its seed, and that it is up."""
        plan = self.plan
        if plan.online and plan.link is not None and linux.asks_for_address(cmdline):
            xid = secrets.randbits(32)
            dialogue = LinuxDialogue(plan.mac, xid, plan.dhcp_timeout_s)
            lease = await self._converse(plan.link, "linux", "DHCP of Linux", dialogue, checksum=False)
            self._leased[lease.address, lease.dhcp_server] = lease, xid
            self._local = str(lease.address)
        await self._seed(cmdline)
        if plan.online:
            began = self.now()
            told = await online.tell(linux.phone_url(cmdline, plan.serial, self._server), self._local)
            self._step("online", told.what, ok=told.ok, began=began)

    async def _seed(self, cmdline: bytes) -> None:
        url = config_txt.seed_url(cmdline)
        if url is None:
            self.report.notes.append("cmdline.txt names no ds=nocloud address: no seed is asked for")
            return
        began = self.now()
        asked = await seed.ask(url, self._local, self._got)
        self._step("seed", asked.what, ok=asked.cause is None, began=began)
        if asked.cause is not None:
            raise Stopped("seed", asked.cause)

    def _step(self, stage: str, what: str, *, ok: bool, began: float) -> None:
        step = Step(stage, what, ok, (self.now() - began) * 1000)
        self.report.steps.append(step)
        self._told(step)


def is_address(text: str) -> bool:
    """Whether `text` is an IPv4 address, which is all that the firmware takes for a server."""
    try:
        IPv4Address(text)
    except ValueError:
        return False
    return True
