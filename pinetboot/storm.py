"""Many virtual Pis at once, as after a power cut: each boots for real, and the worst of them counts.

Belongs here: starting them, one after another or all together, and what came of all. One boot is `rehearse`'s.
"""

from __future__ import annotations

import asyncio
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address
from typing import Any

from pinetboot.errors import OperatorError
from pinetboot.pi import faults
from pinetboot.pi.faults import Fault
from pinetboot.pi.link import Link
from pinetboot.pi.profiles import Profile, mac_of
from pinetboot.pi.report import FileStep, Report, Step
from pinetboot.rehearse import Plan, plan, rehearse
from pinetboot.services import raise_file_limit

_FILES_EACH = 8  # sockets of one Pi at one moment, with room
_FILES_BESIDES = 256
_FIRST_LOCAL = IPv4Address("127.1.0.1")  # every 127.x.y.z is this host's
_SERIALS = 1 << 32
_MACS = 1 << 48

# By the number of the Pi, from 0; its report comes last.
Told = Callable[[int, Step | FileStep | Report], None]


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of a storm: a report for each Pi, in the order of their serials; `seconds` for all together."""

    reports: Sequence[Report]
    seconds: float

    @property
    def booted(self) -> list[Report]:
        """Those that boot."""
        return [report for report in self.reports if report.ok]

    @property
    def ok(self) -> bool:
        """Whether all boot."""
        return len(self.booted) == len(self.reports)

    @property
    def median_s(self) -> float:
        """How long half of those that boot take, seconds."""
        return statistics.median([report.seconds for report in self.booted] or [0.0])

    @property
    def slowest(self) -> Report | None:
        """The one of those that boot that takes longest."""
        return max(self.booted, key=lambda report: report.seconds, default=None)

    def causes(self) -> dict[tuple[str, str], list[Report]]:
        """Those that do not boot, by where each stops and the rule of the cause; what stops most comes first."""
        found: dict[tuple[str, str], list[Report]] = {}
        for report in self.reports:
            if report.cause is not None:
                found.setdefault((report.stopped_at or "", report.cause.rule), []).append(report)
        return dict(sorted(found.items(), key=lambda item: -len(item[1])))

    def to_json(self) -> dict[str, Any]:
        """The shape that scripts rely on."""
        return {
            "ok": self.ok,
            "count": len(self.reports),
            "booted": len(self.booted),
            "seconds": round(self.seconds, 3),
            "pis": [report.to_json() for report in self.reports],
        }


def plans(
    profile: Profile,
    serial: str,
    count: int,
    *,
    link: Link | None,
    server: str | None = None,
    mac: bytes | None = None,
    with_faults: Sequence[Fault] = (),
    **more: Any,
) -> list[Plan]:
    """Plan `count` Pis with serials, and MACs, counted on from the first one's; `more` as in rehearse.plan().

    Without DHCP each of many boots from a 127.x.y.z of its own, if the server is on loopback. Raises OperatorError.
    """
    first, first_mac = int(serial, 16), int.from_bytes(mac or mac_of(profile, serial), "big")
    if first + count > _SERIALS or first_mac + count > _MACS:
        raise OperatorError(f"{count} serials or MACs from these on are more than there are", "Begin with lower ones.")
    beyond = [fault for fault in with_faults if (fault.pi or 1) > count]
    if beyond:
        raise OperatorError(f"{beyond[0]} is for Pi {beyond[0].pi}, and there are {count}", "Count from 1.")
    own_address = count > 1 and link is None and server is not None and IPv4Address(server).is_loopback
    return [
        plan(
            profile,
            f"{first + number:08x}",
            link=link,
            mac=(first_mac + number).to_bytes(6, "big") if mac else None,
            server=server,
            local=str(_FIRST_LOCAL + number) if own_address else "",
            with_faults=faults.of_pi(with_faults, number + 1),
            **more,
        )
        for number in range(count)
    ]


async def run(planned: Sequence[Plan], stagger_s: float, told: Told) -> Outcome:
    """Boot all, each `stagger_s` seconds after the one before. Raises OperatorError where one cannot be tried."""
    raise_file_limit(len(planned) * _FILES_EACH + _FILES_BESIDES)
    loop = asyncio.get_running_loop()
    began = loop.time()

    async def one(number: int, plan: Plan) -> Report:
        await asyncio.sleep(max(0.0, began + number * stagger_s - loop.time()))
        report = await rehearse(plan, lambda step: told(number, step))
        told(number, report)
        return report

    tasks = [asyncio.ensure_future(one(number, plan)) for number, plan in enumerate(planned)]
    try:
        reports = await asyncio.gather(*tasks)
    finally:
        # Where one fails the others give their addresses back before it is told.
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    return Outcome(reports, loop.time() - began)
