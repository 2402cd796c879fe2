"""How far each boot came: what begins one, what moves it on, when it is through, and why it stands still."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from recorded import (
    HEALTHY,
    LINUX_DHCP,
    MOUNT,
    OTHER,
    PHONE,
    PI4_FIRMWARE,
    PI4_KERNEL,
    PI4_MISSING,
    SERIAL,
    House,
    ended,
    heard,
    missing,
    probed,
    seed,
    sent,
    started,
)

from pinetboot.events import (
    Event,
    HttpServed,
    Outcome,
    PiOnline,
)
from pinetboot.observe import boot as records
from pinetboot.observe.boot import Boot
from pinetboot.observe.outlook import Outlook
from pinetboot.observe.silence import PATIENCE, SETTLED_S
from pinetboot.observe.stages import FIRMWARE, KERNEL, LINUX, SEEN, STAGES
from pinetboot.observe.timeline import LONG_SILENCE_S, MOST_BOOTS, MOST_PIS, Timeline
from pinetboot.observe.view import boot_json


@pytest.fixture
def house() -> House:
    return House(known={SERIAL: Outlook(model="Pi 4", ours=True)})


def test_a_boot_goes_through_all_stages(house: House) -> None:
    reached = []
    for stage in STAGES:
        house.boots(stage)
        reached.append(house.stage)
        assert house.boot.state == ("online" if stage == "online" else "booting")
    assert reached == list(STAGES)
    assert house.count == 1
    shown = boot_json(house.boot)
    assert [stage["name"] for stage in shown["stages"]] == list(STAGES)
    times = [(stage["first"], stage["last"]) for stage in shown["stages"]]
    assert all(first <= last for first, last in times)
    assert times == sorted(times)
    assert [stage["bytes"] for stage in shown["stages"]] == [0, 300, 600, 0, 0, 40, 0]
    assert (shown["bytes"], shown["generation"], shown["attempts"], shown["cause"]) == (940, 3, 1, None)
    assert shown["seconds"] == pytest.approx(house.now - house.boot.started)
    (told,) = house.told
    assert isinstance(told, PiOnline)
    assert told.seconds == house.boot.seconds


def test_retransmissions_are_counted(house: House) -> None:
    house.boots("seen")
    house.take(
        started("start4.elf"), ended("start4.elf", retransmissions=3), started("a"), ended("a", retransmissions=1)
    )
    assert house.boot.retransmissions == 4


def test_config_txt_is_asked_for_again_and_again_and_takes_no_stage_back(house: House) -> None:
    house.boots("seen", "firmware", "kernel")
    house.take(*sent("config.txt"), missing("recovery.elf"))
    assert house.stage == "kernel"
    assert house.boot.attempts == 1


def test_the_order_of_a_pi_5_is_one_boot(house: House) -> None:
    tree, kernel = "bcm2712-rpi-5-b.dtb", "kernel_2712.img"
    house.take(heard(), *sent("config.txt"), missing("pieeprom.sig"), *sent(tree, kernel, "config.txt"))
    house.take(*sent("initramfs_2712", tree, "overlays/overlay_map.dtb", "config.txt"), missing("overlays/x.dtbo"))
    house.take(*sent("cmdline.txt"), missing("armstub8-2712.bin"), *sent(kernel))
    assert (house.stage, house.boot.attempts, house.count) == ("kernel", 1, 1)


def test_the_two_discovers_of_a_pi_3_are_one_boot(house: House) -> None:
    house.take(heard(), heard(), *sent("bootcode.bin"), missing("bootsig.bin"), heard(), heard("REQUEST"))
    assert house.stage == "firmware"
    house.take(*probed("start.elf"), missing("autoboot.txt"), *sent("config.txt", "start.elf", "fixup.dat"))
    house.take(*sent("bcm2710-rpi-3-b.dtb", "kernel8.img"))
    assert (house.stage, house.boot.attempts, house.count) == ("kernel", 1, 1)


def test_one_that_asks_for_its_loader_in_vain_and_begins_anew_goes_round_in_circles(house: House) -> None:
    for attempt in (1, 2, 3):
        house.take(heard(), heard("REQUEST"), started("start4.elf"))
        assert house.boot.attempts == attempt
        house.take(ended("start4.elf", Outcome.TIMED_OUT, repeats=3))
        house.wait(5)
    assert house.stalls() == [("firmware", "D18")]


def test_a_repeated_discover_is_no_new_boot(house: House) -> None:
    for _ in range(10):
        house.take(heard())
        house.wait(4)
    assert (house.count, house.boot.attempts, house.stage) == (1, 1, "seen")


def test_a_discover_that_was_left_alone_begins_nothing(house: House) -> None:
    house.take(heard(answered=False), heard("REQUEST"), *LINUX_DHCP)
    assert house.timeline.latest(SERIAL) is None


def test_a_boot_without_dhcp_begins_with_its_first_file(house: House) -> None:
    house.boots("firmware", "kernel")
    assert (house.stage, house.boot.seconds) == ("kernel", None)
    house.boots("online")
    assert house.boot.seconds is not None
    house.take(*probed("start4.elf"))
    assert (house.count, house.stage, house.boot.state) == (2, "firmware", "booting")


def test_the_reboot_of_a_pi_that_was_online_is_another_boot(house: House) -> None:
    house.boots(*STAGES)
    house.wait(3600)
    house.boots("seen")
    assert (house.count, house.stage) == (2, "seen")
    house.boots(*STAGES[1:])
    assert house.online() == 2
    assert not house.stalls()


def test_a_boot_that_fails_before_its_root_is_tried_again_and_is_one_boot(house: House) -> None:
    house.boots("seen", "firmware", "kernel")
    house.take(heard())
    assert (house.count, house.boot.attempts, house.stage) == (1, 2, "seen")
    house.boots("firmware", "kernel", "linux", "root", "online")
    assert house.count == 1
    assert house.boot.seconds == pytest.approx(house.now - house.boot.started)


def test_without_dhcp_a_loader_after_the_kernel_is_another_attempt(house: House) -> None:
    house.boots("firmware", "kernel", "firmware")
    assert (house.count, house.boot.attempts, house.stage) == (1, 2, "firmware")


def test_a_reboot_from_a_mounted_root_is_another_boot_though_it_was_never_online(house: House) -> None:
    house.boots("seen", "firmware", "kernel", "linux", "root", "seen")
    assert [boot.attempts for boot in house.timeline.boots(SERIAL)] == [1, 1]
    assert [boot.ended is not None for boot in house.timeline.boots(SERIAL)] == [True, False]


def test_a_boot_after_a_long_silence_is_another_boot(house: House) -> None:
    house.boots("seen")
    house.wait(LONG_SILENCE_S + 1)
    house.boots("seen")
    assert (house.count, house.boot.state) == (2, "booting")


# Online


def test_a_mounted_root_and_no_discover_for_two_minutes_is_online(house: House) -> None:
    house.boots("seen", "firmware", "kernel", "linux", "root")
    house.wait(SETTLED_S - 20)
    house.take(heard(firmware=False))
    house.wait(SETTLED_S - 2)
    assert house.boot.state == "booting"
    house.wait(3)
    assert (house.boot.state, house.online()) == ("online", 1)


def test_a_seed_that_was_fetched_is_as_good_as_a_root_that_was_seen(house: House) -> None:
    house.boots("seen", "firmware", "kernel", "linux", "seed")
    house.wait(SETTLED_S + 1)
    assert house.boot.state == "online"
    assert [STAGES[stage] for stage in sorted(house.boot.spans)] == [
        "seen", "firmware", "kernel", "linux", "seed", "online",
    ]  # fmt: skip


def test_a_root_that_is_seen_late_takes_no_stage_back(house: House) -> None:
    house.boots("seen", "firmware", "kernel", "linux", "seed", "root")
    assert house.stage == "seed"
    assert [stage["name"] for stage in boot_json(house.boot)["stages"]][-2:] == ["root", "seed"]


def test_phone_home_after_online_changes_nothing(house: House) -> None:
    house.boots(*STAGES)
    ended_at = house.boot.ended
    house.wait(5)
    house.boots("online", "seed", "root")
    assert (house.count, house.online(), house.boot.ended, house.stage) == (1, 1, ended_at, "online")


def test_a_pi_whose_boot_nobody_saw_is_online_when_it_says_so(house: House) -> None:
    house.boots("online")
    assert house.told == [PiOnline(SERIAL, None)]
    assert (house.boot.state, house.boot.seconds) == ("online", None)


def test_a_daemon_that_finds_a_root_mounted_takes_the_pi_as_running(house: House) -> None:
    house.boots("root")
    house.wait(SETTLED_S + 1)
    assert house.boot.state == "online"


# What never looks stalled


@pytest.mark.parametrize(
    "left_out", [(), ("seed",), ("linux",), ("root", "seed"), ("seen", "linux"), ("root", "linux")]
)
def test_a_healthy_pi_is_never_stalled_boot_after_boot(house: House, left_out: tuple[str, ...]) -> None:
    for _ in range(5):
        for stage in STAGES:
            if stage not in left_out:
                house.boots(stage)
                house.wait(30)
        house.wait(3600)
    assert (house.stalls(), house.online(), house.count) == ([], 5, 5)


@pytest.mark.parametrize("hears_dhcp", [True, False])
def test_a_tree_made_by_hand_whose_root_is_elsewhere_is_never_stalled(house: House, hears_dhcp: bool) -> None:
    house.known[SERIAL] = Outlook(model="Pi 4", hears_dhcp=hears_dhcp)
    for _ in range(5):
        house.boots("firmware", "kernel", *(("linux",) if hears_dhcp else ()))
        house.wait(3600)
    assert (house.stalls(), house.online(), house.count) == ([], 5, 5)


def test_a_file_fetched_by_hand_is_no_boot_of_a_pi_that_runs(house: House) -> None:
    house.boots(*STAGES)
    house.wait(600)
    house.take(*sent("config.txt"), *sent("kernel8.img"))
    house.wait(600)
    assert (house.stalls(), house.count, house.boot.state) == ([], 1, "online")


def test_a_file_that_takes_long_is_no_stall(house: House) -> None:
    house.boots("seen", "firmware")
    house.take(started("kernel8.img"))
    house.wait(600)
    assert not house.stalls()
    house.take(ended("kernel8.img"))
    house.boots("linux", "root", "online")
    assert not house.stalls()


# Stalls, and why


PI5 = "Pi 5"


@pytest.mark.parametrize(
    ("stage", "rule", "model", "events"),
    [
        ("seen", "D03", "Pi 4", [heard(), heard(), heard()]),
        ("seen", "D10", "Pi 4", [heard(), heard("REQUEST")]),
        ("seen", "D04", "Pi 3B", [heard()] * 5),
        ("firmware", "D12", "Pi 3B", [heard(), missing("bootcode.bin"), missing("bootsig.bin")]),
        ("firmware", "D13", "Pi 4", [heard(), missing("start4.elf"), missing("start.elf"), missing("config.txt")]),
        ("firmware", "D13", "", [missing("start4.elf"), missing("start.elf"), missing("recover4.elf")]),
        ("firmware", "D13", "Pi 3B", [heard(), *sent("bootcode.bin"), missing("start.elf")]),
        ("firmware", "D13", PI5, [heard(), missing("config.txt"), missing("pieeprom.sig")]),
        ("firmware", "D14", "Pi 4", [heard(), missing("start4.elf"), *probed("start.elf")]),
        ("firmware", "D27", "Pi 4", [heard(), *sent("start4.elf", "config.txt"), missing("fixup4.dat")]),
        ("kernel", "D15", PI5, [heard(), *sent("config.txt"), missing("bcm2712-rpi-5-b.dtb")]),
        ("kernel", "D15", PI5, [heard(), *sent("bcm2712-rpi-5-b.dtb"), missing("kernel_2712.img")]),
        ("kernel", "D15", "", [missing("config.txt"), *sent("bcm2712-rpi-5-b.dtb"), missing("kernel_2712.img")]),
        ("kernel", "D27", "Pi 4", [*HEALTHY["firmware"], missing("bcm2711-rpi-4-b.dtb")]),
        ("kernel", "D27", "Pi 4", [*HEALTHY["firmware"], *sent("bcm2711-rpi-4-b.dtb"), missing("kernel8.img")]),
        ("firmware", "D45", "Pi 4", [*HEALTHY["firmware"], ended("kernel8.img", Outcome.REFUSED, why="why")]),
        ("kernel", "D17", "Pi 4", [started("x"), ended("x", Outcome.TIMED_OUT, sent_bytes=65535 * 1468)]),
        ("kernel", "D27", "Pi 4", [*HEALTHY["firmware"], *HEALTHY["kernel"]]),
        ("linux", "D29", "Pi 4", [*HEALTHY["firmware"], *HEALTHY["kernel"], *LINUX_DHCP]),
        ("linux", "D34", "Pi 4", [*HEALTHY["firmware"], *HEALTHY["kernel"], *LINUX_DHCP, seed(403)]),
    ],
)  # fmt: skip
def test_a_boot_that_stands_still_is_told_once_with_its_cause(
    house: House, stage: str, rule: str, model: str, events: list[Event]
) -> None:
    house.known[SERIAL] = Outlook(model=model, ours=True)
    house.take(*events)
    assert house.boot.state == "booting"
    house.wait(max(quiet if quiet != float("inf") else most for quiet, most in PATIENCE.values()) + 1)
    assert house.stalls() == [(stage, rule)]
    assert house.boot.state == "stalled"
    assert house.boot.cause is not None
    house.wait(3000)
    assert len(house.told) == 1


def test_what_was_found_in_the_root_is_not_missing(house: House) -> None:
    house.take(heard(), missing("start4.elf"), missing("start.elf"), *probed("start4.elf"), *sent(*PI4_FIRMWARE))
    house.wait(60)
    assert house.stalls() == [("firmware", "D19")]


def test_linux_that_is_given_no_address_is_stalled_though_it_is_not_silent(house: House) -> None:
    house.boots("seen", "firmware", "kernel")
    for _ in range(40):
        house.take(heard(firmware=False))
        house.wait(20)
    assert house.stalls() == [("linux", "D29")]


def test_a_pi_that_starts_over_and_over_is_stalled(house: House) -> None:
    for _ in range(10):
        house.boots("seen")
        house.take(missing("start4.elf"), missing("start.elf"), missing("config.txt"))
        house.wait(5)
    assert house.stalls() == [("firmware", "D13")]
    assert (house.count, house.boot.attempts, house.boot.state) == (1, 10, "stalled")
    house.boots("seen", "firmware")
    assert house.boot.state == "stalled"
    house.boots("kernel")
    assert (house.boot.state, house.boot.cause) == ("booting", None)
    house.wait(20)
    house.boots("linux", "root", "online")
    assert (house.boot.state, house.online()) == ("online", 1)


def test_a_stall_that_is_overcome_is_none(house: House) -> None:
    house.boots("seen")
    house.wait(100)
    assert house.boot.state == "stalled"
    house.boots("firmware", "kernel")
    assert (house.boot.state, house.boot.cause) == ("booting", None)


def test_a_stalled_pi_that_is_power_cycled_gets_another_chance(house: House) -> None:
    house.boots("seen", "firmware", "kernel")
    house.wait(200)
    assert house.boot.state == "stalled"
    house.boots("seen")
    assert (house.boot.state, house.boot.attempts) == ("booting", 2)


# Bounds, order, and keeping

names = st.sampled_from([*PI4_FIRMWARE, *PI4_MISSING, *PI4_KERNEL, "bootcode.bin", "boot.img", "kernel_2712.img", "x"])
events = st.one_of(
    st.builds(started, names, st.integers(1, 5)),
    st.builds(ended, names, st.sampled_from(Outcome), st.integers(1, 5)),
    st.builds(missing, names),
    st.builds(
        heard, st.sampled_from(["DISCOVER", "REQUEST", "INFORM"]), firmware=st.booleans(), answered=st.booleans()
    ),
    st.builds(seed, st.sampled_from([200, 304, 403, 404, 499, 500, 503])),
    st.just(PHONE),
    st.just(MOUNT),
)
steps = st.lists(st.tuples(st.sampled_from([SERIAL, OTHER]), events | st.floats(0, 2000)), max_size=60)


@given(steps, st.booleans(), st.booleans())
@settings(max_examples=300)
def test_whatever_comes_in_whatever_order_a_boot_only_moves_on(
    told: list[tuple[str, Event | float]], ours: bool, hears_dhcp: bool
) -> None:
    timeline, now = Timeline(), 0.0
    before: dict[str, tuple[Boot, int, int]] = {}
    for serial, step in told:
        if isinstance(step, float):
            now += step
            timeline.tick(now, lambda _: Outlook("Pi 4", "", ours, hears_dhcp))
        else:
            now += 0.01
            timeline.take(step, serial, now)
        for one in (SERIAL, OTHER):
            boots = timeline.boots(one)
            assert len(boots) <= MOST_BOOTS
            assert all(boot.ended is not None for boot in boots[:-1])
            if boots:
                _moves_on(boots[-1], before.get(one), now)
                before[one] = (boots[-1], boots[-1].attempts, boots[-1].stage)
                assert (boots[-1].state == "online") == (one not in timeline.running())


def _moves_on(boot: Boot, before: tuple[Boot, int, int] | None, now: float) -> None:
    assert boot.stage == max(boot.spans)
    assert boot.stalled <= (boot.state == "stalled")
    assert boot.started <= boot.last <= now
    assert all(span.first <= span.last <= now for span in boot.spans.values())
    if before is not None and before[0] is boot and before[1] == boot.attempts:
        assert boot.stage >= before[2]
    json.dumps(boot_json(boot, 1.7e9))
    again = records.from_kept(json.loads(json.dumps(boot.copy().to_kept(0.0))))
    assert again is not None
    assert boot_json(again) == boot_json(boot)
    assert again.evidence.absent == boot.evidence.absent


def test_at_most_so_many_pis_and_boots_are_kept() -> None:
    timeline = Timeline()
    for number in range(3 * MOST_PIS):
        timeline.take(heard(), f"{number:08x}", number)
    assert sum(bool(timeline.boots(f"{number:08x}")) for number in range(3 * MOST_PIS)) == MOST_PIS
    assert len(timeline.running()) == MOST_PIS
    assert len(timeline.changed) == MOST_PIS
    for number in range(3 * MOST_BOOTS):
        timeline.take(PHONE, SERIAL, number)
        timeline.take(heard(), SERIAL, number)
    assert len(timeline.boots(SERIAL)) == MOST_BOOTS


def test_a_flood_of_made_up_serials_drives_no_member_of_the_fleet_out() -> None:
    timeline = Timeline(lambda: {SERIAL, OTHER})
    timeline.take(PHONE, SERIAL, 0)
    timeline.take_changed(1)
    for number in range(3 * MOST_PIS):
        timeline.take(heard(), f"{number:08x}", number)
    assert len(timeline.boots(SERIAL)) == 1
    assert SERIAL not in timeline.changed
    assert len(timeline.running()) <= MOST_PIS + 2


def test_what_was_kept_of_a_pi_that_is_forgotten_is_forgotten_too() -> None:
    timeline = Timeline(lambda: {OTHER})
    timeline.take(heard(), SERIAL, 0)
    timeline.take(heard(), OTHER, 0)
    assert list(timeline.take_changed(1)) == [OTHER]
    assert [(serial, len(boots)) for serial, boots in timeline.take_changed(1).items()] == [(SERIAL, 1)]
    assert timeline.take_changed(1) == {}
    for number in range(2 * MOST_PIS):
        timeline.take(heard(), f"{number:08x}", number)
    assert timeline.take_changed(5000)[SERIAL] == []
    assert len(timeline.kept) == MOST_PIS + 1


def test_what_one_pi_asks_for_does_not_fill_memory(house: House) -> None:
    house.boots("seen")
    for number in range(10_000):
        house.take(missing(f"file-{number}.elf"), *sent(f"file-{number}"), started(f"file-{number}", number), each_s=0)
    evidence = house.boot.evidence
    assert max(len(evidence.missing), len(evidence.sent), len(evidence.running)) <= 128


def test_a_restart_goes_on_with_a_boot_and_gives_it_its_time(house: House) -> None:
    house.boots("seen", "firmware")
    house.take(missing("kernel8.img"))
    kept = json.loads(json.dumps([boot.copy().to_kept(5000.0) for boot in house.timeline.boots(SERIAL)]))
    later = House(now=house.now + 300, known=house.known)
    boots = [records.from_kept(item, 5000.0) for item in kept]
    later.timeline.restore(SERIAL, [boot for boot in boots if boot], later.now)
    later.wait(100)
    assert (later.stalls(), later.stage, later.count) == ([], "kernel", 1)
    later.wait(60)
    assert later.stalls() == [("kernel", "D27")]
    assert boot_json(later.boot)["started"] == boot_json(house.boot)["started"]


@pytest.mark.parametrize("stages", [STAGES, STAGES[:3]])
def test_what_was_kept_is_not_told_again(house: House, stages: Iterable[str]) -> None:
    house.boots(*stages)
    house.wait(200)
    kept = [boot.copy().to_kept(0.0) for boot in house.timeline.boots(SERIAL)]
    later = House(now=house.now, known=house.known)
    later.timeline.restore(SERIAL, [boot for item in kept if (boot := records.from_kept(item))], later.now)
    later.wait(2000)
    assert later.told == []
    assert later.boot.state == house.boot.state
    assert later.boot.cause == house.boot.cause


scalars = st.none() | st.booleans() | st.integers() | st.floats() | st.text()
anything = st.recursive(scalars, lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner))
KEPT = records.begun(SEEN, 5.0).to_kept(0.0)


@given(anything | st.fixed_dictionaries({key: st.just(value) | anything for key, value in KEPT.items()}))
def test_a_spoilt_file_is_no_harm(item: Any) -> None:
    boot = records.from_kept(item)
    if boot is not None:
        json.dumps(boot_json(boot))
        json.dumps(boot.to_kept(0.0))
        later = House()
        later.timeline.restore(SERIAL, [boot], later.now)
        later.wait(5)


@pytest.mark.parametrize("stage", [SEEN, FIRMWARE, KERNEL, LINUX])
def test_every_stage_that_can_stall_has_its_patience(stage: int) -> None:
    quiet_s, most_s = PATIENCE[stage]
    assert 0 < min(quiet_s, most_s) < float("inf")


# HTTP boot


def over_http(name: str, status: int = 200, method: str = "GET", size: int = 100) -> HttpServed:
    return HttpServed("192.168.1.57", method, f"/boot/{SERIAL}/{name}", status, size, "boot")


def test_a_boot_over_http_is_its_signature_and_then_its_image(house: House) -> None:
    house.take(heard(), over_http("boot.sig", size=600))
    assert house.stage == "firmware"
    house.take(
        over_http("boot.img", method="HEAD", size=0),
        over_http("boot.img", 499, size=40),
        over_http("boot.img", 206, size=60),
    )
    assert (house.stage, house.boot.attempts, house.boot.size) == ("kernel", 1, 700)
    files = [(file.name, file.result, file.sent) for file in house.boot.files.all()]
    assert files[:2] == [("boot.sig", "ok", 600), ("boot.img", "probed", 0)]
    assert files[2:] == [("boot.img", "aborted", 40), ("boot.img", "ok", 60)]
    house.boots("linux", "root", "online")
    assert house.boot.state == "online"


def test_a_boot_over_http_that_begins_anew_is_another_attempt(house: House) -> None:
    for attempt in (1, 2):
        house.take(over_http("boot.sig"), over_http("boot.img"))
        assert house.boot.attempts == attempt
    house.boots("linux", "root", "online")
    house.wait(60)
    house.take(over_http("boot.sig"), over_http("boot.img"))
    assert (house.count, house.stage) == (2, "kernel")


def test_an_image_that_was_not_taken_to_its_end_is_served_all_the_same(house: House) -> None:
    house.take(heard(), over_http("boot.sig"), over_http("boot.img", 499))
    house.wait(1000)
    assert house.stalls() == [("kernel", "D19")]
