"""Fixtures for every test, and the rule that nothing is skipped where everything can be had."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from support import Daemon, free_port, loopback_config
from xdist.remote import Producer
from xdist.scheduler import LoadScopeScheduling

# A busy machine takes its time over an example; that is no fault of the code under test.
settings.register_profile("patient", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("patient")

GUESTS = "guests"
# What takes minutes. Guests are emulated: two at once are half as fast.
_IN_GUESTS = ("lab/test_nfs_", "lab/test_systemd")
_LONGEST = (
    # One server guest after the other.
    *("lab/test_nfs_arm64", "lab/test_nfs_cloudinit", "lab/test_nfs_root", *_IN_GUESTS),
    *("tests/container/", "lab/test_pxe_uefi", "lab/test_pxe_bios", "tftp/test_real_clients", "lab/test_failover"),
)
CONTAINERS = "containers"
NO_SKIPS = os.environ.get("PINETBOOT_NO_SKIPS") == "1"


class ByFile(LoadScopeScheduling):  # type: ignore[misc]  # it has no types
    """Keeps a file's tests in one process, as they share what it started; all that use server guests count as one.

    So do those of the container's image, which one of them has to build.
    """

    def _split_scope(self, nodeid: str) -> str:
        file = nodeid.partition("::")[0]
        if "tests/container/" in file:
            return CONTAINERS
        return GUESTS if any(part in file for part in _IN_GUESTS) else file


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> ByFile:
    """Hand whole files to the processes that run tests."""
    return ByFile(config, log)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with what takes longest, so that no process is left alone with it at the end."""

    def rank(item: pytest.Item) -> int:
        return next((place for place, part in enumerate(_LONGEST) if part in item.nodeid), len(_LONGEST))

    items.sort(key=rank)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Iterator[None]:
    """Where PINETBOOT_NO_SKIPS=1 promises that all is installed, turn a skip into a failure."""
    report = yield
    if NO_SKIPS and report.skipped and not hasattr(report, "wasxfail"):  # type: ignore[attr-defined]
        report.outcome = "failed"  # type: ignore[attr-defined]
        report.longrepr = f"skipped where no test may be: {report.longrepr}"  # type: ignore[attr-defined]
    return report


@pytest.fixture
def daemons() -> Iterator[list[Daemon]]:
    """Daemons that the test starts; those still running at its end are stopped."""
    running: list[Daemon] = []
    yield running
    for daemon in running:
        if not daemon.process_ended:
            daemon.stop()


@pytest.fixture
def serve(tmp_path: Path, daemons: list[Daemon]) -> Callable[..., Daemon]:
    """Start daemons on loopback, with more lines for the section [tftp], more sections, more flags."""

    def start(*, tftp: str = "", more: str = "", flags: tuple[str, ...] = ()) -> Daemon:
        tftp_port, http_port = free_port(), free_port(socket.SOCK_STREAM)
        daemon = Daemon(
            tmp_path / f"daemon-{len(daemons)}", loopback_config(tftp_port, http_port, tftp=tftp, more=more), flags
        )
        daemon.tftp_port, daemon.http_port = tftp_port, http_port
        daemons.append(daemon)
        return daemon.start()

    return start
