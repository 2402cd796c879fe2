"""`/metrics`: the daemon's counts in the text format of Prometheus. The one door to prometheus-client.

Belongs here: names, units and labels of what is shown. What is counted, and how, is `observe.tally`'s; numbers are read
when somebody asks, so that counting costs no more for it. Labels come from bounded sets: nothing that a peer sends.
"""

from __future__ import annotations

import platform
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, Final

from aiohttp import web

from pinetboot import __version__
from pinetboot.events import FleetFault, PhonedHome, PiOnline, PiReady, RolledBack, RootMounted
from pinetboot.observe.tally import Distribution, Standing, Tally
from pinetboot.web.sources import SOURCES

if TYPE_CHECKING:
    from prometheus_client.core import Metric

_TYPE: Final = {"Content-Type": "text/plain; version=0.0.4; charset=utf-8", "Cache-Control": "no-store"}
_STATES: Final = ("unseen", "booting", "stalled", "online")
_CHUNKS: Final = ("cache", "memory", "storage")
_READY: Final = "ready"


async def get(request: web.Request) -> web.Response:
    """Answer with every metric."""
    return web.Response(body=request.app[SOURCES].metrics(), headers=_TYPE)


def exposition(tally: Tally, standing: Callable[[], Standing]) -> Callable[[], bytes]:
    """Make what writes all metrics down. It loads prometheus-client, which takes some 50 ms: not while Pis boot."""
    from prometheus_client import CollectorRegistry, ProcessCollector, generate_latest  # noqa: PLC0415 - see above
    from prometheus_client.registry import Collector  # noqa: PLC0415 - likewise

    class Daemon(Collector):
        """Reads the numbers as they are now."""

        def collect(self) -> Iterable[Metric]:
            """Give every family of metrics."""
            return [*_of_tftp(tally), *_of_others(tally), *_of_boots(tally), *_of_standing(standing())]

    registry = CollectorRegistry(auto_describe=False)
    ProcessCollector(registry=registry)
    registry.register(Daemon())
    return lambda: generate_latest(registry)


def _of_tftp(tally: Tally) -> Iterator[Metric]:
    yield _counters(
        "tftp_requests",
        "TFTP requests that came to their end, by how; probed is a Pi that asked for a size alone.",
        ("outcome",),
        {(str(outcome),): count for outcome, count in tally.requests.items()},
    )
    yield _counter("tftp_transfers_started", "TFTP transfers that were begun.", tally.started)
    yield _counter("tftp_sent_bytes", "Bytes of files that TFTP clients acknowledged.", tally.sent_bytes)
    yield _counter("tftp_retransmissions", "Times that TFTP packets were sent again.", tally.retransmissions)


def _of_others(tally: Tally) -> Iterator[Metric]:
    yield _counters(
        "dhcp_messages",
        "DHCP messages heard, by kind, and whether they were answered.",
        ("kind", "answered"),
        {(kind, _yes(answered)): count for (kind, answered), count in tally.dhcp.items()},
    )
    leases = {(word,): tally.leases[word] for word in ("granted", "renewed", "refused", "ended")}
    yield _counters("dhcp_leases", "What became of leases in dhcp.mode server.", ("result",), leases)
    yield _counters("http_requests", "HTTP requests, by what they asked for and status.", ("kind", "code"), tally.http)
    sent = {(kind,): count for kind, count in tally.http_bytes.items()}
    yield _counters("http_sent_bytes", "Bytes of HTTP answers, headers left out.", ("kind",), sent)
    dropped = {(service,): count for service, count in tally.dropped.items()}
    yield _counters("dropped_packets", "Packets that broke their protocol or were out of place.", ("service",), dropped)
    yield _counter("root_mounts", "Root trees that were seen to be mounted over NFS.", tally.happened[RootMounted])
    yield _counter("phone_calls", "Times that a Pi told over HTTP that it is up.", tally.happened[PhonedHome])
    yield _counter("generations_made", "Generations of trees that were made for Pis.", tally.happened[PiReady])
    about = "Times that a Pi went back to an earlier generation, as the new one did not come online."
    yield _counter("rollbacks", about, tally.happened[RolledBack])
    yield _counter("fleet_faults", "Faults that kept a Pi from being what fleet.toml says.", tally.happened[FleetFault])


def _of_boots(tally: Tally) -> Iterator[Metric]:
    stalls = sum(tally.stalls.values())
    outcomes = {("online",): tally.happened[PiOnline], ("stalled",): stalls}
    yield _counters("boots", "Boots that came online, or were found to stand still.", ("outcome",), outcomes)
    by_rule = {(rule,): count for rule, count in tally.stalls.items()}
    yield _counters("boot_stalls", "Boots found to stand still, by the rule of the likely cause.", ("rule",), by_rule)
    about = "How long a boot takes, from its first sign to online."
    yield _distributions("boot_seconds", about, (), {(): tally.boots})
    about = "How long a stage of a boot takes, to the first sign of the next one; of boots that came online."
    stages = {(name,): stage for name, stage in tally.stages.items()}
    yield _distributions("boot_stage_seconds", about, ("stage",), stages)
    about = "How late the event loop comes back, looked at ten times a second."
    yield _distributions("event_loop_lag_seconds", about, (), {(): tally.lag})


def _of_standing(now: Standing) -> Iterator[Metric]:
    pis = {(_yes(known), state): now.pis[known, state] for known in (True, False) for state in _STATES}
    yield _gauges(
        "pis", "Pis by the state of their latest boot, and whether fleet.toml has them.", ("known", "state"), pis
    )
    stalled = {(rule,): count for rule, count in now.stalled.items()}
    yield _gauges("pis_stalled", "Pis that stand still now, by the rule of the likely cause.", ("rule",), stalled)
    services = {(name,): int(state == _READY) for name, state in now.services.items()}
    yield _gauges(
        "service_ready", "Whether a service is ready; 0 where it is off, or stands by.", ("service",), services
    )
    yield _gauges("tftp_transfers", "TFTP transfers that are running.", (), {(): now.transfers})
    yield _gauges("tftp_cache_bytes", "Bytes of files that are kept as ready packets.", (), {(): now.cache_bytes})
    about = "Bytes that may be kept as ready packets, tftp.cache_mib."
    yield _gauges("tftp_cache_limit_bytes", about, (), {(): now.cache_limit_bytes})
    about = "Pieces of files that were had, by where from: this cache, the kernel's memory, or storage."
    yield _counters("tftp_cache_chunks", about, ("source",), {(word,): now.chunks[word] for word in _CHUNKS})
    about = "Whether this daemon is the one that keeps the fleet of its data directory."
    yield _gauges("keeps_fleet", about, (), {(): int(now.keeps_fleet)})
    labels = {(__version__, platform.python_version()): 1}
    yield _gauges("build_info", "Which pinetboot this is.", ("version", "python"), labels)


_Labels = tuple[str, ...]


def _counter(name: str, about: str, value: float) -> Metric:
    return _counters(name, about, (), {(): value})


def _counters(name: str, about: str, labels: _Labels, values: Mapping[Any, float]) -> Metric:
    from prometheus_client.core import CounterMetricFamily  # noqa: PLC0415 - loaded by exposition()

    return _filled(CounterMetricFamily(f"pinetboot_{name}", about, labels=labels), values)


def _gauges(name: str, about: str, labels: _Labels, values: Mapping[Any, float]) -> Metric:
    from prometheus_client.core import GaugeMetricFamily  # noqa: PLC0415 - loaded by exposition()

    return _filled(GaugeMetricFamily(f"pinetboot_{name}", about, labels=labels), values)


def _distributions(name: str, about: str, labels: _Labels, values: Mapping[Any, Distribution]) -> Metric:
    from prometheus_client.core import HistogramMetricFamily  # noqa: PLC0415 - loaded by exposition()

    family = HistogramMetricFamily(f"pinetboot_{name}", about, labels=labels)
    for key, one in values.items():
        bounds = [*(str(bound) for bound in one.bounds), "+Inf"]
        family.add_metric(key, list(zip(bounds, one.cumulated(), strict=True)), one.total)
    return family


def _filled(family: Any, values: Mapping[Any, float]) -> Metric:
    for key, value in sorted(values.items()):
        family.add_metric(key, value)
    filled: Metric = family
    return filled


def _yes(value: bool) -> str:
    return "yes" if value else "no"
