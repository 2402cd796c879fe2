"""Which events become a log line, in which words, and how many of them a peer can provoke."""

from __future__ import annotations

from dataclasses import replace

import pytest

from pinetboot import causes
from pinetboot.dhcp.events import DhcpTold, LeaseEnded, LeaseGranted, LeaseRefused
from pinetboot.events import (
    AddressMoved,
    BootStalled,
    DhcpHeard,
    Event,
    ExportsChanged,
    FileIgnored,
    FleetKept,
    HttpServed,
    InterfaceChanged,
    NfsTold,
    Outcome,
    PacketDropped,
    PhonedHome,
    PiMaking,
    PiOnline,
    RootMounted,
    TransferEnded,
    TransferStarted,
)
from pinetboot.observe.journal import Journal, Line, client_of, line_for

CLIENT = "192.168.1.101"
BURST = 100
PER_S = 20


def ended(outcome: Outcome, *, size: int = 0, sent_bytes: int = 0, retransmissions: int = 0, why: str = "") -> Event:
    return TransferEnded(
        CLIENT,
        49152,
        "192.168.1.10",
        "5b154510/start4.elf",
        outcome,
        size=size,
        sent_bytes=sent_bytes,
        seconds=1.23456,
        retransmissions=retransmissions,
        why=why,
    )


def dhcp(*, kind: str = "DISCOVER", answered: str | None = None, model: str | None = "pi4", why: str = "") -> Event:
    return DhcpHeard("dc:a6:32:2e:f8:ed", kind, "eth0", answered, why, "5b154510", model)


def test_what_comes_through_a_relay_is_told_with_it_and_with_what_stands_against_the_boot() -> None:
    cause = causes.relayed_rom("10.2.0.1")
    event = DhcpHeard(
        "b8:27:eb:85:c0:f2", "DISCOVER", "eth0", "10.55.0.2", model="Pi 3B", relay="10.2.0.1", cause=cause
    )
    line = line_for(event)
    assert (line.level, line.event) == ("warning", "boot offered in vain")
    assert (line.fields["relay"], line.fields["from"], line.fields["rule"]) == ("10.2.0.1", "10.55.0.2", "D42")
    assert line.fields["do"] == cause.do
    assert line_for(replace(event, cause=None)).event == "boot offered"


def test_an_interface_is_told_when_it_is_missed_and_when_it_comes() -> None:
    missing = line_for(InterfaceChanged("eth0.5", there=False, why="this host has eth0, lo"))
    assert missing == Line(
        "warning", "interface not there, waiting for it", {"interface": "eth0.5", "why": "this host has eth0, lo"}
    )
    assert line_for(InterfaceChanged("eth0.5", there=True)) == Line("info", "interface came", {"interface": "eth0.5"})
    unusable = line_for(InterfaceChanged("", there=False, why="UDP port 69 on eth0.5 is taken by another program"))
    assert (unusable.level, unusable.event) == ("warning", "interface not usable")


def test_who_keeps_the_fleet_is_a_warning_where_nobody_meant_two_to() -> None:
    assert line_for(FleetKept(3, "", expected=False)) == Line("info", "keeping the fleet")
    other = FleetKept(0, "nuc (process 7)", expected=False)
    assert line_for(other) == Line("warning", "the fleet is kept by another daemon", {"by": "nuc (process 7)"})
    assert line_for(replace(other, expected=True)).level == "info"


def test_a_virtual_ip_is_told_as_it_comes_and_goes() -> None:
    here = line_for(AddressMoved("10.55.0.9", held=True))
    assert here == Line("info", "active: the address is here", {"address": "10.55.0.9"})
    assert line_for(AddressMoved("10.55.0.9", held=False)).event == "standby: the address is elsewhere"


DROPPED = PacketDropped("tftp", CLIENT, "opcode 9 is unknown")


@pytest.mark.parametrize(
    ("event", "line"),
    [
        (
            LeaseGranted("dc:a6:32:2e:f8:ed", CLIENT, "eth0", "5b154510", "node-1"),
            Line(
                "info",
                "address leased",
                {
                    "mac": "dc:a6:32:2e:f8:ed",
                    "address": CLIENT,
                    "interface": "eth0",
                    "serial": "5b154510",
                    "hostname": "node-1",
                },
            ),
        ),
        (
            LeaseGranted("dc:a6:32:2e:f8:ed", CLIENT, "eth0", renewed=True),
            Line("debug", "lease renewed", {"mac": "dc:a6:32:2e:f8:ed", "address": CLIENT, "interface": "eth0"}),
        ),
        (
            LeaseEnded("dc:a6:32:2e:f8:ed", CLIENT, "eth0", "released"),
            Line(
                "info",
                "lease ended",
                {"mac": "dc:a6:32:2e:f8:ed", "address": CLIENT, "interface": "eth0", "why": "released"},
            ),
        ),
        (
            LeaseRefused("dc:a6:32:2e:f8:ed", CLIENT, "eth0"),
            Line("info", "address refused", {"mac": "dc:a6:32:2e:f8:ed", "address": CLIENT, "interface": "eth0"}),
        ),
        (DhcpTold(well=False, what="no address is leased"), Line("warning", "dhcp", {"what": "no address is leased"})),
        (
            dhcp(kind="REQUEST", answered="192.168.1.10", model=None),
            Line(
                "debug",
                "dhcp request answered",
                {"mac": "dc:a6:32:2e:f8:ed", "interface": "eth0", "serial": "5b154510", "from": "192.168.1.10"},
            ),
        ),
        (
            ended(Outcome.SENT, size=1000, sent_bytes=1000),
            Line("info", "file sent", {"path": "5b154510/start4.elf", "bytes": 1000, "seconds": 1.235}),
        ),
        (
            ended(Outcome.SENT, size=1000, retransmissions=3),
            Line(
                "info",
                "file sent",
                {"path": "5b154510/start4.elf", "bytes": 1000, "seconds": 1.235, "retransmissions": 3},
            ),
        ),
        (
            ended(Outcome.MISSING, why="there is no such file"),
            Line("info", "file not there", {"path": "5b154510/start4.elf"}),
        ),
        (
            ended(Outcome.REFUSED, why="it is a directory"),
            Line("warning", "request refused", {"path": "5b154510/start4.elf", "why": "it is a directory"}),
        ),
        (
            ended(Outcome.TIMED_OUT, size=1000, sent_bytes=512, retransmissions=5, why="silence"),
            Line(
                "warning",
                "client went silent",
                {"path": "5b154510/start4.elf", "bytes": 1000, "sent": 512, "retransmissions": 5, "why": "silence"},
            ),
        ),
        (
            TransferStarted(CLIENT, 49152, "192.168.1.10", "config.txt", 1000, 1024, 4),
            Line("debug", "transfer started", {"path": "config.txt", "bytes": 1000, "blksize": 1024, "windowsize": 4}),
        ),
        (
            HttpServed(CLIENT, "GET", "/user-data", 200, 10, "seed"),
            Line("info", "http seed", {"method": "GET", "path": "/user-data", "status": 200, "bytes": 10}),
        ),
        (DROPPED, Line("warning", "tftp packet dropped", {"why": "opcode 9 is unknown"})),
        (
            PiMaking("5b154510", "node-1", "raspios-lite", 1),
            Line(
                "info",
                "making a generation",
                {"serial": "5b154510", "hostname": "node-1", "image": "raspios-lite", "generation": 1},
            ),
        ),
        (
            PiOnline("5b154510", 43.21, "node-1"),
            Line("info", "Pi online", {"serial": "5b154510", "hostname": "node-1", "seconds": 43.2}),
        ),
        (PiOnline("5b154510", None), Line("info", "Pi online", {"serial": "5b154510"})),
        (
            BootStalled("5b154510", "kernel", None),
            Line("warning", "boot stalled", {"serial": "5b154510", "stage": "kernel"}),
        ),
        (
            RootMounted("5b154510", CLIENT, 3),
            Line("info", "root mounted", {"serial": "5b154510", "generation": 3}),
        ),
        (
            PhonedHome(CLIENT, "5b154510", "node-1"),
            Line("debug", "Pi phoned home", {"serial": "5b154510", "hostname": "node-1"}),
        ),
        (
            FileIgnored("/srv/x.json", "it holds no boots"),
            Line("warning", "kept file ignored", {"path": "/srv/x.json", "why": "it holds no boots"}),
        ),
        (
            dhcp(answered="192.168.1.10"),
            Line(
                "info",
                "boot offered",
                {
                    "mac": "dc:a6:32:2e:f8:ed",
                    "interface": "eth0",
                    "serial": "5b154510",
                    "model": "pi4",
                    "from": "192.168.1.10",
                },
            ),
        ),
    ],
    ids=lambda value: value.event if isinstance(value, Line) else "",
)
def test_an_event_is_put_into_words(event: Event, line: Line) -> None:
    told = line_for(event)
    assert told == line
    assert list(told.fields) == list(line.fields)


@pytest.mark.parametrize("outcome", list(Outcome))
def test_every_way_a_transfer_can_end_has_words(outcome: Outcome) -> None:
    line = line_for(ended(outcome))
    assert line.level in {"debug", "info", "warning", "error"}
    assert line.event
    assert line.fields["path"] == "5b154510/start4.elf"


def test_the_size_probe_of_every_pi_is_not_worth_a_line() -> None:
    assert line_for(ended(Outcome.PROBED, why="Early terminate")).level == "debug"


@pytest.mark.parametrize(
    ("event", "level"),
    [
        (dhcp(why="the answer is for another"), "info"),
        (dhcp(kind="REQUEST"), "debug"),
        (dhcp(model=None), "debug"),
        (HttpServed(CLIENT, "GET", "/healthz", 200, 3, "health"), "debug"),
        (HttpServed(CLIENT, "GET", "/boot/x", 200, 3, "boot"), "info"),
        (HttpServed(CLIENT, "GET", "/phpmyadmin", 404, 3, "request"), "debug"),
    ],
)
def test_what_is_of_no_interest_to_an_operator_is_for_debugging(event: Event, level: str) -> None:
    assert line_for(event).level == level


def test_a_stalled_boot_is_told_with_its_cause_and_what_to_do() -> None:
    cause = causes.no_loader(["start4.elf"], "5b154510/")
    line = line_for(BootStalled("5b154510", "firmware", cause, "node-1"))
    assert line.level == "warning"
    assert list(line.fields) == ["serial", "hostname", "stage", "rule", "what", "why", "do"]
    assert (line.fields["rule"], line.fields["do"]) == ("D13", cause.do)
    assert client_of(BootStalled("5b154510", "firmware", cause)) is None


def test_an_event_says_which_address_it_is_about() -> None:
    assert client_of(ended(Outcome.SENT)) == CLIENT
    assert client_of(DROPPED) == CLIENT
    assert client_of(dhcp()) is None


# The rate


def told(journal: Journal, event: Event, times: int, now: float) -> list[Line]:
    return [line for _ in range(times) if (line := journal.line(event, now)) is not None]


def test_lines_that_a_peer_can_provoke_come_at_a_rate_that_can_be_read() -> None:
    journal = Journal()
    assert len(told(journal, DROPPED, 1000, 50.0)) == BURST
    assert len(told(journal, DROPPED, 1000, 50.04)) == 0
    assert len(told(journal, DROPPED, 1000, 51.0)) == PER_S
    assert len(told(journal, DROPPED, 1000, 53.5)) == 2.5 * PER_S
    assert len(told(journal, DROPPED, 1000, 1000.0)) == BURST


def test_a_trickle_is_never_held_back() -> None:
    journal = Journal()
    assert sum(len(told(journal, DROPPED, 1, turn / PER_S)) for turn in range(5000)) == 5000


def test_a_flood_that_lasts_makes_20_lines_a_second() -> None:
    journal = Journal()
    lines = sum(len(told(journal, DROPPED, 1, turn / 1000)) for turn in range(60_000))
    assert abs(lines - (BURST + 60 * PER_S)) <= 1


def test_the_next_line_tells_how_many_were_held_back() -> None:
    journal = Journal()
    lines = told(journal, DROPPED, BURST + 123, 0.0)
    assert not any("and_more" in line.fields for line in lines)
    line = journal.line(DROPPED, 10.0)
    assert line is not None
    assert line.fields == {"why": "opcode 9 is unknown", "and_more": 123}
    line = journal.line(DROPPED, 10.0)
    assert line is not None
    assert "and_more" not in line.fields


def test_kinds_of_lines_are_counted_apart() -> None:
    journal = Journal()
    told(journal, DROPPED, 1000, 0.0)
    for event in (ended(Outcome.REFUSED), ended(Outcome.MISSING), dhcp(answered="192.168.1.10")):
        assert journal.line(event, 0.0) is not None


@pytest.mark.parametrize("outcome", [Outcome.SENT, Outcome.UNCONFIRMED])
def test_files_that_were_sent_are_all_told(outcome: Outcome) -> None:
    assert len(told(Journal(), ended(outcome, size=10), 5000, 0.0)) == 5000


def test_lines_for_debugging_are_all_told() -> None:
    assert len(told(Journal(), ended(Outcome.PROBED), 5000, 0.0)) == 5000


def test_what_peers_make_up_does_not_fill_memory() -> None:
    journal = Journal()
    for number in range(20_000):
        now = number / 1000
        client = f"10.0.{number >> 8}.{number & 255}"
        for event in (
            PacketDropped("tftp", client, f"opcode {number} is unknown"),
            TransferEnded(client, number, "192.168.1.10", f"path-{number}", Outcome.MISSING),
            TransferEnded(client, number, "192.168.1.10", f"path-{number}", Outcome.REFUSED, why=f"why {number}"),
            HttpServed(client, f"METHOD{number}", f"/boot/{number}", 404, 0, "boot", f"agent {number}"),
            DhcpHeard(f"mac-{number}", "DISCOVER", "eth0", None, f"why {number}", f"{number:08x}", "pi4"),
        ):
            journal.line(event, now)
    assert len(journal._left) <= 10


def test_exports_are_shown_by_client_and_path_but_not_a_hundred_of_them() -> None:
    added = tuple(f"10.0.0.{number}/32:/srv/pis/5b1545{number:02x}/1/root" for number in range(100))
    line = line_for(ExportsChanged(added, ()))
    assert (line.level, line.event) == ("info", "exports changed")
    shown = line.fields["added"]
    assert isinstance(shown, list)
    assert shown[0] == added[0]
    assert shown[-1] == "and 88 more"
    assert "removed" not in line.fields
    assert client_of(ExportsChanged((), added[:1])) is None


def test_a_word_on_nfs_is_one_line_and_a_warning_where_somebody_should_look() -> None:
    assert line_for(NfsTold(well=True, what="rpc.mountd started")) == Line(
        "info", "nfs", {"what": "rpc.mountd started"}
    )
    line = line_for(NfsTold(well=False, what="exportfs says: \n\x1b[31mno"))
    assert line.level == "warning"
    assert str(line.fields["what"]).isprintable()
