"""What is known of every Pi, after virtual ones booted through the real servers, DHCP included."""

from __future__ import annotations

from pinetboot.demo import tree
from pinetboot.demo.stage import set_up
from pinetboot.events import Event, PhonedHome, PiOnline


async def test_dhcp_tftp_and_seed_are_joined_into_one_boot_a_pi() -> None:
    heard: list[Event] = []
    async with set_up(heard.append) as stage:
        reports = await stage.boot(lambda _, __: None)
        assert all(report.ok for report in reports)
        overview = stage.services.overview
        pis = {serial: overview.shown(serial) for serial in overview.serials()}
        assert set(pis) == {tree.PI4, tree.PI5}
        for report in reports:
            pi = pis[report.serial]
            assert pi["model"] == {"pi4": "Pi 4", "pi5": "Pi 5"}[report.model]
            assert (pi["state"], pi["stage"], pi["known"], pi["hostname"]) == ("booting", "seed", False, None)
            assert pi["address"].startswith("127.")
            assert pi["mac"].endswith(":".join(report.serial[at : at + 2] for at in (2, 4, 6)))
            boot = pi["boot"]
            assert [one["name"] for one in boot["stages"]] == ["seen", "firmware", "kernel", "seed"]
            assert boot["bytes"] == report.bytes
            assert (boot["attempts"], boot["cause"]) == (1, None)
        boots = stage.services.overview.boots
        boots.take(PhonedHome(pis[tree.PI4]["address"], tree.PI4), tree.PI4)
        shown = stage.services.overview.one(tree.PI4)
        assert shown is not None
        assert shown["state"] == "online"
        assert [boot["state"] for boot in shown["boots"]] == ["online"]
        assert stage.services.overview.one("00000000") is None
    (online,) = [event for event in heard if isinstance(event, PiOnline)]
    assert online.serial == tree.PI4
    assert online.seconds is not None
    assert online.seconds > 0
