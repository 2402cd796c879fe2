"""Watching the interfaces of a host: every change that matters is told, and nothing else."""

from __future__ import annotations

import asyncio
from ipaddress import IPv4Address
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pinetboot.net.links import Links, LinkWatch, matter

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from lab.lan import Lan

pytestmark = pytest.mark.timeout(60)


def watched(lan: Lan, play: Callable[[LinkWatch, list[Links]], Awaitable[None]]) -> None:
    """Run `play` with a watch on the host `server`, and the list of what it told."""

    async def run() -> None:
        told: list[Links] = []
        watch = LinkWatch(told.append)
        await watch.start()
        try:
            await play(watch, told)
        finally:
            watch.close()

    with lan.inside("server"):
        asyncio.run(run())


async def until(true: Callable[[], bool]) -> None:
    end = asyncio.get_running_loop().time() + 5
    while not true():
        assert asyncio.get_running_loop().time() < end
        await asyncio.sleep(0.01)


def test_an_address_and_a_link_are_told_when_they_come_and_when_they_go(lan: Lan) -> None:
    async def play(watch: LinkWatch, told: list[Links]) -> None:
        address = IPv4Address("10.55.0.9")
        assert not watch.links.holds(address)
        lan.address("server", "10.55.0.9/32")
        await until(lambda: watch.links.holds(address))
        assert told[-1] is watch.links
        lan.ip("server", "address", "del", "10.55.0.9/32", "dev", "eth0")
        await until(lambda: not watch.links.holds(address))
        lan.ip("server", "link", "add", "v0", "type", "veth", "peer", "name", "v1")
        await until(lambda: {"v0", "v1"} <= {link.name for link in watch.links.by_index.values()})
        lan.ip("server", "link", "delete", "v0")
        await until(lambda: "v0" not in {link.name for link in watch.links.by_index.values()})
        assert told[-1] is watch.links

    watched(lan, play)


def test_routes_are_told_where_they_are_the_default_one(lan: Lan) -> None:
    async def play(watch: LinkWatch, told: list[Links]) -> None:
        for number in range(50):
            lan.ip("server", "route", "add", f"10.77.{number}.0/24", "via", "10.55.0.1")
        await asyncio.sleep(0.3)
        assert told == []
        assert watch.links.default_index is None
        lan.ip("server", "route", "add", "default", "via", "10.55.0.1")
        await until(lambda: watch.links.default_index is not None)
        assert len(told) == 1

    watched(lan, play)


def test_a_change_is_told_while_others_keep_coming(lan: Lan) -> None:
    async def play(watch: LinkWatch, told: list[Links]) -> None:
        done = asyncio.Event()

        async def churn() -> None:
            while not done.is_set():
                await asyncio.to_thread(lan.ip, "server", "address", "add", "10.55.0.77/32", "dev", "eth0")
                await asyncio.to_thread(lan.ip, "server", "address", "del", "10.55.0.77/32", "dev", "eth0")

        churning = asyncio.create_task(churn())
        try:
            lan.address("server", "10.55.0.9/32")
            await until(lambda: any(links.holds(IPv4Address("10.55.0.9")) for links in told))
        finally:
            done.set()
            await churning

    watched(lan, play)


@given(st.binary(max_size=200))
def test_no_message_surprises(messages: bytes) -> None:
    assert isinstance(matter(messages), bool)
