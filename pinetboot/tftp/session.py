"""One transfer on its own connected socket: the Transfer's block numbers turned into packets.

Belongs here: sending and receiving for one client. What to send is the Transfer's to say; in lock-step it leases a run
of blocks, and the common case is then one comparison (the bytes received against the one ACK expected) and one send.
"""

from __future__ import annotations

import asyncio
import errno
from collections.abc import Callable
from typing import Protocol

from pinetboot.events import Outcome
from pinetboot.net import udp
from pinetboot.net.addresses import Endpoint
from pinetboot.tftp import packet
from pinetboot.tftp.cache import ChunkCache
from pinetboot.tftp.content import Chunk, Content, ContentChanged
from pinetboot.tftp.packet import ErrorCode, MalformedPacket
from pinetboot.tftp.transfer import Rest, Send, Step, Transfer
from pinetboot.threads import Busy

_MAX_INCOMING = 1024  # an ACK has 4 bytes; RFC 2347 ends a request at 512
_MAX_SEGMENTS = 64  # UDP_MAX_SEGMENTS of kernels before 6.x
_MAX_SEND = 65507
_IP_AND_UDP = 28
STORAGE_LIMIT_S = 30.0  # as long as a Pi waits for a file (reference 3.2)
_GONE = {errno.EADDRNOTAVAIL, errno.EBADF, errno.EINVAL}


class Owner(Protocol):
    """What a session needs of the server it belongs to."""

    cache: ChunkCache

    def now(self) -> float:
        """The loop's time."""

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
        "_oack",
        "_owner",
        "_packets",
        "_segments",
        "_send",
        "_sock",
        "_stalled_since",
        "closed",
        "content",
        "interface",
        "local",
        "mode",
        "path",
        "peer",
        "recv",
        "started_at",
        "transfer",
    )

    def __init__(
        self,
        owner: Owner,
        sock: udp.Socket,
        origin: udp.Datagram,
        *,
        path: str,
        mode: str,
        content: Content,
        transfer: Transfer,
        oack: bytes,
    ) -> None:
        self._owner = owner
        self._loop = asyncio.get_running_loop()
        self._sock = sock
        self._send = sock.send
        self.recv: Callable[[int], bytes] = sock.recv
        self.peer: Endpoint = origin.peer
        self.local = origin.local
        self.interface = origin.interface
        self.path = path
        self.mode = mode
        self.content = content
        self.transfer = transfer
        self._oack = oack
        self.closed = False
        self.started_at = owner.now()
        self._chunk: Chunk | None = None
        self._packets: list[bytes] = []
        self._acks: list[bytes] = []
        # In lock-step on a lease: the ACK that sends _packets[_index] next; None while there is no lease.
        self._expected: bytes | None = None
        self._index = 0
        self._blocked: Send | None = None
        self._stalled_since: float | None = None
        stride = content.stride
        fits = transfer.windowsize > 1 and stride + _IP_AND_UDP <= udp.mtu(sock) and udp.segment(sock, stride)
        self._segments = min(_MAX_SEGMENTS, _MAX_SEND // stride) if fits else 1

    @property
    def server(self) -> str:
        """The address that the transfer leaves from."""
        return self.local

    @property
    def sent_bytes(self) -> int:
        """Bytes of the file that the client has acknowledged."""
        self._catch_up()
        return min(max(self.transfer.acked, 0) * self.content.blksize, self.content.size)

    def start(self) -> None:
        """Send the OACK or the first block, and fetch what comes next."""
        self._loop.add_reader(self._sock.fileno(), self._readable)
        self._do(self.transfer.start(self._owner.now()))
        if self._oack and not self.closed:
            self._read_ahead(0)

    def asked_again(self) -> None:
        """Take the same request once more from the same port."""
        self._catch_up()
        self._do(self.transfer.asked_again(self._owner.now()))

    def silent(self) -> bool:
        """Whether the client has not been heard for a while."""
        self._catch_up()
        return self.transfer.silent_since(self._owner.now())

    def tick(self, now: float) -> None:
        """Look at the time."""
        self._catch_up()
        if self._stalled_since is not None:
            if now - self._stalled_since >= STORAGE_LIMIT_S:
                self.fail("the storage does not answer")
        elif self._blocked is not None:
            self._go_on()
        elif now >= self.transfer.deadline:
            self._do(self.transfer.tick(now))

    def stop(self, message: str, outcome: Outcome) -> None:
        """End the transfer from our side, telling the client."""
        if not self.closed:
            self._tell(ErrorCode.NOT_DEFINED, message)
            self.end(outcome, message)

    def fail(self, why: str) -> None:
        """End the transfer for a fault of ours, telling the client."""
        self.stop(why, Outcome.FAILED)

    def end(self, outcome: Outcome, why: str = "") -> None:
        """Close the socket and leave."""
        if self.closed:
            return
        self._catch_up()
        self.closed = True
        self._expected = None
        fd = self._sock.fileno()
        self._loop.remove_reader(fd)
        self._loop.remove_writer(fd)
        self._sock.close()
        self._chunk = None
        self._packets = []
        self._owner.ended(self, outcome, why)

    def _readable(self) -> None:
        try:
            datagram = self.recv(_MAX_INCOMING)
        except BlockingIOError:
            return
        except OSError as error:
            self._refused(error)
            return
        if datagram == self._expected:
            index = self._index
            try:
                self._send(self._packets[index])
            except OSError as error:
                self._leave_lease(error, index)
                return
            self._index = index = index + 1
            self._expected = self._acks[index - 1] if index < len(self._packets) else None
            return
        self._unexpected(datagram)

    def _leave_lease(self, error: OSError, index: int) -> None:
        """A send on the lease failed: the block counts as sent, and the state machine has it from here."""
        self._index = index + 1
        self._expected = None
        self._catch_up()
        if not self._passes(error) and not self.closed:
            self._blocked = Send(self.transfer.sent, self.transfer.sent)

    def _catch_up(self) -> None:
        """Tell the Transfer how far its lease was used."""
        if self._chunk is not None and self._packets:
            sent = self._chunk.first + self._index - 1
            if sent > self.transfer.sent:
                self.transfer.resume(sent, self._owner.now())

    def _unexpected(self, datagram: bytes) -> None:
        self._catch_up()
        try:
            heard = packet.parse(datagram)
        except MalformedPacket as error:
            self._owner.malformed(str(self.peer), error.message)
            return
        match heard:
            case packet.Ack(block):
                if self._stalled_since is None and self._blocked is None:
                    self._do(self.transfer.acknowledged(block, self._owner.now()))
            case packet.Error(code, message):
                # The size probe of every Pi ends so: an ERROR 0 after the OACK or the first block (reference 3.2).
                early = code == ErrorCode.NOT_DEFINED and self.transfer.acked <= 0
                self.end(Outcome.PROBED if early else Outcome.ABORTED, message)
            case packet.Request():
                # With one port for everything, a client's repeated request finds this socket instead of the listener.
                self._owner.request(udp.Datagram(datagram, self.peer, self.local, self.interface, self.local))

    def _do(self, step: Step) -> None:
        match step:
            case Send():
                self._transmit(step)
            case Rest.DONE:
                self.end(Outcome.SENT)
            case Rest.GAVE_UP if self.transfer.all_sent:
                self.end(Outcome.UNCONFIRMED, "every block was sent, the last acknowledgement never came")
            case Rest.GAVE_UP:
                self._tell(ErrorCode.NOT_DEFINED, "no acknowledgement came")
                self.end(Outcome.TIMED_OUT, f"no acknowledgement of block {max(self.transfer.sent, 0)} came")

    def _transmit(self, step: Send) -> None:
        """Send blocks; what has to wait for the disk or the socket goes on from there by itself."""
        if step.first == 0:
            self._put(self._oack)
            return
        first = step.first
        while first <= step.last:
            chunk = self._chunk_with(first, step.last)
            if chunk is None:
                return
            last = min(step.last, chunk.last)
            sent_to = (
                self._send_packets(chunk, first, last) if self.content.lock_step else self._send_run(chunk, first, last)
            )
            if self.closed:
                return
            if sent_to < last:
                self._blocked = Send(sent_to + 1, step.last)
                return
            first = last + 1

    def _send_packets(self, chunk: Chunk, first: int, last: int) -> int:
        """Send one block of lock-step and take the lease that follows it."""
        index = first - chunk.first
        try:
            self._send(chunk.packets[index])
        except OSError as error:
            if not self._passes(error):
                return first - 1
        self._index = index + 1
        leased = last == self.transfer.sent and last < min(chunk.last, self.transfer.lease())
        self._expected = chunk.acks[index] if leased else None
        return last

    def _send_run(self, chunk: Chunk, first: int, last: int) -> int:
        """Send blocks of a window, as many in one send as the kernel takes. Returns the last one that went out."""
        stride = chunk.stride
        while first <= last:
            until = min(first + self._segments - 1, last)
            view = chunk.image[(first - chunk.first) * stride : (until - chunk.first + 1) * stride]
            try:
                self._send(view)
            except OSError as error:
                if self._segments > 1 and error.errno in {errno.EIO, errno.EINVAL, errno.EMSGSIZE}:
                    # The device cannot cut (no checksum offload, say): one datagram a send from now on.
                    udp.segment(self._sock, 0)
                    self._segments = 1
                    continue
                if not self._passes(error):
                    return first - 1
            first = until + 1
        return last

    def _put(self, data: bytes) -> None:
        try:
            self._send(data)
        except OSError as error:
            self._passes(error)

    def _passes(self, error: OSError) -> bool:
        """Whether a failed send is to be taken as one lost packet; if not, the transfer waits for room or is over.

        EAGAIN is the socket's buffer being full, and the loop tells when it has room; ENOBUFS is the device's queue,
        of which nobody tells, so the next tick tries again.
        """
        if error.errno == errno.EAGAIN:
            self._loop.add_writer(self._sock.fileno(), self._go_on)
            return False
        if error.errno == errno.ENOBUFS:
            return False
        if error.errno == errno.ECONNREFUSED or error.errno in _GONE:
            self._refused(error)
            return False
        return True

    def _go_on(self) -> None:
        """Send what had to wait for room."""
        rest = self._blocked
        if rest is None or self.closed:
            return
        self._blocked = None
        self._loop.remove_writer(self._sock.fileno())
        self._catch_up()
        self.transfer.postponed(self._owner.now())
        self._transmit(rest)

    def _refused(self, error: OSError) -> None:
        """ICMP said that nobody is there, or our own address went away."""
        if error.errno == errno.ECONNREFUSED:
            self._catch_up()
            done = self.transfer.all_sent
            why = "the client closed its port"
            self.end(Outcome.UNCONFIRMED if done else Outcome.UNREACHABLE, why)
        elif error.errno in _GONE:
            self.end(Outcome.FAILED, f"the address {self.local} left this host: {error.strerror}")

    def _chunk_with(self, block: int, last: int) -> Chunk | None:
        chunk = self._chunk
        if chunk is not None and chunk.first <= block <= chunk.last:
            return chunk
        self._catch_up()
        number = self.content.chunk_of(block)
        try:
            chunk = self._owner.cache.at_once(self.content, number)
            if chunk is None:
                self._wait_for_storage(number, Send(block, last))
                return None
        except ContentChanged:
            self.fail("the file changed while it was being sent")
            return None
        except OSError as error:
            self.fail(f"the storage failed: {error.strerror}")
            return None
        self._adopt(chunk)
        self._read_ahead(number + 1)
        return chunk

    def _adopt(self, chunk: Chunk) -> None:
        self._chunk = chunk
        self._packets = chunk.packets
        self._acks = chunk.acks
        self._index = 0
        self._expected = None

    def _wait_for_storage(self, number: int, rest: Send) -> None:
        try:
            coming = self._owner.cache.fetch(self.content, number, place(self.path))
        except Busy:
            self.fail("the storage does not answer")
            return
        self._stalled_since = self._owner.now()
        coming.add_done_callback(lambda done: self._storage_answered(done, rest))

    def _storage_answered(self, done: asyncio.Future[Chunk], rest: Send) -> None:
        if self.closed:
            return
        self._stalled_since = None
        error = done.exception()
        if isinstance(error, ContentChanged):
            self.fail("the file changed while it was being sent")
        elif isinstance(error, OSError):
            self.fail(f"the storage failed: {error.strerror}")
        elif error is not None:
            self.fail("the file could not be read")
        else:
            self._adopt(done.result())
            self.transfer.postponed(self._owner.now())
            self._transmit(rest)

    def _read_ahead(self, number: int) -> None:
        """Have the next chunk ready before the ACK that needs it; best effort."""
        if number >= self.content.chunks:
            return
        try:
            if self._owner.cache.at_once(self.content, number) is None:
                self._owner.cache.fetch(self.content, number, place(self.path))
        except (Busy, ContentChanged, OSError):
            return

    def _tell(self, code: ErrorCode, message: str) -> None:
        udp.segment(self._sock, 0)
        self._put(packet.encode_error(code, message))


def place(path: str) -> str:
    """Name the part of the tree that shares a fate with `path`: its top directory, empty for the root itself."""
    return path.partition("/")[0] if "/" in path else ""
