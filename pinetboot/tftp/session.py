"""One transfer on its own connected socket: what the client sends, and the Transfer's answers to it.

Belongs here: taking what the client sends, and waiting for storage or room. What to send is the Transfer's to say. In
lock-step it leases a run of blocks: the common case is one comparison (received against the ACK expected) and one send.
"""

from __future__ import annotations

import asyncio
from typing import Protocol

from pinetboot.boot.names import place
from pinetboot.events import Outcome
from pinetboot.net import udp
from pinetboot.tftp import packet
from pinetboot.tftp.cache import ChunkCache
from pinetboot.tftp.client import MAX_INCOMING, ClientSocket
from pinetboot.tftp.content import Chunk
from pinetboot.tftp.grant import Grant
from pinetboot.tftp.outlet import Fate, Outlet, fate_of
from pinetboot.tftp.packet import ErrorCode, MalformedPacket, Request
from pinetboot.tftp.supply import Supply, Unavailable
from pinetboot.tftp.transfer import PAUSE_S, Rest, Send, Step

_WAITING = 16  # datagrams, more than a client in lock-step or with windows has under way


class Owner(Protocol):
    """What a session needs of the server it belongs to."""

    cache: ChunkCache

    def ended(self, session: Session, outcome: Outcome, why: str) -> None:
        """The session is over; its socket is closed."""

    def request(self, datagram: udp.Datagram) -> None:
        """A datagram that asks for something else came in on the session's socket."""

    def malformed(self, client: str, why: str) -> None:
        """A datagram on the session's socket broke the protocol."""


class Session:
    """A running transfer. start() sends the first packet; from then on it lives by its socket and by tick()."""

    __slots__ = (
        "_acks",
        "_blocked",
        "_chunk",
        "_expected",
        "_index",
        "_loop",
        "_outlet",
        "_owner",
        "_packets",
        "_pause_runs",
        "_recv",
        "_send",
        "_supply",
        "client",
        "closed",
        "grant",
        "started_at",
        "transfer",
    )

    def __init__(self, owner: Owner, sock: udp.Socket, origin: udp.Datagram, grant: Grant) -> None:
        self._owner = owner
        self._loop = asyncio.get_running_loop()
        self.client = ClientSocket(sock, origin, owner.request)
        self._send = sock.send
        self._recv = sock.recv
        content = grant.content
        self._outlet = Outlet(sock, content.stride, cut=not content.lock_step)
        self._supply = Supply(content, owner.cache, place(grant.path))
        self.grant = grant
        self.transfer = grant.transfer
        self.closed = False
        self.started_at = self._loop.time()
        self._chunk: Chunk | None = None
        self._packets: list[bytes] = []
        self._acks: list[bytes | None] = []
        # In lock-step on a lease: the ACK that sends _packets[_index] next; None while there is no lease.
        self._expected: bytes | None = None
        self._index = 0
        self._pause_runs = False
        self._blocked: Send | None = None

    @property
    def sent_bytes(self) -> int:
        """Bytes of the file that the client has acknowledged."""
        self._catch_up()
        return min(max(self.transfer.acked, 0) * self.grant.content.blksize, self.grant.content.size)

    def start(self) -> None:
        """Send the OACK or the first block, and fetch what comes next."""
        self._loop.add_reader(self.client.sock, self._first_readable)
        self._do(self.transfer.start(self._loop.time()))
        if self.grant.oack and not self.closed:
            self._supply.read_ahead(1)

    def asked_again(self) -> None:
        """Take the same request once more from the same port."""
        self._catch_up()
        self._do(self.transfer.asked_again(self._loop.time()))

    def hear_out(self) -> None:
        """Take what waits in the socket; it may be the last ACK of a client that has gone on to its next request."""
        for _ in range(_WAITING):
            heard = None if self.closed else self._take()
            if heard is None:
                return
            self._unexpected(heard)

    def abandoned(self) -> bool:
        """Whether the client was served and then not heard for a while: the same request is a new one then."""
        self._catch_up()
        return self.transfer.acked > 0 and self.transfer.silent_since(self._loop.time())

    def tick(self, now: float) -> None:
        """Look at the time."""
        self._catch_up()
        if self._supply.silent(now):
            self.stop("the storage does not answer", Outcome.FAILED)
        elif self._blocked is not None:
            self._go_on()
        elif now >= self.transfer.deadline and not self._supply.waiting:
            self._do(self.transfer.tick(now))

    def stop(self, message: str, outcome: Outcome) -> None:
        """End the transfer from our side, telling the client."""
        if not self.closed:
            self._outlet.error(packet.encode_error(ErrorCode.NOT_DEFINED, message))
            self.end(outcome, message)

    def end(self, outcome: Outcome, why: str = "") -> None:
        """Close the socket and leave."""
        if self.closed:
            return
        self._catch_up()
        self.closed = True
        self._expected = None
        self.client.close()
        self._chunk = None
        self._packets = []
        self._owner.ended(self, outcome, why)

    def _first_readable(self) -> None:
        """Receive until the client is heard for the first time; from there on nobody need look at the sender."""
        heard = self._take()
        if heard is not None:
            self._loop.add_reader(self.client.sock, self._readable)
            self._unexpected(heard)

    def _take(self) -> bytes | None:
        try:
            return self.client.receive()
        except OSError as error:
            self._happened(fate_of(error))
            return None

    def _readable(self) -> None:
        try:
            datagram = self._recv(MAX_INCOMING)
        except OSError as error:
            self._happened(fate_of(error))
            return
        if datagram == self._expected:
            index = self._index
            try:
                self._send(self._packets[index])
            except OSError as error:
                self._leave_lease(error, index)
                return
            self._expected = self._acks[index]
            self._index = index + 1
            return
        self._unexpected(datagram)

    def _leave_lease(self, error: OSError, index: int) -> None:
        """A send on the lease failed: the block counts as sent, and the state machine has it from here."""
        self._index = index + 1
        self._expected = None
        self._catch_up()
        self._happened(fate_of(error), Send(self.transfer.sent, self.transfer.sent))

    def _catch_up(self) -> None:
        """Tell the Transfer how far its lease was used."""
        if self._chunk is not None and self._packets:
            sent = self._chunk.first + self._index - 1
            if sent > self.transfer.sent:
                self.transfer.resume(sent, self._loop.time())

    def _unexpected(self, datagram: bytes) -> None:
        self._catch_up()
        try:
            heard = packet.parse(datagram)
        except MalformedPacket as error:
            self._owner.malformed(str(self.client.origin.peer), error.message)
            return
        match heard:
            case packet.Ack(block) if not self._supply.waiting and self._blocked is None:
                self._do(self.transfer.acknowledged(block, self._loop.time()))
            case packet.Error(code, message):
                # The size probe of every Pi ends so: an ERROR 0 after the OACK or the first block (reference 3.2).
                early = code == ErrorCode.NOT_DEFINED and self.transfer.acked <= 0
                self.end(Outcome.PROBED if early else Outcome.ABORTED, message)
            case Request():
                # With one port for everything, a client's repeated request finds this socket instead of the listener.
                self.client.ask_anew(datagram)

    def _do(self, step: Step) -> None:
        match step:
            case Send():
                self._transmit(step)
            case Rest.DONE:
                self.end(Outcome.SENT)
            case Rest.GAVE_UP if self.transfer.all_sent:
                self.end(Outcome.UNCONFIRMED, "every block was sent, the last acknowledgement never came")
            case Rest.GAVE_UP:
                self.stop(f"no acknowledgement of block {max(self.transfer.sent, 0)} came", Outcome.TIMED_OUT)

    def _transmit(self, step: Send) -> None:
        """Send blocks; what has to wait for the storage or for room goes on from there by itself."""
        if step.first == 0:
            self._happened(self._outlet.packet(self.grant.oack), step)
            return
        if self.transfer.pausing and not self._pause_runs:
            self._pause_runs = True
            self._loop.call_later(PAUSE_S, self._after_pause)
        first = step.first
        while first <= step.last:
            chunk = self._chunk_with(Send(first, step.last))
            if chunk is None:
                return
            last = min(step.last, chunk.last)
            sent, fate = self._outlet.run(chunk, first, last) if chunk.image else self._lock_step(chunk, first)
            if fate is not None and self._happened(fate, Send(sent + 1, step.last)):
                return
            first = last + 1

    def _after_pause(self) -> None:
        """Send the next part of a window that goes out in parts."""
        self._pause_runs = False
        if not self.closed and self._blocked is None and not self._supply.waiting and self.transfer.pausing:
            # The loop counts in milliseconds: never look at the time a hair too early.
            self._do(self.transfer.tick(max(self._loop.time(), self.transfer.deadline)))

    def _lock_step(self, chunk: Chunk, block: int) -> tuple[int, Fate | None]:
        """Send one block and take the lease that follows it. Returns the last block that is done with, and a fate."""
        index = block - chunk.first
        fate = self._outlet.packet(chunk.packets[index])
        self._index = index + 1
        leased = block == self.transfer.sent and block < min(chunk.last, self.transfer.lease())
        self._expected = chunk.acks[index] if leased else None
        return (block if fate in {None, Fate.LOST} else block - 1), fate

    def _happened(self, fate: Fate | None, rest: Send | None = None) -> bool:
        """React to a failed send or receive; `rest` is what is still to be sent. Says whether sending has to wait."""
        match fate:
            case Fate.SOCKET_FULL | Fate.DEVICE_FULL if rest is not None:
                self._blocked = rest
                if fate is Fate.SOCKET_FULL:  # where the device is full, the next tick tries again
                    self._loop.add_writer(self.client.sock, self._go_on)
                return True
            case Fate.REFUSED:
                self._catch_up()
                outcome = Outcome.UNCONFIRMED if self.transfer.all_sent else Outcome.UNREACHABLE
                self.end(outcome, "the client closed its port")
                return True
            case Fate.HOMELESS:
                self.end(Outcome.HOMELESS, f"the address {self.client.origin.local} left this host")
                return True
        return False

    def _go_on(self) -> None:
        """Send what had to wait for room."""
        rest = self._blocked
        if rest is None or self.closed:
            return
        self._blocked = None
        self._loop.remove_writer(self.client.sock)
        self._resume(rest)

    def _resume(self, rest: Send) -> None:
        self._catch_up()
        self.transfer.postponed(self._loop.time())
        self._transmit(rest)

    def _chunk_with(self, rest: Send) -> Chunk | None:
        """Have the chunk with the first block of `rest`; None when `rest` goes on by itself as the storage answers."""
        chunk = self._chunk
        if chunk is not None and chunk.first <= rest.first <= chunk.last:
            return chunk
        self._catch_up()
        try:
            found = self._supply.chunk(rest.first, lambda found: self._storage_answered(found, rest))
        except Unavailable as error:
            self.stop(str(error), Outcome.FAILED)
            return None
        if found is not None:
            self._adopt(found)
        return found

    def _adopt(self, chunk: Chunk) -> None:
        self._chunk = chunk
        self._packets = chunk.packets
        self._acks = chunk.acks
        self._index = 0
        self._expected = None
        self._supply.read_ahead(chunk.last + 1)

    def _storage_answered(self, found: Chunk | Unavailable, rest: Send) -> None:
        if self.closed:
            return
        if isinstance(found, Unavailable):
            self.stop(str(found), Outcome.FAILED)
            return
        self._adopt(found)
        self._resume(rest)
