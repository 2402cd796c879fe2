"""The lab's fixtures: a LAN of namespaces for one test, and server guests that the tests of this folder share."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from lab.estate import TIMES, Estate
from lab.lan import Lan
from lab.netboot import Netboot
from support import require, require_root

HERE = Path(__file__).parent
# What takes too long for every run is run on demand, rather than skipped.
_FULL = os.environ.get("PINETBOOT_LAB") == "full"
_LONG = ("nfs_pi_kernel", "nfs_daemons_faults", "nfs_checks", "nfs_image", "dhcp_kernel", "pxe_secure", "systemd")
collect_ignore = [] if _FULL else [f"test_{name}.py" for name in _LONG]
_SHARED: list[Netboot] = []


@pytest.fixture
def lan(tmp_path: Path) -> Iterator[Lan]:
    """Build the LAN: `server` 10.55.0.2, `router` 10.55.0.1, `pi` and `client` without an address."""
    require_root()
    require("ip", "ss")
    made = Lan(tmp_path)
    try:
        made.build()
        yield made
    finally:
        made.close()


@pytest.fixture(scope="session")
def estate(tmp_path_factory: pytest.TempPathFactory) -> Estate:
    """Make what server guests start from: their kernel and root, images, and a data directory with a fleet in it."""
    return Estate.make(tmp_path_factory.mktemp("estate"))


@pytest.fixture(scope="session")
def netboot(estate: Estate, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Netboot]:
    """Have a server guest whose pinetboot runs with this nfs.mode, started where it is not there yet."""

    def have(mode: str) -> Netboot:
        found = next((one for one in _SHARED if one.mode == mode), None)
        if found is None:
            _close()  # a guest takes its share of a processor, whatever it does
            found = Netboot(estate, tmp_path_factory.mktemp(mode), mode)
            _SHARED.append(found)
            found.start()
        if found.broken:
            pytest.fail("the server guest did not start; an earlier test says why")
        return found

    return have


@pytest.hookimpl(trylast=True)
def pytest_runtest_teardown(item: pytest.Item, nextitem: pytest.Item | None) -> None:
    """End the server guest with the last test that may use it: no other test should run beside it."""
    if nextitem is None or nextitem.path.parent != HERE or not nextitem.path.name.startswith("test_nfs_"):
        _close()


def _close() -> None:
    while _SHARED:
        _SHARED.pop().close()


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say how long the guests took."""
    if TIMES:
        terminalreporter.section("lab")
        for text in TIMES:
            terminalreporter.line(text)
