"""The TFTP server: takes read requests on the listening port and keeps the transfers that come of them.

Belongs here: admission (who gets a transfer, and what the others are told) and the one clock for all transfers.
Transfers are keyed by the client's address and port: a Pi's probe and its real transfer of the same file overlap.
"""

from __future__ import annotations

import asyncio
import errno
import os
from collections import Counter
from contextlib import suppress

from pinetboot.boot.names import BadName, normalise, printable
from pinetboot.boot.resolver import BootTree, Missing, NotServed, Refused
from pinetboot.config import Config, Tftp
from pinetboot.errors import OperatorError
from pinetboot.events import Outcome, PacketDropped, Sink, TransferEnded, TransferStarted
from pinetboot.net import udp
from pinetboot.net.addresses import Endpoint
from pinetboot.net.links import Links
from pinetboot.net.listening import Listeners, udp_sockets
from pinetboot.tftp import packet
from pinetboot.tftp.cache import ChunkCache
from pinetboot.tftp.grant import grant
from pinetboot.tftp.lookup import Found, Lookups
from pinetboot.tftp.packet import ErrorCode, MalformedPacket, Opcode, Request
from pinetboot.tftp.session import Session
from pinetboot.threads import Pool

_MIB = 1 << 20
_BURST = 64  # datagrams taken from the listener before other sockets get their turn
_SLOWEST_TICK_S = 0.25


class TftpServer:
    """Serves `tree` read-only. start() binds; stop() lets running transfers finish."""

    def __init__(self, config: Config, tree: BootTree, pool: Pool, sink: Sink) -> None:
        self._config: Tftp = config.tftp
        self._sink = sink
        self._lookups = Lookups(tree, pool)
        self.cache = ChunkCache(self._config.cache_mib * _MIB, pool)
        port = config.tftp.port
        self._listeners = Listeners(
            config.server.interfaces, lambda names: udp_sockets(port, names, "tftp.port", ipv6=True)
        )
        self._taking = False
        self._sessions: dict[Endpoint, Session] = {}
        self._per_address: Counter[str] = Counter()
        self._turn = 0
        self._ticker: asyncio.TimerHandle | None = None
        self._idle = asyncio.Event()

    def start(self, links: Links) -> None:
        """Bind and begin. Raises OperatorError."""
        self._taking = True
        faults = self.follow(links)
        if faults:
            self._close()
            raise faults[0]
        self._tick()

    def follow(self, links: Links) -> list[OperatorError]:
        """Listen where the interfaces that the settings name are now; returns why some of it cannot be."""
        if not self._taking:
            return []
        loop = asyncio.get_running_loop()
        followed = self._listeners.follow(links)
        for listener in followed.went:
            loop.remove_reader(listener.fileno())
            listener.close()
        for listener in followed.came:
            loop.add_reader(listener.fileno(), self._heard, listener)
        return followed.faults

    def _close(self) -> None:
        self._taking = False
        for listener in self._listeners.sockets:
            asyncio.get_running_loop().remove_reader(listener.fileno())
        self._listeners.close()

    def configure(self, config: Tftp) -> None:
        """Take limits and times that may change while running; they hold for new transfers."""
        self._config = config
        self.cache.limit_bytes = config.cache_mib * _MIB

    @property
    def transfers(self) -> int:
        """How many transfers are running."""
        return len(self._sessions)

    def under_way(self) -> list[tuple[str, int, int]]:
        """List the running transfers: the client's address and port, and the blksize."""
        return [(peer.host, peer.port, one.grant.content.blksize) for peer, one in self._sessions.items()]

    async def stop(self, within_s: float) -> None:
        """Take no more requests, wait for the running transfers, then end those that are left."""
        self._close()
        self._lookups.forget_all()
        if self._sessions and within_s > 0:
            self._idle.clear()
            with suppress(TimeoutError):
                await asyncio.wait_for(self._idle.wait(), within_s)
        for session in list(self._sessions.values()):
            session.stop("the server is stopping", Outcome.STOPPED)
        if self._ticker is not None:
            self._ticker.cancel()

    def now(self) -> float:
        """The loop's time, read once per turn of the loop."""
        return asyncio.get_running_loop().time()

    def ended(self, session: Session, outcome: Outcome, why: str) -> None:
        """Forget a session whose socket is closed."""
        peer = session.client.origin.peer
        if self._sessions.get(peer) is session:
            del self._sessions[peer]
            self._leave(peer)
        self._sink(
            TransferEnded(
                client=peer.host,
                port=peer.port,
                server=session.client.origin.local,
                path=session.grant.path,
                outcome=outcome,
                size=session.grant.content.size,
                sent_bytes=session.grant.content.size if outcome is Outcome.SENT else session.sent_bytes,
                seconds=self.now() - session.started_at,
                retransmissions=session.transfer.retransmissions,
                why=why,
                repeats=session.transfer.repeats,
            )
        )
        if not self._sessions:
            self._idle.set()

    def malformed(self, client: str, why: str) -> None:
        """Count a datagram that broke the protocol."""
        self._sink(PacketDropped("tftp", client, why))

    def _heard(self, listener: udp.Socket) -> None:
        for _ in range(_BURST):
            try:
                datagram = udp.receive(listener)
            except OSError:
                # An ICMP error for one of our answers is told here; it concerns no running transfer.
                continue
            if datagram is None:
                return
            self.request(datagram)

    def request(self, datagram: udp.Datagram) -> None:
        """Take a datagram that belongs to no transfer: a request is granted or refused, all else is dropped."""
        if not self._taking:
            return  # stopping: what still comes in on the sockets of transfers begins no new one
        try:
            heard = packet.parse(datagram.payload)
        except MalformedPacket as error:
            self.malformed(str(datagram.peer), error.message)
            if error.code is not None:
                self._answer(datagram, error.code, error.message)
            return
        if not isinstance(heard, Request):
            # A late ACK or ERROR of a transfer that is over: RFC 1350 would have an ERROR 5, which some firmware
            # takes for its next transfer.
            return
        self._requested(datagram, heard)

    def _requested(self, datagram: udp.Datagram, request: Request) -> None:
        named = os.fsdecode(request.filename)
        if request.opcode == Opcode.WRQ:
            why = "this server is read-only"
            self._refuse(datagram, named, Outcome.REFUSED, ErrorCode.ACCESS_VIOLATION, why)
            return
        if request.mode not in {"octet", "netascii"}:
            why = f"mode {printable(request.mode)[:20]} is not known; octet and netascii are"
            self._refuse(datagram, named, Outcome.REFUSED, ErrorCode.ILLEGAL_OPERATION, why)
            return
        try:
            path = normalise(request.filename)
        except BadName as error:
            self._refuse(datagram, named, Outcome.REFUSED, ErrorCode.ACCESS_VIOLATION, str(error))
            return
        if self._repeated(datagram, request):
            return
        if why := self._full(datagram.peer):
            self._refuse(datagram, path, Outcome.REFUSED, ErrorCode.NOT_DEFINED, why)
            return
        try:
            found = self._lookups.at_once(request, path)
            if found is None:
                self._lookups.begin(
                    datagram.peer, request, path, lambda found: self._answered(datagram, request, path, found)
                )
        except NotServed as refusal:
            self._not_served(datagram, path, refusal)
            return
        if found is None:
            self._per_address[datagram.peer.host] += 1
        else:
            self._grant(datagram, request, path, found)

    def _repeated(self, datagram: udp.Datagram, request: Request) -> bool:
        """Handle a request from a port that already has one. True when that was all."""
        awaited = self._lookups.waits_for(datagram.peer)
        if awaited == request:
            return True
        if awaited is not None:
            self._lookups.forget(datagram.peer)
            self._leave(datagram.peer)
        session = self._sessions.get(datagram.peer)
        if session is not None:
            session.hear_out()
            session = self._sessions.get(datagram.peer)
        if session is None or session.closed:
            return False
        if session.grant.request == request and not session.abandoned():
            session.asked_again()
            return True
        # Ports restart with each boot stage of a Pi (reference 3.2): the client has forgotten the old transfer.
        session.end(Outcome.REPLACED, "the client asked for something else from the same port")
        return False

    def _full(self, peer: Endpoint) -> str:
        if len(self._sessions) + len(self._lookups) >= self._config.max_transfers:
            return "too many transfers are running, try again"
        if self._per_address[peer.host] >= self._config.max_transfers_per_address:
            return "too many transfers to this address are running, try again"
        return ""

    def _answered(self, datagram: udp.Datagram, request: Request, path: str, found: Found | NotServed) -> None:
        self._leave(datagram.peer)
        if isinstance(found, Found):
            self._grant(datagram, request, path, found)
        else:
            self._not_served(datagram, path, found)

    def _grant(self, datagram: udp.Datagram, request: Request, path: str, found: Found) -> None:
        try:
            sock = self._transfer_socket(datagram)
        except OSError as error:
            why = "no data port is free" if error.errno == errno.EADDRINUSE else f"no socket: {error.strerror}"
            outcome = Outcome.HOMELESS if error.errno == errno.EADDRNOTAVAIL else Outcome.FAILED
            self._refuse(datagram, path, outcome, ErrorCode.NOT_DEFINED, why)
            return
        strays = udp.drain(sock)
        session = Session(self, sock, datagram, grant(self._config, sock, request, path, found))
        self._sessions[datagram.peer] = session
        self._per_address[datagram.peer.host] += 1
        self._sink(
            TransferStarted(
                client=datagram.peer.host,
                port=datagram.peer.port,
                server=datagram.local,
                path=path,
                size=session.grant.content.size,
                blksize=session.grant.content.blksize,
                windowsize=session.transfer.windowsize,
            )
        )
        session.start()
        for payload, peer in strays:
            self.request(udp.Datagram(payload, peer, datagram.local, datagram.interface, datagram.local))

    def _transfer_socket(self, datagram: udp.Datagram) -> udp.Socket:
        ports = self._config.port_range
        if ports is None:
            return udp.connected(datagram.peer, local=datagram.local, port=0)
        self._turn += 1
        return udp.connected_in(ports, self._turn, datagram.peer, local=datagram.local)

    def _leave(self, peer: Endpoint) -> None:
        self._per_address[peer.host] -= 1
        if not self._per_address[peer.host]:
            del self._per_address[peer.host]

    def _not_served(self, datagram: udp.Datagram, path: str, refusal: NotServed) -> None:
        if isinstance(refusal, Missing):
            self._refuse(datagram, path, Outcome.MISSING, ErrorCode.FILE_NOT_FOUND, str(refusal))
        elif isinstance(refusal, Refused):
            self._refuse(datagram, path, Outcome.REFUSED, ErrorCode.ACCESS_VIOLATION, str(refusal))
        else:
            self._refuse(datagram, path, Outcome.FAILED, ErrorCode.NOT_DEFINED, str(refusal))

    def _refuse(self, datagram: udp.Datagram, path: str, outcome: Outcome, code: ErrorCode, why: str) -> None:
        self._answer(datagram, code, why)
        self._sink(
            TransferEnded(
                client=datagram.peer.host,
                port=datagram.peer.port,
                server=datagram.local,
                path=path,
                outcome=outcome,
                why=why,
            )
        )

    def _answer(self, datagram: udp.Datagram, code: ErrorCode, message: str) -> None:
        answer = packet.encode_error(code, message)
        for listener in self._listeners.sockets:
            if (listener.family == udp.IPV6) != datagram.peer.is_ipv6:
                continue
            # A listener that is bound to another device refuses; the next one is tried.
            with suppress(OSError):
                udp.send(listener, answer, datagram.peer, local=datagram.local, interface=datagram.interface)
                return

    def _tick(self) -> None:
        now = self.now()
        for session in list(self._sessions.values()):
            if not session.closed:
                session.tick(now)
        interval_s = min(_SLOWEST_TICK_S, max(self._config.timeout_s / 8, 0.002))
        self._ticker = asyncio.get_running_loop().call_later(interval_s, self._tick)
