"""How far each Pi's boots came, from what the servers saw (design 2.6).

Belongs here: which event begins a boot, which moves it on, when it is through, and when it stands still. Why it stands
is decided in `causes`. Time is an argument, seconds that only rise. Bounded: anyone on the network can add to it.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Collection
from itertools import pairwise
from typing import Final

from pinetboot.events import (
    BootStalled,
    DhcpHeard,
    Event,
    HttpServed,
    Outcome,
    PhonedHome,
    PiOnline,
    RootMounted,
    TransferEnded,
    TransferStarted,
)
from pinetboot.observe import silence
from pinetboot.observe.boot import Boot, begun, only_a_look
from pinetboot.observe.bounds import spare_members
from pinetboot.observe.evidence import LATE_S, Evidence
from pinetboot.observe.files import bound
from pinetboot.observe.outlook import Outlook
from pinetboot.observe.stages import (
    FIRMWARE,
    KERNEL,
    LINUX,
    ONLINE,
    OPENING,
    ROOT,
    SEED,
    SEEN,
    STAGES,
    of_file,
    over_http,
)

MOST_PIS: Final = 1024
MOST_BOOTS: Final = 20
# After so much silence the next sign is another boot, no other attempt of this one.
LONG_SILENCE_S: Final = 600.0
_SENT: Final = frozenset({Outcome.SENT, Outcome.UNCONFIRMED})
_NOTHING: Final = Evidence()


class Timeline:
    """At most 1024 Pis beside those of the fleet, with 20 boots each; those that began a boot last stay.

    `members` gives the serials of the fleet. `changed` are those whose boots are to be kept anew, `kept` those of whom
    there is something kept; whoever keeps them asks with take_changed().
    """

    def __init__(self, members: Callable[[], Collection[str]] = tuple) -> None:
        self._members = members
        self._boots: OrderedDict[str, list[Boot]] = OrderedDict()
        self._running: dict[str, Boot] = {}
        self.changed: set[str] = set()
        self.kept: set[str] = set()

    def boots(self, serial: str) -> list[Boot]:
        """The boots of a Pi, the latest last. All but that one stay as they are for good."""
        return list(self._boots.get(serial, ()))

    def latest(self, serial: str) -> Boot | None:
        """The latest boot of a Pi."""
        boots = self._boots.get(serial)
        return boots[-1] if boots else None

    def running(self) -> list[str]:
        """The serials of Pis whose boot is not through."""
        return list(self._running)

    def take_changed(self, most: int) -> dict[str, list[Boot]]:
        """Give what is to be kept anew, members first; without any boot a Pi is to be forgotten. It counts as kept."""
        members = self._members()
        chosen = sorted(self.changed, key=lambda serial: serial not in members)[:most]
        self.changed.difference_update(chosen)
        taken = {serial: self.boots(serial) for serial in chosen}
        for serial, boots in taken.items():
            (self.kept.add if boots else self.kept.discard)(serial)
        return taken

    def restore(self, serial: str, kept: list[Boot], now: float) -> None:
        """Take the boots, at least one, that an earlier run kept of a Pi that nothing was seen of yet."""
        self._boots[serial] = kept = kept[-MOST_BOOTS:]
        for before, boot in pairwise(kept):
            boot.number = max(boot.number, before.number + 1)
        self.kept.add(serial)
        if kept[-1].ended is None:
            kept[-1].resumed = now
            self._running[serial] = kept[-1]
        self._bound()

    def take(self, event: Event, serial: str, now: float) -> PiOnline | None:
        """Take what was seen of a Pi. Returns that it is online, when that is what it tells."""
        if isinstance(event, TransferEnded):
            self._transfer_ended(event, serial, now)
        elif isinstance(event, TransferStarted):
            name = event.path[event.path.rfind("/") + 1 :]
            boot = self._asked(serial, name, of_file(name, True), now)
            if boot is not None:
                boot.evidence.starts(event, name, now)
        elif isinstance(event, DhcpHeard):
            self._dhcp(event, serial, now)
        elif isinstance(event, HttpServed):
            self._http(event, serial, now)
        elif isinstance(event, RootMounted):
            boot = self._running.get(serial)
            if boot is None and serial not in self._boots:
                boot = self._begin(serial, ROOT, now)
            if boot is not None:
                boot.generation = event.generation
                boot.evidence.mounted(event.client)
                self._enter(serial, boot, ROOT, now)
        elif isinstance(event, PhonedHome):
            return self._phoned(serial, now)
        return None

    def due(self, now: float) -> list[str]:
        """List the Pis of which tick() would give a verdict."""
        due = (serial for serial, boot in self._running.items() if silence.is_due(boot, now))
        return [serial for serial in due if self._running[serial].stage < ROOT or self._phones(serial)]

    def tick(self, now: float, outlook: Callable[[str], Outlook]) -> list[PiOnline | BootStalled]:
        """Look at every boot that is not through; returns those that are online by now, and those that stalled."""
        told = (self._judged(serial, boot, outlook, now) for serial, boot in list(self._running.items()))
        return [event for event in told if event is not None]

    # What the firmware asks for. A rack of Pis asks ten thousand times a second: this way is kept short.

    def _transfer_ended(self, event: TransferEnded, serial: str, now: float) -> None:
        path, outcome = event.path, event.outcome
        name = path[path.rfind("/") + 1 :]
        if outcome is Outcome.MISSING:
            boot = self._asked(serial, name, of_file(name, False), now)
            if boot is not None:
                boot.evidence.lacks(name)
                boot.files.take(event, serial, boot.stage, now - boot.started)
            return
        boot = self._running.get(serial)
        if boot is None:
            return
        boot.last = now
        boot.retransmissions += event.retransmissions
        boot.files.take(event, serial, boot.stage, now - boot.started)
        if outcome in _SENT:
            boot.spans[boot.stage].size += event.size
        boot.evidence.ends(event, name)

    def _asked(self, serial: str, name: str, stage: int, now: float, *, opens: bool = False) -> Boot | None:
        """Take a request for a file, which `opens` an attempt; the boot it belongs to, None where to none."""
        boot = self._running.get(serial)
        if boot is None or boot.stage > KERNEL:
            if stage == FIRMWARE or serial not in self._boots:
                return self._start(serial, stage, now)
            return None
        if now - boot.last >= LATE_S and boot.stage >= FIRMWARE:
            boot.evidence.waited(name, now - boot.last)
        if stage > boot.stage:
            self._enter(serial, boot, stage, now)
        elif boot.stage == KERNEL and (opens or name in OPENING):
            return self._start(serial, stage, now)
        else:
            boot.last = now
        return boot

    # What begins, moves and ends a boot.

    def _start(self, serial: str, stage: int, now: float) -> Boot:
        """Take the firmware's first sign: another attempt of a boot that did not get to its root, else a new one."""
        boot = self._running.get(serial)
        if boot is None or boot.stage > LINUX or now - boot.last > LONG_SILENCE_S:
            return self._begin(serial, stage, now)
        boot.again(stage, now)
        if boot.attempts < silence.LOOP:
            boot.stalled, boot.cause = False, None
        self.changed.add(serial)
        return boot

    def _begin(self, serial: str, stage: int, now: float) -> Boot:
        old = self._running.get(serial)
        if old is not None:
            old.settle()
            old.ended, old.evidence, old.before = old.last, _NOTHING, None
            old.files.pack()
        boots = self._boots.setdefault(serial, [])
        boot = begun(stage, now, boots[-1].number + 1 if boots else 1)
        boots.append(boot)
        del boots[:-MOST_BOOTS]
        bound(past.files for past in reversed(boots))
        self._boots.move_to_end(serial)
        self._running[serial] = boot
        self.changed.add(serial)
        self._bound()
        return boot

    def _bound(self) -> None:
        for serial in spare_members(self._boots, self._members(), MOST_PIS):
            self._running.pop(serial, None)
            if serial in self.kept:
                self.changed.add(serial)
            else:
                self.changed.discard(serial)

    def _enter(self, serial: str, boot: Boot, stage: int, now: float) -> None:
        boot.enter(stage, now)
        self.changed.add(serial)
        if boot.stalled and boot.stage > boot.stuck:
            boot.stalled, boot.cause = False, None

    def _online(self, serial: str, boot: Boot, now: float) -> PiOnline:
        self._enter(serial, boot, ONLINE, now)
        boot.ended, boot.stalled, boot.cause = now, False, None
        boot.evidence, boot.before = _NOTHING, None
        boot.files.pack()
        self._running.pop(serial, None)
        return PiOnline(serial, boot.seconds)

    # What else was seen.

    def _dhcp(self, event: DhcpHeard, serial: str, now: float) -> None:
        """Tell the firmware's DHCP from Linux's, which says nothing of PXE and of no model (reference 2.9)."""
        boot = self._running.get(serial)
        firmware = event.model is not None or event.serial is not None
        if event.kind == "DISCOVER" and firmware:
            if event.answered is not None:
                self._discover(event, serial, now)
        elif boot is None:
            return
        elif event.kind == "DISCOVER" and boot.stage >= KERNEL:
            self._enter(serial, boot, max(LINUX, boot.stage), now)
        elif event.kind == "REQUEST" and (boot.stage == SEEN or boot.stage >= KERNEL):
            boot.evidence.hears_request(event, linux=boot.stage != SEEN)

    def _discover(self, event: DhcpHeard, serial: str, now: float) -> None:
        boot = self._running.get(serial)
        goes_on = boot is not None and now - boot.last <= LONG_SILENCE_S and boot.may_discover
        if boot is None or not goes_on:
            boot = self._start(serial, SEEN, now)
        boot.last = now
        boot.evidence.hears_discover(event, now)

    def _http(self, event: HttpServed, serial: str, now: float) -> None:
        if event.kind == "boot":
            name = event.path[event.path.rfind("/") + 1 :]
            # HTTP boot asks for nothing else (reference 4.4); all else is fetched by people.
            stage = over_http(name, event.status)
            boot = self._asked(serial, name, stage, now, opens=name == "boot.sig") if stage is not None else None
            if boot is not None:
                boot.evidence.boots_by_http(event, name)
                boot.files.take_http(event, boot.stage, now - boot.started)
                boot.spans[boot.stage].size += event.sent_bytes
            return
        boot = self._running.get(serial)
        if boot is None or event.kind != "seed":
            return
        boot.files.take_http(event, SEED, now - boot.started)
        if event.status == 200:  # noqa: PLR2004 - HTTP
            self._enter(serial, boot, SEED, now)
            boot.spans[SEED].size += event.sent_bytes
        elif event.status in {403, 404, 500, 503}:
            boot.evidence.seed_refused(event)

    def foreign_root(self, serial: str, event: RootMounted) -> bool:
        """Take it that the Pi `serial` may have mounted the root of another; says whether it did, as far as is seen."""
        boot = self._running.get(serial)
        if boot is None or boot.evidence.address != event.client or boot.evidence.root_at:
            return False
        boot.evidence.mounts = (event.serial, event.client)
        return True

    def _phoned(self, serial: str, now: float) -> PiOnline | None:
        boot = self._running.get(serial)
        if boot is None:
            boots = self._boots.get(serial)
            if boots and boots[-1].stage == ONLINE:
                boots[-1].last, boots[-1].phoned = now, True
                return None
            boot = self._begin(serial, ONLINE, now)
        boot.phoned = True
        return self._online(serial, boot, now)

    # What silence tells.

    def _judged(
        self, serial: str, boot: Boot, outlook: Callable[[str], Outlook], now: float
    ) -> PiOnline | BootStalled | None:
        if not silence.is_due(boot, now):
            return None
        known, phones = outlook(serial), self._phones(serial)
        if silence.waits(serial, boot, known, now, phones=phones):
            return None
        if only_a_look(self._boots[serial]):
            self._boots[serial].pop()
            del self._running[serial]
            self.changed.add(serial)
            return None
        stands = silence.verdict(serial, boot, known, now, phones=phones)
        boot.warnings = silence.warnings(serial, boot, known)
        if stands is None:
            return self._online(serial, boot, now)
        boot.stalled, boot.cause, boot.stuck = True, stands.cause, stands.stage
        self.changed.add(serial)
        told = (STAGES[stands.stage], stands.cause.what if stands.cause else "")
        if told == boot.told:
            return None
        boot.told = told
        return BootStalled(serial, STAGES[stands.stage], stands.cause)

    def _phones(self, serial: str) -> bool:
        """Whether a Pi said itself that it was up, in one boot or another."""
        return any(past.phoned for past in self._boots[serial])
