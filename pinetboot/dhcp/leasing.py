"""The DHCP server of a LAN of its own, `dhcp.mode = "server"`: leases from a range, and with them the way to boot.

Belongs here: the order of things. What is answered is decided in `serving`. Before an answer leaves, an address that is
new to its client was asked for by ARP, and a lease is on disk.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Final

from pinetboot.config import Config
from pinetboot.dhcp import neighbours, place, serving, telling
from pinetboot.dhcp.events import DhcpTold, LeaseEnded, LeaseGranted, LeaseRefused
from pinetboot.dhcp.keeping import Keeping
from pinetboot.dhcp.lease import Lease
from pinetboot.dhcp.lease_file import LeaseFile
from pinetboot.dhcp.leases import Leases
from pinetboot.dhcp.machines import Machines
from pinetboot.dhcp.offer import Ignored
from pinetboot.dhcp.options import Option
from pinetboot.dhcp.packet import BOOTREQUEST, ZERO
from pinetboot.dhcp.people import People
from pinetboot.dhcp.place import Place
from pinetboot.dhcp.port import Heard, Port
from pinetboot.dhcp.serving import Answer, Noted
from pinetboot.errors import OperatorError
from pinetboot.events import Sink
from pinetboot.net.addresses import format_mac
from pinetboot.net.arp import Prober
from pinetboot.net.links import Links
from pinetboot.threads import Pool

# So many addresses in a row that are in use without a lease are passed over for one DISCOVER.
_MOST_IN_USE: Final = 8
_READ_AGAIN_S: Final = 5.0
_AUTO: Final = "auto"


class LeaseServer:
    """Answers every DHCP client of one network. `links` gives the interfaces as they are now.

    `may_write` is called in a thread before leases are written, and raises OSError where they are another host's.
    """

    def __init__(
        self,
        config: Config,
        links: Callable[[], Links],
        pool: Pool,
        people: People,
        sink: Sink,
        *,
        machines: Machines,
        may_write: Callable[[], None] = lambda: None,
    ) -> None:
        self._config = config
        self._links = links
        self._people = people
        self._machines = machines
        self._sink = sink
        self._port = Port(config.dhcp.port, config.server.interfaces, links, self._take, sink)
        file = LeaseFile(config.data / "state" / "leases.json")
        self._keeping = Keeping(file, pool, sink, may_write)
        self._prober = Prober()
        self._leases: Leases | None = None
        self._place: Place | None = None
        self._looked_at: tuple[Links, Config] | None = None
        self._why_not = ""
        self._reading: asyncio.Task[None] | None = None
        self._later: set[asyncio.TimerHandle] = set()

    async def start(self) -> None:
        """Look at the network, take the leases back and begin. Raises OperatorError."""
        found = place.find(self._config, self._links())
        if not self._config.dhcp.allow_other_server:
            await self._refuse_beside_another(found)
        await self._read(found)
        self._port.start()
        try:
            self._prober.open()
        except OSError as error:
            why = f"addresses are given without asking by ARP who has them: {error.strerror}"
            self._sink(DhcpTold(well=False, what=why))

    def configure(self, config: Config) -> None:
        """Take what may change while running; where that does not fit the network, what counted before stays."""
        try:
            place.find(config, self._links())
        except OperatorError as error:
            self._sink(DhcpTold(well=False, what=f"the settings of DHCP stay as they were: {error.what}"))
            return
        self._config = config

    def look(self) -> None:
        """Look at the interfaces anew, so that whoever asks next need not wait for what follows from a change."""
        if self._looked_at is not None:
            self._where()

    def stop(self) -> None:
        """Leave the port; answers that were still to come are dropped."""
        for handle in self._later:
            handle.cancel()
        self._later.clear()
        if self._reading is not None:
            self._reading.cancel()
        self._prober.close()
        self._port.stop()
        self._keeping.stop()

    @property
    def how(self) -> str:
        """What to tell people: the port, the interface, the range, and how much of it is leased."""
        found = self._where()
        leased = self._leases.valid(time.time()) if self._leases else 0
        on = found.link.name if found else "no interface now"
        return f"{self._port.how} on {on}, leases {self._config.dhcp.range} ({leased} leased)"

    async def _refuse_beside_another(self, found: Place) -> None:
        try:
            others = await neighbours.find(found.link, timeout_s=neighbours.PATIENCE_S, port=self._config.dhcp.port)
        except OperatorError as error:
            what = f"whether another DHCP server answers on {found.link.name} is not known: {error.what}"
            self._sink(DhcpTold(well=False, what=what))
            return
        for other in others:
            if other.offered is not None:
                raise OperatorError(
                    f"another DHCP server, {other.server}, answers on {found.link.name}: it offers {other.offered.ip}",
                    'Set dhcp.mode = "proxy" to boot beside it, stop it, or set dhcp.allow_other_server = true.',
                )

    async def _read(self, found: Place) -> None:
        leases = Leases(found.range)
        for lease in await self._keeping.read():
            leases.restore(lease)
        self._leases = leases
        self._place = None
        self._where(anew=True)

    # Where it stands.

    def _where(self, *, anew: bool = False) -> Place | None:
        """The network that is served, as interfaces and settings are now; None while there is none."""
        links, config = now = (self._links(), self._config)
        looked_at = self._looked_at
        if not anew and looked_at is not None and looked_at[0] is links and looked_at[1] is config:
            return self._place
        self._looked_at = now
        before = self._place
        try:
            found, why_not = self._with_machines(place.find(config, links)), ""
        except OperatorError as error:
            found, why_not = None, error.what
        standby = found is not None and config.server.address != _AUTO and not links.holds(found.ground.address)
        if found is not None and standby:
            found, why_not = None, f"{config.server.address} is not on this host"
        if why_not != self._why_not:
            what = f"no address is leased now: {why_not}" if why_not else "addresses are leased again"
            self._sink(DhcpTold(well=standby or not why_not, what=what))
            if found is not None:
                self._read_again(found)
        self._why_not, self._place = why_not, found
        if found is not None and (before is None or before.range != found.range):
            self._arrange(found)
        return found

    def _with_machines(self, found: Place) -> Place:
        proxy = replace(found.ground.proxy, pxe=self._machines.pxe)
        return replace(found, ground=replace(found.ground, proxy=proxy))

    def _read_again(self, found: Place) -> None:
        """Take the leases anew: meanwhile another host may have been the one that serves from this data directory."""
        self._leases = None
        if self._reading is not None:
            self._reading.cancel()
        self._reading = asyncio.get_running_loop().create_task(self._read_at_last(found))

    async def _read_at_last(self, found: Place) -> None:
        while True:
            try:
                await self._read(found)
            except OperatorError as error:
                self._sink(DhcpTold(well=False, what=f"no address is leased now: {error.what}"))
                await asyncio.sleep(_READ_AGAIN_S)
            else:
                return

    def _arrange(self, found: Place) -> None:
        if self._leases is not None:
            self._leases.configure(found.range, self._people.reserved(found.range.network))

    # What is heard.

    def _take(self, heard: Heard) -> None:
        message = heard.message
        if message.op != BOOTREQUEST:
            return
        found, leases = self._where(), self._leases
        if found is None or leases is None:
            self._tell(heard, Ignored(self._why_not or "the leases are being read"))
            return
        if heard.link.index != found.link.index and message.giaddr == ZERO:
            self._tell(heard, Ignored(f"dhcp.range is of the network of {found.link.name}"))
            return
        if self._people.changed():
            self._arrange(found)
        decided = serving.decide(message, leases, found.ground, self._people.known, time.time())
        self._tell(heard, decided)
        changed = leases.take_changed().values()
        if isinstance(decided, Noted):
            self._keeping.keep(changed)
            address = str(decided.lease.address)
            self._sink(LeaseEnded(format_mac(message.mac), address, found.link.name, decided.what))
        elif isinstance(decided, Answer):
            if decided.lease is None:
                self._send(decided, found)
                if decided.refuses:
                    address = str(message.requested or message.ciaddr)
                    self._sink(LeaseRefused(format_mac(message.mac), address, found.link.name))
            elif decided.grants:
                self._keeping.keep(changed, partial(self._grant, decided, decided.lease, heard, found))
            else:
                self._keeping.keep(changed)
                self._offer(decided, decided.lease, heard, found, _MOST_IN_USE)

    def _offer(self, answer: Answer, lease: Lease, heard: Heard, found: Place, tries: int) -> None:
        """Offer an address, asked for by ARP before where it is new to this client."""
        if lease.probed or not self._prober.ready:
            self._send(answer, found)
        elif not self._prober.asks(lease.address):  # else its client asks again before it could be answered
            asked = partial(self._probed, answer, lease, heard, found, tries, time.monotonic())
            self._prober.ask(found.link, lease.address, asked)

    def _probed(  # noqa: PLR0917 - all that an answer goes back with
        self, answer: Answer, lease: Lease, heard: Heard, found: Place, tries: int, began: float, mac: bytes | None
    ) -> None:
        leases, message = self._leases, heard.message
        if mac is None or mac == message.mac or leases is None:
            lease.probed = True
            waited_s = time.monotonic() - began
            delays_s = [max(0.0, delay_s - waited_s) for delay_s in answer.delays_s]
            self._send(replace(answer, delays_s=delays_s), found)
            return
        now, who = time.time(), format_mac(mac)
        leases.in_use(lease.address, who, now)
        self._sink(LeaseEnded(who, str(lease.address), found.link.name, "in use without a lease"))
        again = serving.decide(message, leases, found.ground, self._people.known, now) if tries else None
        self._keeping.keep(leases.take_changed().values())
        if isinstance(again, Answer) and again.lease is not None:
            self._offer(again, again.lease, heard, found, tries - 1)

    def _grant(self, answer: Answer, lease: Lease, heard: Heard, found: Place) -> None:
        """Tell a client of a lease that is on disk."""
        self._send(answer, found)
        address, network = str(answer.message.yiaddr), found.range.network
        fault = self._people.missed(lease, network)
        if fault is not None:
            self._sink(fault)
        mac = format_mac(heard.message.mac)
        renewed = heard.message.ciaddr != ZERO
        self._sink(LeaseGranted(mac, address, found.link.name, lease.serial, lease.hostname, renewed))

    def _send(self, answer: Answer, found: Place) -> None:
        for delay_s in answer.delays_s:
            if delay_s:
                self._send_later(delay_s, answer, found)
            else:
                self._port.answer(answer.message, found.link, found.ground.address)

    def _send_later(self, delay_s: float, answer: Answer, found: Place) -> None:
        def send() -> None:
            self._later.discard(handle)
            self._port.answer(answer.message, found.link, found.ground.address)

        handle = asyncio.get_running_loop().call_later(delay_s, send)
        self._later.add(handle)

    def _tell(self, heard: Heard, decided: Answer | Noted | Ignored) -> None:
        if isinstance(decided, Ignored):
            telling.tell(self._sink, heard, decided.pi, why=decided.why)
        elif isinstance(decided, Noted) or decided.refuses:
            telling.tell(self._sink, heard, None, why="refused" if isinstance(decided, Answer) else decided.what)
        else:
            answered = decided.message.address(Option.SERVER_IDENTIFIER)
            self._machines.lacks(decided.lacks, f"boot/{decided.lacks} is not there")
            telling.tell(self._sink, heard, decided.pi, machine=decided.machine, answered=str(answered))
