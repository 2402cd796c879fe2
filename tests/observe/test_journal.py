"""Which events become a log line, in which words, and how many of them a peer can provoke."""

from __future__ import annotations

import pytest

from pinetboot import causes
from pinetboot.events import (
    BootStalled,
    DhcpHeard,
    Event,
    ExportsChanged,
    FileIgnored,
    HttpServed,
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


DROPPED = PacketDropped("tftp", CLIENT, "opcode 9 is unknown")


@pytest.mark.parametrize(
    ("event", "line"),
    [
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
