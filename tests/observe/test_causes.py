"""Why a boot stands still: every rule, provoked by what the servers would have told, and which of several counts."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from recorded import (
    HEALTHY,
    HERE,
    LINUX_DHCP,
    MOUNT,
    OTHER,
    PHONE,
    SERIAL,
    SERVER,
    House,
    ended,
    heard,
    missing,
    probed,
    seed,
    sent,
    started,
)

from pinetboot import causes
from pinetboot.causes import Cause, Finding
from pinetboot.events import Event, HttpServed, Outcome, RootMounted, TransferEnded, TransferStarted
from pinetboot.observe import among_files, before_files, in_linux
from pinetboot.observe import causes as order
from pinetboot.observe.evidence import Evidence
from pinetboot.observe.halt import Halt, Rule
from pinetboot.observe.outlook import Outlook
from pinetboot.observe.silence import HANGS_S, SETTLED_S
from pinetboot.observe.stages import STAGES

PI3, PI3B, PI4, PI5 = "Pi 3B+ or earlier", "Pi 3B", "Pi 4", "Pi 5"
ROUTER, ELSEWHERE = "192.168.1.1", "192.168.1.77"
FIRMWARE, KERNEL = HEALTHY["firmware"], HEALTHY["kernel"]
LINUX = [*FIRMWARE, *KERNEL, *LINUX_DHCP]
SILENT = ended("kernel8.img", Outcome.TIMED_OUT, sent_bytes=50)


def sized(name: str, size: int, outcome: Outcome = Outcome.SENT, **more: Any) -> list[Event]:
    """A file of that size, which ends so."""
    return [
        TransferStarted(HERE, 49152, SERVER, f"{SERIAL}/{name}", size, 1468, 1),
        TransferEnded(HERE, 49152, SERVER, f"{SERIAL}/{name}", outcome, size=size, **more),
    ]


def asked_on(server: str) -> list[Event]:
    """A file that is asked for on an address of this host, and never arrives."""
    return [
        TransferStarted(HERE, 49152, server, f"{SERIAL}/start4.elf", 100, 1468, 1),
        TransferEnded(HERE, 49152, server, f"{SERIAL}/start4.elf", Outcome.TIMED_OUT, size=100),
    ]


def over_http(name: str, status: int) -> HttpServed:
    return HttpServed(HERE, "GET", f"/boot/{SERIAL}/{name}", status, 10, "boot")


def finding(rule: str, severity: Any = "fatal") -> Finding:
    return Finding(severity, f"what of {rule}", "why", "do", rule)


@dataclass(frozen=True)
class Case:
    """What is seen, what is known, and the rule that it has to be: the function, the number, and where it stands."""

    function: Rule
    rule: str
    stage: str
    events: list[Event]
    model: str = PI4
    known: dict[str, Any] = field(default_factory=dict)


CASES = [
    Case(before_files.foreseen, "D42", "seen", [heard(cause=causes.relayed_rom("10.0.0.1"))], PI3B),
    Case(before_files.menu_changed, "D02", "seen", [heard(), heard()], known={"menu": "Other text"}),
    Case(before_files.rom_asleep, "D04", "seen", [heard()] * 5, PI3B),
    Case(before_files.port_late, "D05", "seen", [heard()] * 2, PI3B),
    Case(before_files.offers_ignored, "D02", "seen", [heard(), heard()], known={"giver": ROUTER}),
    Case(before_files.offers_ignored, "D02", "seen", [heard(), heard()], known={"leases": True}),
    Case(before_files.no_address, "D03", "seen", [heard(), heard()]),
    Case(before_files.no_request, "D10", "seen", [heard(), heard("REQUEST")]),
    Case(before_files.no_request, "D10", "seen", [heard()] * 5, PI3B, {"reached": HERE}),
    Case(among_files.address_shared, "D40", "firmware", [heard(), *sent("start4.elf")], known={"rival": (OTHER, HERE)}),
    Case(among_files.http_boot, "D41", "firmware", [over_http("boot.sig", 404), over_http("boot.img", 404)]),
    Case(among_files.http_boot, "D41", "kernel", [over_http("boot.sig", 404), over_http("boot.img", 200)]),
    Case(
        among_files.http_boot_refused, "D41", "kernel", [over_http("boot.sig", 200), over_http("boot.img", 200)] * 3
    ),
    Case(among_files.no_first_loader, "D12", "firmware", [heard(), missing("bootcode.bin")], PI3B),
    Case(among_files.no_loader, "D13", "firmware", [heard(), missing("start4.elf"), missing("start.elf")]),
    Case(among_files.no_loader, "D13", "firmware", [heard(), missing("config.txt")], PI5),
    Case(among_files.no_loader, "D13", "firmware", [heard(), *sent("bootcode.bin"), missing("start.elf")], PI3),
    Case(among_files.old_loader, "D14", "firmware", [heard(), missing("start4.elf"), *probed("start.elf")]),
    Case(among_files.no_fixup, "D27", "firmware", [*sent("start4.elf", "config.txt"), missing("fixup4.dat")]),
    Case(among_files.no_fixup, "D23", "firmware", [*sent("bootcode.bin", "start.elf"), missing("fixup.dat")], PI3),
    Case(among_files.not_for_pi5, "D15", "kernel", [heard(), *sent("config.txt"), missing("bcm2712-x.dtb")], PI5),
    Case(among_files.no_device_tree, "D27", "kernel", [*FIRMWARE, missing("bcm2711-rpi-4-b.dtb")]),
    Case(among_files.no_kernel, "D27", "kernel", [*FIRMWARE, *sent("bcm2711-rpi-4-b.dtb"), missing("kernel8.img")]),
    Case(among_files.file_empty, "D45", "kernel", [*FIRMWARE, *sized("bcm2711-rpi-4-b.dtb", 0), *sent("kernel8.img")]),
    Case(among_files.refused, "D45", "firmware", [*FIRMWARE, ended("kernel8.img", Outcome.REFUSED, why="why")]),
    Case(
        among_files.no_rollover, "D17", "kernel",
        [*FIRMWARE, *sized("initramfs8", 97 << 20, Outcome.TIMED_OUT, sent_bytes=65535 * 1468)],
    ),
    Case(
        among_files.no_rollover, "D17", "kernel",
        [*sized("kernel8.img", 40 << 20, Outcome.TIMED_OUT, sent_bytes=65535 * 512)], PI3,
    ),
    Case(
        among_files.update_loop, "D25", "firmware",
        [heard(), *sent("start4.elf", "pieeprom.sig", "pieeprom.upd"), *FIRMWARE] * 4,
    ),
    Case(
        among_files.ramdisk_dropped, "D26", "kernel",
        [heard(), *sent("config.txt"), *sized("boot.img", 1 << 20, Outcome.ABORTED)], PI5,
    ),
    Case(among_files.asked_elsewhere, "D08", "firmware", [heard(), *asked_on("172.17.0.2")]),
    Case(
        among_files.copies, "D22", "kernel",
        [heard(xid=7), heard(xid=7, interface="eth1"), *FIRMWARE, started("kernel8.img"), SILENT],
    ),
    Case(
        among_files.unheard, "D18", "firmware",
        [heard(), started("start4.elf"), ended("start4.elf", Outcome.TIMED_OUT, repeats=4)],
    ),
    Case(among_files.client_silent, "D19", "kernel", [*FIRMWARE, started("kernel8.img"), SILENT]),
    Case(
        among_files.trees_lack, "D13", "firmware", [heard(), *sent("start4.elf")],
        known={"findings": (finding("D13"),)},
    ),
    Case(among_files.kernel_stops, "D28", "kernel", [*FIRMWARE, *KERNEL], known={"findings": (finding("D28"),)}),
    Case(
        among_files.kernel_stops, "D27", "kernel", [*FIRMWARE, *KERNEL],
        known={"findings": (finding("D27", "warning"),)},
    ),
    Case(among_files.config_too_long, "D21", "kernel", [*FIRMWARE, *sized("config.txt", 5000), *KERNEL[-2:]]),
    Case(among_files.command_line_too_long, "D27", "kernel", [*FIRMWARE, *KERNEL, *sized("cmdline.txt", 1100)]),
    Case(among_files.no_linux, "D27", "kernel", [heard(), *FIRMWARE, *KERNEL]),
    Case(among_files.fell_silent, "D19", "firmware", [heard(), *FIRMWARE]),
    Case(among_files.unasked, "D40", "firmware", FIRMWARE),
    Case(
        in_linux.unaddressed, "D46", "linux",
        [*LINUX, heard("REQUEST", firmware=False, unaddressed=True, server=ROUTER)],
    ),
    Case(in_linux.others_root, "D28", "linux", LINUX),
    Case(in_linux.joined_seed, "D36", "linux", [*LINUX, HttpServed(HERE, "GET", "/seedmeta-data", 404, 0, "seed")]),
    Case(in_linux.no_seed, "D34", "linux", [*LINUX, *[seed(404)] * 11]),
    Case(in_linux.no_seed, "D34", "linux", [*LINUX, seed(403)]),
    Case(in_linux.cannot_mount, "D29", "linux", LINUX, known={"findings": (finding("D29"),)}),
    Case(in_linux.may_not_mount, "D29", "linux", LINUX, known={"findings": (finding("D29", "warning"),)}),
    Case(in_linux.no_mount, "D29", "linux", LINUX),
    Case(order.by_its_log, "D15", "kernel", [*FIRMWARE, *KERNEL], PI5, {"log": causes.says_no_support()}),
]  # fmt: skip


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.rule} {case.function.__name__}")
def test_each_rule_tells_the_boot_that_it_is_about(case: Case) -> None:
    house = House(known={SERIAL: Outlook(model=case.model, ours=True, **case.known)})
    house.take(*case.events)
    if case.function is in_linux.others_root:
        assert house.timeline.foreign_root(SERIAL, RootMounted(OTHER, HERE, 1))
    house.wait(1000)
    assert house.stalls() == [(case.stage, case.rule)]
    evidence = house.boot.before if house.boot.attempts > 1 else house.boot.evidence
    assert evidence is not None
    halt = Halt(SERIAL, STAGES.index(case.stage), evidence, house.known[SERIAL], house.boot.attempts)
    assert case.function(halt) == house.boot.cause
    first = next(rule for rule in order.RULES if rule(halt))
    assert first is case.function


def test_a_long_silence_before_a_file_is_told() -> None:
    house = House(known={SERIAL: Outlook(model=PI5, ours=True)})
    house.take(heard(), *sent("config.txt", "bcm2712-rpi-5-b.dtb"))
    house.wait(31)
    house.take(*sent("kernel_2712.img"))
    house.wait(1000)
    assert house.stalls() == [("kernel", "D19")]
    assert house.boot.cause is not None
    assert "31 seconds passed before it asked for kernel_2712.img" in house.boot.cause.what


def test_a_seed_that_is_for_another_address_alone_is_told_as_that() -> None:
    house = House(known={SERIAL: Outlook(model=PI4, ours=True)})
    house.take(*LINUX, heard("REQUEST", firmware=False, requested=ELSEWHERE), seed(403))
    house.wait(1000)
    assert house.boot.cause == causes.seed_of_another(ELSEWHERE)


UP: dict[Rule, tuple[str, list[Event], tuple[Finding, ...]]] = {  # what a Pi whose root is mounted hangs on
    in_linux.network_anew: ("D47", [heard("REQUEST", firmware=False, requested=HERE)], (finding("D47", "warning"),)),
    in_linux.address_changed: ("D32", [heard("REQUEST", firmware=False, requested=ELSEWHERE)], ()),
    in_linux.root_stops: ("D31", [], (finding("D31", "warning"),)),
}


@pytest.mark.parametrize("function", UP, ids=lambda function: function.__name__)
def test_a_root_that_hangs_is_told_of_a_pi_that_would_say_that_it_is_up(function: Rule) -> None:
    rule, events, found = UP[function]
    house = House(known={SERIAL: Outlook(model=PI4, ours=True, findings=found)})
    house.boots(*STAGES)
    house.wait(3600)
    house.boots(*STAGES[:5])
    house.take(*events)
    house.wait(SETTLED_S + 10)
    assert (house.boot.state, house.stage) == ("booting", "root")
    house.wait(HANGS_S)
    assert house.stalls() == [("root", rule)]
    house.take(PHONE)
    assert (house.boot.state, house.boot.cause) == ("online", None)


@pytest.mark.parametrize("function", UP, ids=lambda function: function.__name__)
def test_a_pi_that_never_says_that_it_is_up_is_online_all_the_same(function: Rule) -> None:
    _, events, found = UP[function]
    house = House(known={SERIAL: Outlook(model=PI4, ours=True, findings=found)})
    for _ in range(3):
        house.boots(*STAGES[:5])
        house.take(*events)
        house.wait(SETTLED_S + 2)
        assert house.boot.state == "online"
    assert not house.stalls()


def test_every_rule_is_provoked_here() -> None:
    provoked = {case.function for case in CASES} | set(UP) | {among_files.late}
    assert set(order.RULES) == provoked


@pytest.mark.parametrize(
    ("rule", "events", "model"),
    [
        ("D23", [*sent("bootcode.bin", "start.elf"), missing("fixup.dat"), *KERNEL, *LINUX_DHCP], PI3),
        ("D22", [heard(xid=7), heard(xid=7), *LINUX], PI4),
        ("D21", [heard(), *sized("config.txt", 5000), *LINUX], PI4),
        ("", [heard(), *LINUX, heard("REQUEST", firmware=False, requested=ELSEWHERE)], PI4),
    ],
)
def test_what_does_no_harm_is_told_beside_a_boot_that_goes_on(rule: str, events: list[Event], model: str) -> None:
    house = House(known={SERIAL: Outlook(model=model, ours=True)})
    house.take(*events)
    house.take(MOUNT if rule else RootMounted(SERIAL, "192.168.1.99", 1))
    house.wait(SETTLED_S + 2)
    assert (house.boot.state, house.boot.cause) == ("online", None)
    assert [cause.rule for cause in house.boot.warnings] == [rule]


def test_nothing_is_told_beside_a_healthy_boot() -> None:
    house = House(known={SERIAL: Outlook(model=PI4, ours=True)})
    house.boots(*STAGES[:5])
    house.wait(SETTLED_S + 2)
    assert (house.boot.state, house.boot.warnings) == ("online", ())


def test_files_that_people_fetch_over_http_are_no_boot() -> None:
    house = House()
    house.boots(*STAGES)
    house.take(*[over_http(name, 200) for name in ("start4.elf", "config.txt", "fixup4.dat", "kernel8.img")])
    house.take(over_http("boot.sig", 404))
    house.wait(1000)
    assert (house.boot.state, house.count, house.stalls()) == ("online", 1, [])
    house.take(*[over_http("boot.sig", 404)] * 3)
    house.wait(1000)
    assert house.stalls() == [("firmware", "D41")]


def test_a_root_that_another_pi_mounts_is_not_taken_for_its_own_boot() -> None:
    house = House()
    house.take(heard(), *LINUX, serial=SERIAL)
    assert not house.timeline.foreign_root(SERIAL, RootMounted(OTHER, ELSEWHERE, 1))
    assert not house.timeline.foreign_root(OTHER, RootMounted(SERIAL, HERE, 1))


@pytest.mark.parametrize(
    ("certain", "likely"),
    [
        (
            "D13",
            [heard(), *sized("x", 9, Outcome.TIMED_OUT, repeats=9), missing("start4.elf"), missing("start.elf")],
        ),
        ("D45", [*FIRMWARE, *sized("config.txt", 9000), ended("kernel8.img", Outcome.REFUSED, why="why")]),
    ],
)  # fmt: skip
def test_what_is_certain_is_told_before_what_is_likely(certain: str, likely: list[Event]) -> None:
    house = House(known={SERIAL: Outlook(model=PI4, ours=True)})
    house.take(*likely)
    house.wait(1000)
    assert [rule for _, rule in house.stalls()] == [certain]


texts = st.sampled_from(["", "a", "kernel8.img", "start4.elf", "boot.img", "fixup.dat", "bcm2711-x.dtb", "config.txt"])
evidences = st.builds(
    Evidence,
    server=texts, asked_at=texts, requested=st.booleans(), discovers=st.integers(0, 9), copied=texts,
    missing=st.sets(texts), sent=st.sets(texts), refused=st.none() | st.tuples(texts, texts),
    broken=st.none() | st.tuples(texts, st.integers(0), st.integers(0)),
    unheard=st.none() | st.tuples(texts, st.integers(0)),
    late=st.none() | st.tuples(texts, st.floats(0, 1e6)), sizes=st.dictionaries(texts, st.integers(0)), empty=texts,
    dropped=texts, seed=st.none() | st.tuples(texts, st.integers(100, 599)), by_http=st.integers(0, 9),
    unaddressed=texts, mounts=st.none() | st.tuples(texts, texts), root_at=texts, moved_to=texts,
    anew=st.booleans(), address=texts,
)  # fmt: skip


@given(evidences, st.integers(0, len(STAGES) - 2), st.sampled_from(["", PI3, PI3B, PI4, PI5]), st.integers(1, 9))
def test_whatever_was_seen_a_cause_is_whole(evidence: Evidence, stage: int, model: str, attempts: int) -> None:
    halt = Halt(SERIAL, stage, evidence, Outlook(model=model), attempts)
    for cause in (order.of(halt), *order.warnings(halt)):
        if cause is not None:
            assert isinstance(cause, Cause)
            assert all((cause.what, cause.why, cause.do))
