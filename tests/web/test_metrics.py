"""What `/metrics` shows of a running daemon: as Prometheus wants it, bounded, and what the Grafana dashboard asks."""

from __future__ import annotations

import json
import re
import socket
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.metrics_core import Metric
from prometheus_client.parser import text_string_to_metric_families
from rawtftp import TransferFailed, fetch
from support import Daemon, require, wait_until

from pinetboot.causes import Cause
from pinetboot.events import BootStalled, DhcpHeard, HttpServed, Outcome, PacketDropped, PiOnline, TransferEnded
from pinetboot.observe.boot import begun
from pinetboot.observe.stages import FIRMWARE, KERNEL, ONLINE, SEEN
from pinetboot.observe.tally import Distribution, Standing, Tally
from pinetboot.web.metrics import exposition

Serve = Callable[..., Daemon]
Families = dict[str, Metric]

DASHBOARD = Path(__file__).parent.parent.parent / "container" / "grafana-dashboard.json"
SERIAL = "5b154510"
# PromQL's own words, as the dashboard uses them.
WORDS = {"by", "histogram_quantile", "increase", "rate", "sum"}


def text_of(daemon: Daemon) -> str:
    with urlopen(f"http://127.0.0.1:{daemon.http_port}/metrics", timeout=10) as answer:
        assert answer.headers["Content-Type"].startswith("text/plain; version=0.0.4")
        text: str = answer.read().decode()
        return text


def families_of(text: str) -> Families:
    return {family.name: family for family in text_string_to_metric_families(text)}


def value(text: str, name: str, **labels: str) -> float:
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            if sample.name == name and sample.labels == labels:
                return float(sample.value)
    return 0.0


def exchange(daemon: Daemon) -> None:
    """Have something counted of every kind."""
    own = daemon.data / "boot" / SERIAL
    own.mkdir(parents=True, exist_ok=True)
    (own / "config.txt").write_bytes(b"x" * 5000)
    fetch(daemon.tftp_port, f"{SERIAL}/config.txt")
    with suppress(TransferFailed):
        fetch(daemon.tftp_port, f"{SERIAL}/nothing.bin")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.sendto(b"\0\x09 what is this", ("127.0.0.1", daemon.tftp_port))
    with urlopen(f"http://127.0.0.1:{daemon.http_port}/healthz", timeout=10) as answer:
        answer.read()


def test_what_happened_is_counted(serve: Serve) -> None:
    daemon = serve()
    exchange(daemon)
    counted = wait_until(lambda: value(text_of(daemon), "pinetboot_dropped_packets_total", service="tftp") == 1)
    text = text_of(daemon)
    assert counted, text
    assert value(text, "pinetboot_tftp_requests_total", outcome="sent") == 1
    assert value(text, "pinetboot_tftp_requests_total", outcome="missing") == 1
    assert value(text, "pinetboot_tftp_requests_total", outcome="refused") == 0
    assert value(text, "pinetboot_tftp_transfers_started_total") == 1
    assert value(text, "pinetboot_tftp_sent_bytes_total") == 5000
    assert value(text, "pinetboot_tftp_transfers") == 0
    assert value(text, "pinetboot_tftp_cache_bytes") > 5000
    assert value(text, "pinetboot_tftp_cache_limit_bytes") == 256 << 20
    assert value(text, "pinetboot_http_requests_total", kind="health", code="200") == 1
    assert value(text, "pinetboot_pis", known="no", state="booting") == 1
    assert value(text, "pinetboot_service_ready", service="tftp") == 1
    assert value(text, "pinetboot_service_ready", service="dhcp") == 0
    assert value(text, "process_resident_memory_bytes") > 1 << 20
    assert "pinetboot_build_info{" in text
    again = value(text, "pinetboot_event_loop_lag_seconds_count")
    assert wait_until(lambda: value(text_of(daemon), "pinetboot_event_loop_lag_seconds_count") > again)


def test_nothing_that_a_peer_sends_is_a_label(serve: Serve) -> None:
    daemon = serve()
    exchange(daemon)
    text = text_of(daemon)
    assert SERIAL not in text
    assert "127.0.0.1" not in text
    assert "config.txt" not in text


def test_promtool_finds_no_fault(serve: Serve) -> None:
    require("promtool")
    daemon = serve()
    exchange(daemon)
    checked = subprocess.run(
        ["promtool", "check", "metrics"], input=text_of(daemon), capture_output=True, text=True, check=False
    )
    assert (checked.returncode, checked.stdout, checked.stderr) == (0, "", "")


def test_the_dashboard_uses_only_metrics_and_labels_that_exist(serve: Serve) -> None:
    daemon = serve()
    exchange(daemon)
    every = exposition(_full(), _standing)().decode()
    there: dict[str, set[str]] = {}
    for text in (text_of(daemon), every):
        for family in text_string_to_metric_families(text):
            for sample in family.samples:
                there.setdefault(sample.name, {"job", "instance"}).update(sample.labels)
    board = json.loads(DASHBOARD.read_text())
    asked = [target["expr"] for panel in board["panels"] for target in panel.get("targets", [])]
    assert len(asked) > 20
    asked += [one["query"]["query"] for one in board["templating"]["list"] if one["type"] == "query"]
    used = set()
    for expression in asked:
        names = set(re.findall(r"\b(?:pinetboot|process)_[a-z_]+", expression))
        assert names, expression
        assert names <= there.keys(), expression
        labels = set(re.findall(r"([a-z_]+)=~?\"", expression))
        labels |= {one for found in re.findall(r"by \(([^)]*)\)", expression) for one in re.split(r",\s*", found)}
        allowed = set().union(*(there[name] for name in names))
        assert labels <= allowed, (expression, labels - allowed)
        used |= names
    live = {name for name in families_of(text_of(daemon)) if name.startswith("pinetboot_")}
    shown = {re.sub(r"_(?:total|bucket|sum|count)$", "", name) for name in used}
    # What is counted is worth a look, but for a few figures that the dashboard leaves to whoever wants them.
    assert live - shown <= {"pinetboot_dhcp_leases"}, live - shown


def test_every_panel_has_a_place_of_its_own() -> None:
    taken: set[tuple[int, int]] = set()
    for panel in json.loads(DASHBOARD.read_text())["panels"]:
        at: dict[str, int] = panel["gridPos"]
        cells = {(x, y) for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"])}
        assert not cells & taken, panel["title"]
        assert at["x"] + at["w"] <= 24
        taken |= cells


def _full() -> Tally:
    """Count something of every kind that has labels."""
    tally = Tally()
    tally.take(DhcpHeard("dc:a6:32:00:00:01", "DISCOVER", "eth0", None))
    tally.take(BootStalled(SERIAL, "firmware", Cause("D13", "", "", "")))
    return tally


def _standing() -> Standing:
    return Standing(Counter(), Counter(D13=1), {"tftp": "ready"}, 0, 0, 0, Counter(), keeps_fleet=True)


def test_stalled_pis_are_counted_by_rule_and_made_up_rules_are_not() -> None:
    tally = Tally()
    for rule in ("D13", "D13", "D47", "D48", "D00", "D99", "5b154510", ""):
        tally.take(BootStalled(SERIAL, "firmware", Cause(rule, "", "", "")))
    tally.take(BootStalled(SERIAL, "firmware", None))
    assert dict(tally.stalls) == {"D13": 2, "D47": 1, "none": 6}


def test_a_boot_that_is_through_tells_how_long_its_stages_took() -> None:
    boot = begun(SEEN, 100.0)
    for stage, at in ((FIRMWARE, 101.0), (KERNEL, 104.0), (ONLINE, 130.0)):
        boot.enter(stage, at)
    tally = Tally(lambda serial: boot if serial == SERIAL else None)
    tally.take(PiOnline(SERIAL, 30.0))
    tally.take(PiOnline("00000000", None))
    assert tally.happened[PiOnline] == 2
    assert (tally.boots.cumulated()[-1], tally.boots.total) == (1, 30.0)
    took = {name: one.total for name, one in tally.stages.items() if one.cumulated()[-1]}
    assert took == {"seen": 1.0, "firmware": 3.0, "kernel": 26.0}


@given(st.lists(st.floats(0, 5000), max_size=50))
def test_a_distribution_counts_as_prometheus_does(values: list[float]) -> None:
    one = Distribution((1.0, 2.5, 10.0))
    for each in values:
        one.add(each)
    assert one.cumulated() == [*(sum(each <= bound for each in values) for bound in (1.0, 2.5, 10.0)), len(values)]
    assert one.total == pytest.approx(sum(values))


@given(st.text(), st.text(), st.integers(), st.text())
def test_labels_stay_few_whatever_is_sent(kind: str, service: str, status: int, rule: str) -> None:
    tally = Tally()
    before = _series(tally)
    tally.take(DhcpHeard("", kind, "eth0", None))
    tally.take(HttpServed("", kind, "", status, 0, kind))
    tally.take(PacketDropped(service, "", ""))
    tally.take(BootStalled("", "", Cause(rule, "", "", "")))
    tally.take(TransferEnded("", 0, "", kind, Outcome.MISSING))
    shown = exposition(tally, _standing)().decode()
    assert _series(tally) <= before + 5
    assert all(len(label) < 12 for family in families_of(shown).values() for label in _labels(family))


def _series(tally: Tally) -> int:
    return len(tally.dhcp) + len(tally.http) + len(tally.dropped) + len(tally.stalls) + len(tally.requests)


def _labels(family: Metric) -> list[Any]:
    return [value for sample in family.samples for value in sample.labels.values()]


def test_the_command_line_does_not_load_prometheus_client() -> None:
    program = "import sys, pinetboot.cli; sys.exit('prometheus_client' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0
