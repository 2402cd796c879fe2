"""The TFTP server of a running daemon, asked by sockets that build their packets by hand."""

from __future__ import annotations

import ctypes
import errno
import itertools
import os
import random
import selectors
import socket
import stat
import struct
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import pytest
from rawtftp import ACK, DATA, ERROR, OACK, RRQ, WRQ, Client, Heard, TransferFailed, fetch, parse, request_bytes
from support import Daemon, free_port, loopback_config, require, wait_until

Serve = Callable[..., Daemon]

CHUNK = 254 * 512  # what the server reads at once of a file that is sent in blocks of 512
LARGE = 9 * CHUNK
PROMPT_S = 1.0


@contextmanager
def running(folder: Path, tftp: str = "") -> Iterator[Daemon]:
    tftp_port, http_port = free_port(), free_port(socket.SOCK_STREAM)
    daemon = Daemon(folder, loopback_config(tftp_port, http_port, tftp=tftp))
    daemon.tftp_port = tftp_port
    daemon.start()
    try:
        yield daemon
    finally:
        daemon.stop()


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    """One daemon as it is set by default; each test uses files of its own."""
    with running(tmp_path_factory.mktemp("house")) as daemon:
        yield daemon


@pytest.fixture(scope="module")
def hasty(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    """One daemon whose patience with clients is short."""
    with running(tmp_path_factory.mktemp("hasty"), "timeout_s = 0.05\nretries = 3") as daemon:
        yield daemon


def put(daemon: Daemon, name: str, content: bytes) -> bytes:
    path = daemon.data / "boot" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return content


def noise(size: int, seed: int = 0) -> bytes:
    return random.Random(seed).randbytes(size)  # noqa: S311 - content, no secret


def descriptors_of(daemon: Daemon) -> list[str]:
    assert daemon.process is not None
    found = []
    for entry in Path(f"/proc/{daemon.process.pid}/fd").iterdir():
        try:
            found.append(str(entry.readlink()))
        except FileNotFoundError:
            continue
    return found


def of_transfers(daemon: Daemon) -> int:
    """How many transfers the daemon has: each has a socket that is connected to its client."""
    assert daemon.process is not None
    own = {link[8:-1] for link in descriptors_of(daemon) if link.startswith("socket:[")}
    count = 0
    for table in ("udp", "udp6"):
        for line in Path(f"/proc/{daemon.process.pid}/net/{table}").read_text().splitlines()[1:]:
            fields = line.split()
            count += fields[9] in own and not fields[2].endswith(":0000")
    return count


def at_rest(daemon: Daemon) -> None:
    """Let the transfers of earlier tests end, so that one's own can be counted."""
    assert wait_until(lambda: of_transfers(daemon) == 0, 4)


def refused(daemon: Daemon, name: str | bytes, mode: bytes = b"octet", opcode: int = RRQ) -> Heard:
    """Ask for what is not given out; the ERROR, which has to come at once and alone."""
    with Client(daemon.tftp_port) as client:
        started = time.monotonic()
        answer = client.answer(name, mode, opcode)
        assert time.monotonic() - started < PROMPT_S
        assert answer.opcode == ERROR, answer
        assert answer.body.endswith(b"\0")
        assert client.hear_or_nothing(0.02) is None
        return answer


# Negotiation


@pytest.mark.parametrize(("blksize", "size"), [(8, 100), (512, 5000), (1468, 300_000), (65464, 200_000)])
@pytest.mark.parametrize("server", ["127.0.0.1", "::1"])
def test_the_block_size_that_was_asked_for_is_granted(house: Daemon, server: str, blksize: int, size: int) -> None:
    content = put(house, f"sized-{size}", noise(size))
    with Client(house.tftp_port, server) as client:
        granted = client.answer(f"sized-{size}", blksize=blksize)
        assert granted.options == {"blksize": str(blksize)}
        assert client.take(granted) == content


def test_every_option_is_granted_in_one_oack(house: Daemon) -> None:
    content = put(house, "options", noise(70_000))
    with Client(house.tftp_port) as client:
        granted = client.answer("options", tsize=0, blksize=1024, windowsize=7, timeout=3)
        assert granted.options == {"tsize": "70000", "blksize": "1024", "windowsize": "7", "timeout": "3"}
        assert client.take(granted) == content


def test_unknown_options_are_ignored(house: Daemon) -> None:
    put(house, "unknown", b"content")
    with Client(house.tftp_port) as client:
        assert client.answer("unknown", x_colour="red", blksize=600, multicast="").options == {"blksize": "600"}


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"x_colour": "red"},
        {"blksize": 7},
        {"blksize": "abc"},
        {"blksize": ""},
        {"blksize": "+512"},
        {"blksize": "-1"},
        {"windowsize": 0},
        {"windowsize": 65536},
        {"timeout": 0},
        {"timeout": 256},
        {"tsize": "what"},
    ],
)
def test_no_oack_is_sent_where_no_option_is_granted(house: Daemon, options: dict[str, str | int]) -> None:
    content = put(house, "plain", noise(1000))
    with Client(house.tftp_port) as client:
        first = client.answer("plain", **options)
        assert (first.opcode, first.number) == (DATA, 1)
        assert client.take(first) == content


def test_option_names_and_the_mode_may_be_written_in_capitals(house: Daemon) -> None:
    put(house, "capitals", b"content")
    with Client(house.tftp_port) as client:
        assert client.answer("capitals", b"OcTeT", TSIZE=0, BlkSize=16).options == {"tsize": "7", "blksize": "16"}


def test_a_block_size_beyond_the_rfc_gets_what_fits_a_frame(house: Daemon) -> None:
    put(house, "beyond", b"content")
    with Client(house.tftp_port) as client:
        assert client.answer("beyond", blksize=100_000).options == {"blksize": "65464"}


def test_the_settings_grant_less_than_was_asked(serve: Serve) -> None:
    daemon = serve(tftp="max_blksize = 1000\nmax_windowsize = 4")
    content = put(daemon, "file", noise(123_456))
    for server in ("127.0.0.1", "::1"):
        with Client(daemon.tftp_port, server) as client:
            granted = client.answer("file", blksize=1468, windowsize=64)
            assert granted.options == {"blksize": "1000", "windowsize": "4"}
            client.ack(0)
            assert [packet.number for packet in client.hear_all(0.2)] == [1, 2, 3, 4]
            client.error()
        assert fetch(daemon.tftp_port, "file", server=server, blksize=1468, windowsize=64) == content


@pytest.mark.parametrize("size", [0, 1, 511, 512, 513, 1024, CHUNK - 1, CHUNK, CHUNK + 1, 2 * CHUNK])
@pytest.mark.parametrize("windowsize", [1, 2, 64])
def test_a_file_of_any_length_comes_whole(house: Daemon, size: int, windowsize: int) -> None:
    content = put(house, f"length-{size}", noise(size))
    assert fetch(house.tftp_port, f"length-{size}", windowsize=windowsize) == content
    if windowsize == 1:
        assert fetch(house.tftp_port, f"length-{size}") == content


def test_block_numbers_roll_over_to_zero(house: Daemon) -> None:
    content = put(house, "rolls", noise(64 * 65536 + 100))
    assert fetch(house.tftp_port, "rolls", blksize=64, windowsize=64) == content


def test_an_oack_that_is_longer_than_a_block_comes_in_one_piece(house: Daemon) -> None:
    content = put(house, "pieces", noise(1000))
    with Client(house.tftp_port) as client:
        granted = client.answer("pieces", blksize=8, windowsize=64, tsize=0)
        assert granted.options == {"blksize": "8", "windowsize": "64", "tsize": "1000"}
        assert client.take(granted) == content


def test_text_mode_ends_lines_with_cr_lf(house: Daemon) -> None:
    put(house, "text", b"one\ntwo\r\nthree\rfour")
    told = b"one\r\ntwo\r\0\r\nthree\r\0four"
    assert fetch(house.tftp_port, "text", b"netascii") == told
    with Client(house.tftp_port) as client:
        granted = client.answer("text", b"NETASCII", tsize=0, blksize=8)
        assert granted.options["tsize"] == str(len(told))
        assert client.take(granted) == told


# Who gets a transfer


@pytest.mark.parametrize("options", [{}, {"tsize": 0, "blksize": 1024}])
def test_a_repeated_request_starts_no_second_transfer(house: Daemon, options: dict[str, str | int]) -> None:
    put(house, "repeated", noise(50_000))
    at_rest(house)
    with Client(house.tftp_port) as client:
        first = client.answer("repeated", **options)
        for _ in range(5):
            client.ask("repeated", **options)
        assert client.hear_all(0.4) == []
        assert of_transfers(house) == 1
        # Half of timeout_s later the first answer counts as lost, and its own retransmission is not due yet.
        time.sleep(first.at + 1.2 - time.monotonic())
        client.ask("repeated", **options)
        again = client.hear(PROMPT_S)
        assert (again.sender, again.opcode, again.number, again.options) == (
            first.sender,
            first.opcode,
            first.number,
            first.options,
        )
        assert again.at - first.at < 1.7
        assert client.hear_or_nothing(0.1) is None
        assert of_transfers(house) == 1
        client.error()


def test_a_request_that_is_repeated_in_the_middle_changes_nothing(house: Daemon) -> None:
    content = put(house, "middle", noise(20_000))
    with Client(house.tftp_port) as client:
        got = client.take(client.answer("middle"), until=10)
        assert client.hear().number == 11
        client.ask("middle")
        assert client.hear_or_nothing(0.2) is None
        client.ack(11)
        got += content[5120:5632]
        twelfth = client.hear()
        assert twelfth.number == 12
        assert got + twelfth.body == content[: 12 * 512]
        client.error()


def test_another_file_on_the_same_port_replaces_the_first(house: Daemon) -> None:
    put(house, "stage-1", noise(50_000, 1))
    second = put(house, "stage-2", noise(50_000, 2))
    at_rest(house)
    with Client(house.tftp_port) as client:
        first = client.answer("stage-1")
        client.ask("stage-2")
        replaced = client.hear()
        assert replaced.sender != first.sender
        assert of_transfers(house) == 1
        client.send(struct.pack("!HH", ACK, 1), first.sender)
        assert client.hear_or_nothing(0.1) is None
        assert client.take(replaced) == second


def test_the_same_file_asked_anew_without_options_is_answered_without_oack(house: Daemon) -> None:
    put(house, "anew", noise(5000))
    with Client(house.tftp_port) as client:
        assert client.answer("anew", blksize=1024).opcode == OACK
        time.sleep(1.2)
        client.ask("anew")
        first = client.hear()
        assert (first.opcode, first.number, len(first.body)) == (DATA, 1, 512)
        client.error()


@pytest.mark.parametrize("taken", ["oack", "block"])
def test_a_size_probe_and_the_transfer_it_was_for_overlap(house: Daemon, taken: str) -> None:
    content = put(house, "start4.elf", noise(100_000))
    at_rest(house)
    with Client(house.tftp_port) as probe, Client(house.tftp_port) as real:
        assert probe.answer("start4.elf", tsize=0).options == {"tsize": "100000"}
        if taken == "block":
            probe.ack(0)
            assert probe.hear().number == 1
        granted = real.answer("start4.elf", tsize=0, blksize=1024)
        probe.error()
        assert real.take(granted) == content
        assert probe.hear_or_nothing(0.05) is None
    assert wait_until(lambda: of_transfers(house) == 0, 1)


def test_an_error_from_the_client_frees_the_transfer_at_once(house: Daemon) -> None:
    put(house, "freed", noise(LARGE))
    at_rest(house)
    before = descriptors_of(house)
    with ExitStack() as stack:
        clients = [stack.enter_context(Client(house.tftp_port)) for _ in range(30)]
        for client in clients:
            client.take(client.answer("freed"), until=3)
        assert len(descriptors_of(house)) >= len(before) + 60
        for client in clients:
            client.error(3, "disk full")
        assert wait_until(lambda: len(descriptors_of(house)) == len(before), 0.5), descriptors_of(house)


def test_a_client_that_closes_its_port_ends_its_transfer(house: Daemon) -> None:
    put(house, "closing", noise(50_000))
    at_rest(house)
    with Client(house.tftp_port) as client:
        client.take(client.answer("closing"), until=3)
        client.sock.close()
    # Where the next block came in before the port was closed, the one after timeout_s meets a closed port.
    assert wait_until(lambda: of_transfers(house) == 0, 3)
    assert wait_until(lambda: [line for line in house.said("client closed its port") if line["path"] == "closing"])


def test_two_clients_on_different_addresses_may_use_the_same_port(house: Daemon) -> None:
    content = put(house, "twins", noise(3000))
    with Client(house.tftp_port, local="127.0.0.21") as first, Client(house.tftp_port) as second:
        second.sock.bind(("127.0.0.22", first.port))
        answers = [client.answer("twins") for client in (first, second)]
        assert [client.take(answer) for client, answer in zip((first, second), answers, strict=True)] == [content] * 2


# Lost, repeated and late packets


def test_stale_and_repeated_acks_in_lock_step_cause_no_packet(house: Daemon) -> None:
    content = put(house, "sorcerer", noise(20_000))
    with Client(house.tftp_port) as client:
        client.take(client.answer("sorcerer"), until=5)
        assert client.hear().number == 6
        for block in (5, 5, 5, 4, 1, 0, 7, 20, 65535, 5):
            client.ack(block)
        assert client.hear_all(0.3) == []
        client.ack(6)
        seventh = client.hear()
        assert (seventh.number, seventh.body) == (7, content[6 * 512 : 7 * 512])
        client.error()


def test_a_repeated_ack_of_the_oack_causes_no_packet(house: Daemon) -> None:
    put(house, "oacked", noise(20_000))
    with Client(house.tftp_port) as client:
        client.answer("oacked", tsize=0)
        for _ in range(5):
            client.ack(0)
        assert [packet.number for packet in client.hear_all(0.3)] == [1]
        client.error()


def test_an_ack_inside_a_window_has_the_rest_sent_again(house: Daemon) -> None:
    content = put(house, "window", noise(50_000))
    with Client(house.tftp_port) as client:
        client.answer("window", windowsize=8)
        client.ack(0)
        assert [packet.number for packet in client.hear_all(0.2)] == list(range(1, 9))
        client.ack(5)
        again = client.hear_all(0.2)
        assert [packet.number for packet in again] == list(range(6, 14))
        assert b"".join(packet.body for packet in again) == content[5 * 512 : 13 * 512]
        client.error()


@pytest.mark.parametrize("taken", [0, 1, 5])
def test_what_is_not_acknowledged_is_sent_again_less_and_less_often_and_then_ended(hasty: Daemon, taken: int) -> None:
    name = f"silent-{taken}"
    put(hasty, name, noise(20_000))
    with Client(hasty.tftp_port) as client:
        first = client.answer(name, tsize=0)
        if taken:
            client.ack(0)
            first = client.hear()
            for block in range(1, taken):
                client.ack(block)
                first = client.hear()
        heard = [first]
        while heard[-1].opcode != ERROR:
            heard.append(client.hear(2))
        told = heard.pop()
        assert (told.opcode, told.number, told.message) == (
            ERROR,
            0,
            f"no acknowledgement of block {first.number} came",
        )
        assert [(packet.opcode, packet.number, packet.body) for packet in heard] == [
            (first.opcode, first.number, first.body)
        ] * 4
        waits = [b.at - a.at for a, b in itertools.pairwise([*heard, told])]
        for waited, due in zip(waits, (0.05, 0.1, 0.2, 0.4), strict=True):
            assert due * 0.8 < waited < due * 1.5 + 0.2
    assert wait_until(lambda: of_transfers(hasty) == 0, PROMPT_S)
    lines = wait_until(lambda: [line for line in hasty.said("client went silent") if line["path"] == name])
    assert [line["retransmissions"] for line in lines] == [3]


def test_a_negotiated_timeout_does_not_grow(house: Daemon) -> None:
    put(house, "steady", noise(20_000))
    with Client(house.tftp_port) as client:
        heard = [client.answer("steady", timeout=1), *client.hear_all(2.6)]
        assert [packet.options for packet in heard] == [{"timeout": "1"}] * 3
        for a, b in itertools.pairwise(heard):
            assert 0.9 < b.at - a.at < 1.5
        client.error()


def test_a_client_that_comes_back_is_served_on(hasty: Daemon) -> None:
    content = put(hasty, "pause", noise(20_000))
    with Client(hasty.tftp_port) as client:
        got = client.take(client.answer("pause"), until=4)
        late = client.hear_all(0.4)
        assert {packet.number for packet in late} == {5}
        assert len(late) >= 2
        got += late[0].body
        client.ack(5)
        assert got + rest_of(client, 1, 5) == content


# Names and what is behind them


def test_a_missing_file_is_told_at_once(house: Daemon) -> None:
    for name in ("missing", "missing/below", "5b154510/start.elf"):
        answer = refused(house, name)
        assert (answer.number, answer.message) == (1, "there is no such file")


def test_a_file_taken_for_a_directory_is_missing(house: Daemon) -> None:
    put(house, "regular", b"content")
    assert refused(house, "regular/below").number == 1


@pytest.mark.parametrize(
    "name",
    [
        b"plain.txt",
        b"/plain.txt",
        b"//plain.txt",
        b"./plain.txt",
        b"\\plain.txt",
        b"inner/../plain.txt",
        b"nowhere/../plain.txt",
        b"/inner/..//./plain.txt",
        b"inner\\..\\plain.txt",
        b"plain.txt/",
    ],
)
def test_a_name_may_be_written_in_many_ways(house: Daemon, name: bytes) -> None:
    content = put(house, "plain.txt", b"content")
    put(house, "inner/other", b"other")
    assert fetch(house.tftp_port, name) == content


@pytest.mark.parametrize("name", [b"d1/d2/f.txt", b"/d1//d2/f.txt", b"d1\\d2\\f.txt", b"d1//d2/../d2/f.txt"])
def test_slashes_may_be_doubled_or_turned(house: Daemon, name: bytes) -> None:
    content = put(house, "d1/d2/f.txt", b"deep")
    assert fetch(house.tftp_port, name) == content


def test_a_name_may_hold_any_bytes(house: Daemon) -> None:
    for name in ("with space", "ümläut", "newline\nin it", "%2e%2e"):
        content = put(house, name, name.encode())
        assert fetch(house.tftp_port, name) == content
    raw = b"latin-\xe9"
    (house.data / "boot" / os.fsdecode(raw)).write_bytes(b"raw")
    assert fetch(house.tftp_port, raw) == b"raw"
    assert refused(house, b"missing-\xff\x1b[31m").number == 1


@pytest.mark.parametrize(
    "name",
    [
        b"../secret",
        b"..",
        b"/..",
        b"a/../../secret",
        b"..\\secret",
        b"a/b/../../../boot/inside",
        b"",
        b"/",
        b".",
        b"a/..",
        b"n" * 256,
        b"d/" * 600 + b"f",
        b"n" * 3000,
    ],
)
def test_a_name_that_can_mean_no_file_of_the_tree_is_refused(house: Daemon, name: bytes) -> None:
    (house.data / "secret").write_bytes(b"secret")
    put(house, "inside", b"inside")
    assert refused(house, name).number == 2


def test_an_absolute_name_means_the_boot_root(house: Daemon) -> None:
    assert refused(house, "/etc/passwd").number == 1
    put(house, "etc/passwd", b"ours")
    assert fetch(house.tftp_port, "/etc/passwd") == b"ours"


@pytest.mark.parametrize("target", ["../secret", "/etc/passwd", "loop", "/proc/self/environ", "way/../../secret"])
def test_a_link_that_leaves_the_tree_or_goes_in_a_circle_is_refused(house: Daemon, target: str) -> None:
    (house.data / "secret").write_bytes(b"secret")
    (house.data / "boot" / "way").mkdir(exist_ok=True)
    link = house.data / "boot" / "loop"
    link.unlink(missing_ok=True)
    link.symlink_to(target)
    assert refused(house, "loop").number == 2


def test_a_link_within_the_tree_is_followed(house: Daemon) -> None:
    put(house, "linked/target", b"target")
    (house.data / "boot" / "linked" / "name").symlink_to("../linked/target")
    assert fetch(house.tftp_port, "linked/name") == b"target"


class Opened:
    """Tells whether something in a directory was opened for more than its path, by inotify(7)."""

    _IN_OPEN = 0x20

    def __init__(self, directory: Path) -> None:
        libc = ctypes.CDLL(None, use_errno=True)
        self._fd = libc.inotify_init1(os.O_NONBLOCK)
        assert libc.inotify_add_watch(self._fd, os.fsencode(directory), self._IN_OPEN) >= 0

    def names(self) -> set[str]:
        try:
            events = os.read(self._fd, 1 << 16)
        except BlockingIOError:
            return set()
        names = set()
        while events:
            length = struct.unpack_from("=iIII", events)[3]
            names.add(events[16 : 16 + length].rstrip(b"\0").decode())
            events = events[16 + length :]
        return names

    def close(self) -> None:
        os.close(self._fd)


@pytest.mark.parametrize("mode", [b"octet", b"netascii"])
def test_what_is_no_regular_file_is_refused_without_being_opened(house: Daemon, mode: bytes) -> None:
    special = house.data / "boot" / "special"
    special.mkdir(exist_ok=True)
    names = ["directory", "fifo", "socket"]
    if not (special / "fifo").exists():
        (special / "directory").mkdir()
        os.mkfifo(special / "fifo")
        with socket.socket(socket.AF_UNIX) as sock:
            sock.bind(str(special / "socket"))
        if os.geteuid() == 0:
            # Each open of a ptmx makes a terminal; /dev/zero never ends. Root in a container may lack mknod.
            with suppress(PermissionError):
                os.mknod(special / "ptmx", stat.S_IFCHR | 0o666, os.makedev(5, 2))
                os.mknod(special / "zero", stat.S_IFCHR | 0o666, os.makedev(1, 5))
                os.mknod(special / "disk", stat.S_IFBLK | 0o666, os.makedev(7, 0))
    names += [name for name in ("ptmx", "zero", "disk") if (special / name).exists()]
    put(house, "special/file", b"content")
    opened = Opened(special)
    try:
        for name in names:
            assert refused(house, f"special/{name}", mode).number == 2
        assert opened.names() <= {"directory"}
        assert fetch(house.tftp_port, "special/file", mode) == b"content"
        assert opened.names() == {"file"}
    finally:
        opened.close()


def test_a_file_that_may_not_be_read_is_refused(tmp_path: Path, daemons: list[Daemon]) -> None:
    # Root reads everything, unless it gave that capability up.
    require("setpriv")
    inside = ("setpriv", "--bounding-set=-dac_override,-dac_read_search") if os.geteuid() == 0 else ()
    tftp_port, http_port = free_port(), free_port(socket.SOCK_STREAM)
    daemon = Daemon(tmp_path / "daemon", loopback_config(tftp_port, http_port), inside=inside)
    daemon.tftp_port = tftp_port
    daemons.append(daemon)
    daemon.start()
    put(daemon, "unreadable", b"secret")
    put(daemon, "closed/file", b"secret")
    (daemon.data / "boot" / "unreadable").chmod(0)
    (daemon.data / "boot" / "closed").chmod(0)
    try:
        for name in ("unreadable", "closed/file"):
            answer = refused(daemon, name)
            assert (answer.number, answer.message) == (2, "pinetboot may not read it")
    finally:
        (daemon.data / "boot" / "closed").chmod(0o755)


@pytest.mark.parametrize("mode", [b"mail", b"MAIL", b"binary", b"", b"octets", b"\xff"])
def test_a_mode_that_is_not_known_is_refused(house: Daemon, mode: bytes) -> None:
    put(house, "moded", b"content")
    assert refused(house, "moded", mode).number == 4


def test_writing_is_refused_and_writes_nothing(house: Daemon) -> None:
    put(house, "kept", b"content")
    for name in ("kept", "new"):
        assert refused(house, name, opcode=WRQ).number == 2
    assert (house.data / "boot" / "kept").read_bytes() == b"content"
    assert not (house.data / "boot" / "new").exists()


@pytest.mark.parametrize(
    ("datagram", "code"),
    [
        (b"", None),
        (b"\0", None),
        (b"\0\x01", 4),
        (b"\0\x01name", 4),
        (b"\0\x01name\0", 4),
        (b"\0\x01name\0octet", 4),
        (b"\0\x01name\0octet\0blksize\0", 8),
        (b"\0\x01name\0octet\0blksize\x001024", 4),
        (b"\0\0", 4),
        (b"\0\x07", 4),
        (b"\xff\xff\0\0", 4),
        (b"\0\x03\0\x01data", None),
        (b"\0\x04\0\x01", None),
        (b"\0\x04", None),
        (b"\0\x05\0\0Early terminate\0", None),
        (b"\0\x05\0", None),
        (b"\0\x06blksize\x001024\0", None),
    ],
)
def test_a_packet_that_breaks_the_protocol_gets_an_error_or_nothing(
    house: Daemon, datagram: bytes, code: int | None
) -> None:
    at_rest(house)
    with Client(house.tftp_port) as client:
        client.send(datagram)
        if code is None:
            assert client.hear_or_nothing(0.1) is None
        else:
            answer = client.hear()
            assert (answer.opcode, answer.number) == (ERROR, code)
    assert of_transfers(house) == 0


def test_garbage_disturbs_nobody(house: Daemon) -> None:
    content = put(house, "undisturbed", noise(30_000))
    dice = random.Random(7)  # noqa: S311 - repeatable on purpose
    with Client(house.tftp_port) as client, Client(house.tftp_port) as vandal:
        first = client.answer("undisturbed", blksize=1024)
        for turn in range(600):
            datagram = bytearray(request_bytes(b"undisturbed", blksize=1024, tsize=0))
            if turn % 2:
                datagram = bytearray(dice.randbytes(dice.randrange(600)))
            else:
                for _ in range(dice.randrange(1, 6)):
                    datagram[dice.randrange(len(datagram))] = dice.randrange(256)
            vandal.send(bytes(datagram), vandal.server)
            # Nobody but the client itself may speak to its transfer.
            vandal.send(struct.pack("!HH", dice.choice([ACK, ERROR]), 1) + b"\0", first.sender)
        assert client.take(first) == content
        assert fetch(house.tftp_port, "undisturbed") == content


@pytest.mark.parametrize(
    "datagram", [b"", b"\0", b"\0\x04", b"\0\x09\0\x01", b"\0\x03\0\x01x", b"\0\x06a\0b\0", b"\xff" * 900]
)
def test_garbage_from_the_client_itself_does_not_end_its_transfer(house: Daemon, datagram: bytes) -> None:
    content = put(house, "own-garbage", noise(5000))
    with Client(house.tftp_port) as client:
        client.take(client.answer("own-garbage"), until=4)
        fifth = client.hear()
        client.send(datagram)
        assert client.hear_or_nothing(0.05) is None
        client.ack(5)
        sixth = client.hear()
        assert fifth.body + sixth.body == content[4 * 512 : 6 * 512]
        client.error()


# Files that change under a transfer


@pytest.mark.parametrize("windowsize", [1, 4])
def test_a_file_that_is_renamed_over_is_served_to_its_end_as_it_was(house: Daemon, windowsize: int) -> None:
    old = put(house, "replaced", noise(LARGE, 1))
    new = noise(LARGE + 5000, 2)
    with Client(house.tftp_port) as client:
        got = client.take(client.answer("replaced", windowsize=windowsize), until=20 * windowsize)
        put(house, "replaced.new", new)
        (house.data / "boot" / "replaced.new").rename(house.data / "boot" / "replaced")
        assert got + rest_of(client, windowsize, 20 * windowsize) == old
    assert fetch(house.tftp_port, "replaced", windowsize=windowsize) == new


def test_a_file_that_is_removed_is_served_to_its_end(house: Daemon) -> None:
    content = put(house, "removed", noise(LARGE))
    with Client(house.tftp_port) as client:
        got = client.take(client.answer("removed"), until=20)
        (house.data / "boot" / "removed").unlink()
        assert got + rest_of(client, 1, 20) == content
    assert refused(house, "removed").number == 1


def rest_of(client: Client, windowsize: int, block: int) -> bytes:
    """Go on after block `block`, which was acknowledged already."""
    content = b""
    since_ack = 0
    while True:
        heard = client.hear()
        if heard.opcode == ERROR:
            raise TransferFailed(heard.message, heard.number)
        assert (heard.opcode, heard.number) == (DATA, block + 1)
        block += 1
        content += heard.body
        since_ack += 1
        if len(heard.body) < 512:
            client.ack(block)
            return content
        if since_ack == windowsize:
            client.ack(block)
            since_ack = 0


def cut(path: Path) -> None:
    os.truncate(path, 3 * CHUNK + 100)


def empty(path: Path) -> None:
    os.truncate(path, 0)


def rewrite(path: Path) -> None:
    path.write_bytes(noise(LARGE, 99))


def rewrite_the_end(path: Path) -> None:
    with path.open("r+b") as file:
        file.seek(-100, os.SEEK_END)
        file.write(b"other" * 20)


def append(path: Path) -> None:
    with path.open("ab") as file:
        file.write(b"more")


@pytest.mark.parametrize("change", [cut, empty, rewrite, rewrite_the_end, append])
@pytest.mark.parametrize("windowsize", [1, 4])
def test_a_file_that_is_written_to_in_place_ends_in_an_error(
    house: Daemon, change: Callable[[Path], None], windowsize: int
) -> None:
    name = f"{change.__name__}-{windowsize}"
    content = put(house, name, noise(LARGE))
    at_rest(house)
    with Client(house.tftp_port) as client:
        got = client.take(client.answer(name, windowsize=windowsize), until=20 * windowsize)
        assert got == content[: 20 * windowsize * 512]
        change(house.data / "boot" / name)
        with pytest.raises(TransferFailed, match="the file changed while it was being sent") as ended:
            rest_of(client, windowsize, 20 * windowsize)
        assert ended.value.code == 0
    assert wait_until(lambda: of_transfers(house) == 0, PROMPT_S)


@pytest.mark.parametrize("change", [cut, rewrite])
def test_a_file_that_changes_between_oack_and_first_block_is_never_mixed(
    house: Daemon, change: Callable[[Path], None]
) -> None:
    put(house, "early", noise(LARGE))
    with Client(house.tftp_port) as client:
        granted = client.answer("early", tsize=0)
        assert granted.options == {"tsize": str(LARGE)}
        change(house.data / "boot" / "early")
        with pytest.raises(TransferFailed, match="the file changed"):
            client.take(granted)


# Many at once


def test_of_200_transfers_none_starves(house: Daemon) -> None:
    blocks = 101
    content = put(house, "fair", noise((blocks - 1) * 512))
    progress: Counter[socket.socket] = Counter()
    slowest_when_the_first_was_through = 0
    with ExitStack() as stack, selectors.DefaultSelector() as selector:
        clients = [stack.enter_context(Client(house.tftp_port)) for _ in range(200)]
        for client in clients:
            client.ask("fair")
            selector.register(client.sock, selectors.EVENT_READ)
        end = time.monotonic() + 30
        while sum(progress.values()) < len(clients) * blocks:
            assert time.monotonic() < end, f"{sorted(progress.values())}"
            for key, _ in selector.select(1):
                sock = key.fileobj
                assert isinstance(sock, socket.socket)
                datagram, sender = sock.recvfrom(2000)
                heard = parse(datagram, sender)
                if heard.number == progress[sock] + 1:
                    progress[sock] += 1
                    assert heard.body == content[(heard.number - 1) * 512 : heard.number * 512]
                    sock.sendto(struct.pack("!HH", ACK, heard.number), sender)
                    if heard.number == blocks and not slowest_when_the_first_was_through:
                        slowest_when_the_first_was_through = min(progress[other.sock] for other in clients)
    assert slowest_when_the_first_was_through >= blocks / 2


def test_a_client_with_large_windows_does_not_starve_one_in_lock_step(house: Daemon) -> None:
    put(house, "greedy", noise(64 << 20))
    content = put(house, "modest", noise(200 * 512))
    with Client(house.tftp_port) as greedy, Client(house.tftp_port) as modest:
        greedy.answer("greedy", blksize=1468, windowsize=64)
        greedy.sock.setblocking(False)
        granted = modest.answer("modest", tsize=0)
        modest.ack(0)
        got = b""
        greedily = block = 0
        started = time.monotonic()
        modest.sock.setblocking(False)
        greedy.ack(0)
        assert granted.options
        while len(got) < len(content):
            assert time.monotonic() < started + 10
            for client in (greedy, modest):
                try:
                    datagram, sender = client.sock.recvfrom(2000)
                except BlockingIOError:
                    continue
                number = parse(datagram, sender).number
                if client is greedy:
                    greedily += number == (greedily + 1) & 0xFFFF
                    if greedily % 64 == 0:
                        greedy.ack(greedily)
                elif number == block + 1:
                    block += 1
                    got += datagram[4:]
                    modest.ack(block)
        assert got == content
        greedy.error()
        modest.ack(block + 1)


def test_beyond_the_most_transfers_of_one_address_and_of_all_the_rest_are_told_to_wait(serve: Serve) -> None:
    daemon = serve(tftp="max_transfers = 3\nmax_transfers_per_address = 2")
    content = put(daemon, "file", noise(5000))
    with ExitStack() as stack:

        def asked_from(local: str) -> tuple[Client, Heard]:
            client = stack.enter_context(Client(daemon.tftp_port, local=local))
            return client, client.answer("file")

        running = [asked_from(local) for local in ("127.0.0.1", "127.0.0.1", "127.0.0.2")]
        assert [answer.opcode for _, answer in running] == [DATA] * 3
        running[2][0].error()
        assert wait_until(lambda: of_transfers(daemon) == 2)
        told = asked_from("127.0.0.1")[1]
        assert (told.opcode, told.number) == (ERROR, 0)
        assert "to this address" in told.message
        third, answer = asked_from("127.0.0.3")
        assert answer.opcode == DATA
        told = asked_from("127.0.0.4")[1]
        assert (told.opcode, told.number) == (ERROR, 0)
        assert "too many transfers are running" in told.message
        assert third.take(answer) == content
        fourth, answer = asked_from("127.0.0.4")
        assert fourth.take(answer) == content
        for client, answer in running[:2]:
            assert client.take(answer) == content


# Addresses and ports


def test_answers_come_from_the_address_that_was_asked(house: Daemon) -> None:
    content = put(house, "addressed", noise(3000))
    with Client(house.tftp_port, "127.0.0.7") as client:
        for mode in (b"octet", b"netascii"):
            granted = client.answer("addressed", mode, tsize=0)
            assert granted.opcode == OACK
            assert granted.sender[0] == "127.0.0.7"
            client.ack(0)
            assert client.hear().sender[0] == "127.0.0.7"
            client.error()
    for ask in (
        request_bytes(b"missing"),
        request_bytes(b"../x"),
        request_bytes(b"addressed", b"mail"),
        request_bytes(b"x", b"octet", WRQ),
        b"\0\x01",
    ):
        with Client(house.tftp_port, "127.0.0.7") as client:
            client.send(ask)
            told = client.hear()
            assert (told.opcode, told.sender) == (ERROR, ("127.0.0.7", house.tftp_port))
    assert fetch(house.tftp_port, "addressed", server="127.0.0.2") == content


def test_every_transfer_leaves_from_the_range_of_ports(serve: Serve) -> None:
    low = next(port for port in iter(free_port, 0) if port < 65000)
    daemon = serve(tftp=f'data_ports = "{low}-{low + 1}"')
    content = put(daemon, "file", noise(20_000))
    with ExitStack() as stack:
        clients = [stack.enter_context(Client(daemon.tftp_port)) for _ in range(20)]
        answers = [client.answer("file", tsize=0) for client in clients]
        assert {answer.sender[1] for answer in answers} == {low, low + 1}
        for client, answer in zip(clients, answers, strict=True):
            assert client.take(answer) == content


def test_everything_may_go_over_the_listening_port(serve: Serve) -> None:
    port = free_port()
    daemon = serve(tftp=f'data_ports = "{port}"', flags=("--tftp-port", str(port)))
    contents = [put(daemon, f"file-{number}", noise(20_000, number)) for number in range(20)]
    with ExitStack() as stack:
        clients = [stack.enter_context(Client(port)) for _ in contents]
        answers = [client.answer(f"file-{number}") for number, client in enumerate(clients)]
        assert {answer.sender[1] for answer in answers} == {port}
        # Here a repeated request, and one for another file, find the transfer's own socket.
        clients[0].ask("file-0")
        assert clients[0].hear_or_nothing(0.1) is None
        clients[1].ask("file-0")
        answers[1], contents[1] = clients[1].hear(), contents[0]
        clients[2].ask("missing")
        assert clients[2].hear().number == 1
        clients[2].ask("file-2")
        answers[2] = clients[2].hear()
        for client, answer, content in zip(clients, answers, contents, strict=True):
            assert client.take(answer) == content
        for client, content in zip(clients, contents, strict=True):
            assert client.take(client.answer(f"file-{contents.index(content)}")) == content
    assert wait_until(lambda: of_transfers(daemon) == 0, PROMPT_S)


# The end


def test_running_transfers_finish_at_sigterm_and_new_ones_are_not_taken(serve: Serve) -> None:
    daemon = serve()
    content = put(daemon, "file", noise(LARGE))
    assert daemon.process is not None
    with Client(daemon.tftp_port) as running, Client(daemon.tftp_port) as late:
        got = running.take(running.answer("file"), until=20)
        daemon.process.terminate()
        assert wait_until(lambda: daemon.said("stopping"))
        time.sleep(0.1)
        late.sock.connect(late.server)
        late.sock.send(request_bytes(b"file"))
        late.sock.settimeout(0.3)
        with pytest.raises(OSError, match=os.strerror(errno.ECONNREFUSED)):
            late.sock.recv(2000)
        assert daemon.process.poll() is None
        assert got + rest_of(running, 1, 20) == content
    finished = time.monotonic()
    assert daemon.process.wait(5) == 0
    assert time.monotonic() - finished < 1.5
    assert daemon.said("file sent")[0]["bytes"] == LARGE


def test_a_transfer_that_does_not_finish_is_told_and_ended_at_stop(serve: Serve) -> None:
    daemon = serve()
    put(daemon, "file", noise(LARGE))
    assert daemon.process is not None
    with Client(daemon.tftp_port) as client:
        client.take(client.answer("file"), until=20)
        client.hear()
        daemon.process.terminate()
        asked = time.monotonic()
        told = [packet for packet in client.hear_all(2.5) if packet.opcode == ERROR]
        assert [(packet.number, packet.message) for packet in told] == [(0, "the server is stopping")]
        assert 1.8 < told[0].at - asked < 2.4
        assert daemon.process.wait(5) == 0
    assert daemon.said("transfer ended by our stop")
