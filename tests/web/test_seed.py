"""Seeds over HTTP, Pi by Pi: which seed, told to whom, and what is said when there is none."""

from __future__ import annotations

import asyncio
import os
import socket
import time
from collections.abc import AsyncIterator, Callable, Hashable
from contextlib import closing
from dataclasses import dataclass, field
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import pytest
import yaml
from rawtftp import ERROR, Client
from support import Daemon, wait_until

from pinetboot.boot import cloudinit
from pinetboot.boot.cloudinit import SEED_FILES
from pinetboot.boot.resolver import BootTree
from pinetboot.config import build
from pinetboot.events import Event, FleetFault, HttpServed, PacketDropped
from pinetboot.fleet.pi import Pi
from pinetboot.net.links import Links
from pinetboot.observe.journal import line_for
from pinetboot.threads import Pool
from pinetboot.web import seed as pages
from pinetboot.web.seed import plain_address
from pinetboot.web.server import HttpServer
from pinetboot.web.sources import Seeded, Seeds, Sources

ONE, TWO, NEW = "5b154510", "da591740", "00000001"
SECRET = "hunter2-correct-horse"  # noqa: S105 - an example, and nobody's
TEMPLATE = b"#cloud-config\n{{ pi.serial }} {{ pi.hostname }} {{ data.token }}\n"


@dataclass(frozen=True)
class Answer:
    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def text(self) -> str:
        return self.body.decode()


@dataclass
class House:
    """An HTTP server over a fleet that the test makes up."""

    data: Path
    port: int
    pis: dict[str, Seeded] = field(default_factory=dict)
    serials: dict[str, str] = field(default_factory=dict)
    generations: dict[str, str] = field(default_factory=dict)
    events: list[Event] = field(default_factory=list)
    known: bool = True
    told: str = "auto"

    def add(self, serial: str, *addresses: str, **said: Any) -> None:
        self.pis[serial] = Seeded(Pi.model_validate({"serial": serial, **said}), frozenset(addresses))

    def put(self, path: str, content: bytes) -> Path:
        file = self.data / "cloud-init" / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content)
        return file

    async def ask(self, path: str, local: str = "127.0.0.1", method: str = "GET") -> Answer:
        return await asyncio.to_thread(get, self.port, path, local, method)

    def of(self, kind: type[Event]) -> list[Any]:
        return [event for event in self.events if isinstance(event, kind)]


def get(port: int, path: str, local: str = "127.0.0.1", method: str = "GET") -> Answer:
    with closing(HTTPConnection("127.0.0.1", port, timeout=15, source_address=(local, 0))) as connection:
        connection.request(method, path)
        answer = connection.getresponse()
        return Answer(answer.status, {name.lower(): value for name, value in answer.getheaders()}, answer.read())


def port_of_no_address() -> int:
    """Find a port that is free on every address: the tests' own clients leave ports of 127.0.0.x behind."""
    with socket.socket() as sock:
        sock.bind(("", 0))
        port: int = sock.getsockname()[1]
        return port


class Nobody:
    """No Pi was seen."""

    def serials(self) -> list[str]:
        return []

    def knows(self, _serial: str) -> bool:
        return False

    def shown(self, _serial: str) -> dict[str, Any]:
        return {}

    def mark(self, _serial: str) -> Hashable:
        return None

    def one(self, _serial: str) -> dict[str, Any] | None:
        return None

    def boot(self, _serial: str, _number: int) -> dict[str, Any] | None:
        return None


@pytest.fixture
async def house(tmp_path: Path) -> AsyncIterator[House]:
    (tmp_path / "boot").mkdir()
    made = House(tmp_path, port_of_no_address())
    config = build({"server": {"stop_s": 1}, "http": {"port": made.port}}, "test")
    seeds = Seeds(
        folder_of=lambda name: tmp_path / "cloud-init" / name,
        serial_of=made.serials.get,
        seed_of=made.pis.get,
        generation_of=lambda serial: made.generations.get(serial, ""),
        known=lambda: made.known,
        told=lambda: made.told,
    )
    pool = Pool()
    sources = Sources(BootTree(tmp_path / "boot"), seeds, Nobody(), pool, dict, made.events.append, bytes)
    server = HttpServer(config, sources)
    await server.start(Links())
    yield made
    await server.stop()
    pool.close()


async def test_a_pi_gets_its_own_seed_by_address_and_by_serial(house: House) -> None:
    for name in SEED_FILES:
        house.put(f"default/{name}", TEMPLATE)
    house.add(ONE, "127.0.0.2", hostname="node-1", data={"token": SECRET})
    house.add(TWO, "127.0.0.3", data={"token": "other"})
    house.serials.update({"127.0.0.2": ONE, "127.0.0.3": TWO})
    for name in SEED_FILES:
        first = await house.ask(f"/{name}", "127.0.0.2")
        assert (first.status, first.text) == (200, f"#cloud-config\n{ONE} node-1 {SECRET}\n")
        assert first.headers["cache-control"] == "no-store"
        for path in (f"/seed/{ONE}/{name}", f"/seed/{ONE.upper()}/{name}", f"/seed/00000000{ONE}/{name}"):
            assert (await house.ask(path, "127.0.0.2")).body == first.body
        assert (await house.ask(f"/{name}", "127.0.0.3")).text == f"#cloud-config\n{TWO} pi-{TWO} other\n"
        told = await house.ask(f"/seed/{ONE}/{name}", "127.0.0.2", "HEAD")
        assert (told.headers["content-length"], told.body) == (str(len(first.body)), b"")
    assert not house.of(FleetFault)
    assert {event.kind for event in house.of(HttpServed)} == {"seed"}


async def test_the_generated_files_fit_the_pi(house: House) -> None:
    house.add(ONE, hostname="node-1", seed="default", data={"role": "agent"})
    house.generations[ONE] = "7"
    answers = {name: await house.ask(f"/seed/{ONE}/{name}") for name in SEED_FILES}
    assert {answer.status for answer in answers.values()} == {200}
    assert yaml.safe_load(answers["meta-data"].body) == {
        "instance-id": f"pinetboot-{ONE}-7",
        "local-hostname": "node-1",
        "data": {"role": "agent"},
    }
    assert answers["user-data"].body == b"#cloud-config\n"
    assert answers["vendor-data"].body == answers["network-config"].body == b""


async def test_a_foreign_address_gets_no_seed_once_the_pis_own_is_known(house: House) -> None:
    house.put("default/user-data", TEMPLATE)
    house.add(ONE, data={"token": SECRET})
    assert (await house.ask(f"/seed/{ONE}/user-data", "127.0.0.9")).status == 200  # not known yet
    house.add(ONE, "127.0.0.2", data={"token": SECRET})
    for name in SEED_FILES:
        answer = await house.ask(f"/seed/{ONE}/{name}", "127.0.0.9")
        assert answer.status == 403
        assert answer.text == f"the seed of {ONE} is told to 127.0.0.2 alone, which 127.0.0.9 is not\n"
        assert answer.headers["cache-control"] == "no-store"
    assert (await house.ask(f"/seed/{ONE}/user-data", "127.0.0.2")).status == 200
    dropped = house.of(PacketDropped)
    assert len(dropped) == len(SEED_FILES)
    line = line_for(dropped[0])
    assert (line.level, line.event) == ("warning", "http packet dropped")
    assert "127.0.0.9 is not" in str(line.fields["why"])


async def test_a_pi_that_was_seen_at_another_address_too_is_told_there(house: House) -> None:
    house.add(ONE, "127.0.0.2")
    house.serials["127.0.0.8"] = ONE
    assert (await house.ask(f"/seed/{ONE}/user-data", "127.0.0.8")).status == 200
    assert (await house.ask("/user-data", "127.0.0.8")).status == 200


async def test_the_address_in_fleet_toml_is_final(house: House) -> None:
    house.add(ONE, "127.0.0.2", address="127.0.0.2")
    house.serials["127.0.0.8"] = ONE
    for path in (f"/seed/{ONE}/user-data", "/user-data"):
        assert (await house.ask(path, "127.0.0.8")).status == 403
    house.serials["127.0.0.2"] = ONE
    assert (await house.ask("/user-data", "127.0.0.2")).status == 200


async def test_a_machine_in_no_fleet_gets_the_default_seed_either_way(house: House) -> None:
    house.put("default/vendor-data", b"{{ pi.hostname }} {{ seed }}")
    house.add(ONE, "127.0.0.2")
    assert (await house.ask("/vendor-data", "127.0.0.7")).text == "pi-127-0-0-7 default"
    assert (await house.ask(f"/seed/{NEW}/vendor-data", "127.0.0.7")).text == f"pi-{NEW} default"
    told = f"instance-id: pinetboot-{NEW}\nlocal-hostname: pi-{NEW}\n"
    assert (await house.ask(f"/seed/{NEW}/meta-data", "127.0.0.7")).text == told


@pytest.mark.parametrize(
    ("path", "why"),
    [
        (f"/seed/{ONE}/user-date", "a seed has the files user-data, meta-data, vendor-data, network-config\n"),
        (f"/seed/{ONE}/..%2f..%2fsecret", "a seed has the files user-data, meta-data, vendor-data, network-config\n"),
        ("/seed/node-1/user-data", "a serial is eight hex digits, 5b154510 say\n"),
        ("/seed/..%2fdefault/user-data", "a serial is eight hex digits, 5b154510 say\n"),
        (f"/seed/{ONE}/", None),
        (f"/seed/{ONE}", None),
        ("/seed/", None),
    ],
)
async def test_what_is_no_seed_is_404(house: House, path: str, why: str | None) -> None:
    answer = await house.ask(path)
    assert answer.status == 404
    if why is not None:
        assert answer.text == why


@pytest.mark.parametrize(("path", "kind"), [("/seedmeta-data", "seed"), ("/boot/user-data", "boot"), ("/x", "page")])
async def test_a_name_right_behind_an_address_without_a_slash_is_a_seed_that_was_asked_for(
    house: House, path: str, kind: str
) -> None:
    assert (await house.ask(path)).status == 404
    assert [event.kind for event in house.events if isinstance(event, HttpServed)] == [kind]


async def test_only_reading_is_allowed(house: House) -> None:
    for method in ("POST", "PUT", "DELETE"):
        assert (await house.ask(f"/seed/{ONE}/user-data", method=method)).status == 405


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (b"#cloud-config\n\n{{ data.k3s_token }}\n", "line 3: data.k3s_token is not set for this Pi"),
        (b"{{ v1.local_hostname }}", "line 1: v1 is unknown; there are pi, data, server and seed"),
        (b"{{ data.token + 1 }}", "line 1: an expression ends in TypeError, the details of which might hold a secret"),
        (b"\n{% frob %}", "line 2: Encountered unknown tag 'frob'"),
        (b"{{ data.__class__ }}", "line 1: a seed may not reach __class__ of a value"),
        (b"{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}", None),
    ],
)
async def test_a_seed_that_cannot_be_made_is_500_with_the_reason(house: House, text: bytes, why: str | None) -> None:
    house.put("default/user-data", b"password: given away?\n" + text)
    house.add(ONE, data={"token": SECRET})
    answer = await house.ask(f"/seed/{ONE}/user-data")
    assert answer.status == 500
    assert answer.headers["cache-control"] == "no-store"
    assert answer.text.startswith("cloud-init/default/user-data, line ")
    assert len(answer.text.splitlines()) == 1
    if why is not None:
        number = int(why.removeprefix("line ").partition(":")[0])
        assert answer.text == f"cloud-init/default/user-data, {why.replace(str(number), str(number + 1), 1)}\n"
    [event] = house.of(FleetFault)
    assert (event.serial, event.why) == (ONE, answer.text.strip())
    assert line_for(event).level == "warning"
    assert SECRET not in f"{answer} {house.events}"
    assert "given away" not in f"{answer} {house.events}"


async def test_a_fault_of_our_own_tells_nothing_of_a_seed(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> bytes:
        raise RuntimeError(SECRET)

    monkeypatch.setattr(cloudinit, "fill", fail)
    answer = await house.ask(f"/seed/{ONE}/user-data")
    assert (answer.status, answer.text) == (500, "RuntimeError\n")


async def test_a_seed_whose_folder_is_missing_is_told_and_default_is_not(house: House) -> None:
    house.add(ONE, seed="k3s-agent")
    house.add(TWO)
    for name in SEED_FILES:
        answer = await house.ask(f"/seed/{ONE}/{name}")
        assert answer.status == 500
        assert answer.text == "there is no folder cloud-init/k3s-agent, which fleet.toml names as the seed\n"
        assert (await house.ask(f"/seed/{TWO}/{name}")).status == 200
    assert {event.serial for event in house.of(FleetFault)} == {ONE}
    (house.data / "cloud-init" / "k3s-agent").mkdir(parents=True)
    assert (await house.ask(f"/seed/{ONE}/user-data")).text == "#cloud-config\n"


async def test_a_mounted_config_map_is_followed_through_its_swap(house: House) -> None:
    folder = house.data / "cloud-init" / "k3s"
    for version in ("one", "two"):
        house.put(f"k3s/..{version}/user-data", f"{version} {{{{ pi.serial }}}} {{% include 'part' %}}".encode())
        house.put(f"k3s/..{version}/part", b"part")
    (folder / "..data").symlink_to("..one")
    for name in ("user-data", "part"):
        (folder / name).symlink_to(f"..data/{name}")
    house.add(ONE, seed="k3s")
    assert (await house.ask(f"/seed/{ONE}/user-data")).text == f"one {ONE} part"
    (folder / "..new").symlink_to("..two")
    (folder / "..new").rename(folder / "..data")
    assert (await house.ask(f"/seed/{ONE}/user-data")).text == f"two {ONE} part"


async def test_what_is_no_file_does_not_hold_up_a_boot(house: House) -> None:
    folder = house.data / "cloud-init" / "default"
    folder.mkdir(parents=True)
    os.mkfifo(folder / "user-data")
    (folder / "vendor-data").mkdir()
    for name, why in (("user-data", "Invalid argument"), ("vendor-data", "Is a directory")):
        answer = await house.ask(f"/{name}")
        assert (answer.status, answer.text) == (503, f"cloud-init/default/{name} cannot be read: {why}\n")
    house.put("default/network-config", b"x" * (4 << 20) + b"x")
    assert (await house.ask("/network-config")).status == 500
    house.put("default/network-config", b"x" * (4 << 20))
    assert len((await house.ask("/network-config")).body) == 4 << 20


async def test_a_seed_that_stalls_is_503_and_holds_up_nobody_else(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    make: Callable[..., bytes] = cloudinit.fill

    def stall(name: str, read: Any, asker: Any) -> bytes:
        if asker.seed == "slow":
            read(name)
            time.sleep(1)
        return make(name, read, asker)

    monkeypatch.setattr(cloudinit, "fill", stall)
    monkeypatch.setattr(pages, "_LIMIT_S", 0.3)
    house.put("slow/user-data", b"")
    house.add(ONE, seed="slow")
    stalled = [asyncio.create_task(house.ask(f"/seed/{ONE}/user-data")) for _ in range(8)]
    await asyncio.sleep(0.1)
    assert (await house.ask("/user-data")).status == 200
    answers = [await one for one in stalled]
    assert {answer.status for answer in answers} == {503}
    assert "the storage does not answer" in answers[0].text


async def test_the_server_is_told_as_it_was_asked_or_as_it_is_set(house: House) -> None:
    house.put("default/user-data", b"{{ server.address }}:{{ server.http_port }}")
    assert (await house.ask("/user-data")).text == f"127.0.0.1:{house.port}"
    house.told = "192.168.1.10"
    assert (await house.ask("/user-data")).text == f"192.168.1.10:{house.port}"


async def test_no_seed_is_told_before_the_fleet_was_read(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    house.known = False
    monkeypatch.setattr(pages, "_FLEET_LIMIT_S", 0.1)
    answer = await house.ask("/user-data")
    assert (answer.status, answer.headers["retry-after"]) == (503, "2")
    monkeypatch.setattr(pages, "_FLEET_LIMIT_S", 5)
    waiting = asyncio.create_task(house.ask(f"/seed/{ONE}/meta-data"))
    await asyncio.sleep(0.1)
    house.add(ONE, hostname="node-1")
    house.known = True
    assert b"node-1" in (await waiting).body


async def test_many_pis_at_once_each_get_their_own(house: House) -> None:
    house.put("default/user-data", TEMPLATE)
    serials = [f"{number:08x}" for number in range(1, 61)]
    for number, serial in enumerate(serials, 1):
        house.add(serial, f"127.0.1.{number}", hostname=f"node-{number}", data={"token": number})
    answers = await asyncio.gather(
        *(house.ask(f"/seed/{serial}/user-data", f"127.0.1.{number}") for number, serial in enumerate(serials, 1))
    )
    for number, (serial, answer) in enumerate(zip(serials, answers, strict=True), 1):
        assert answer.text == f"#cloud-config\n{serial} node-{number} {number}\n"


@pytest.mark.parametrize(
    ("given", "plain"),
    [
        ("192.168.1.101", "192.168.1.101"),
        ("::ffff:192.168.1.101", "192.168.1.101"),
        ("::FFFF:c0a8:165", "192.168.1.101"),
        ("fe80::1%eth0", "fe80::1"),
        ("FE80::0:1", "fe80::1"),
        ("", ""),
    ],
)
def test_an_address_has_one_name(given: str, plain: str) -> None:
    assert plain_address(given) == plain


# The whole daemon

FLEET = f"""
[[pi]]
serial = "{ONE}"
hostname = "node-1"
seed = "own"
address = "127.0.0.41"
[pi.data]
token = "{SECRET}"

[[pi]]
serial = "{TWO}"
root = "none"
[pi.data]
token = "two"
"""


def test_the_daemon_tells_each_pi_of_its_fleet_its_own_seed(serve: Callable[..., Daemon]) -> None:
    daemon = serve()
    folder = daemon.data / "cloud-init"
    for name in ("own", "default"):
        (folder / name).mkdir(parents=True, exist_ok=True)
        (folder / name / "user-data").write_bytes(TEMPLATE)
    (daemon.data / "fleet.toml").write_text(FLEET)
    told = f"#cloud-config\n{ONE} node-1 {SECRET}\n"

    def ask(path: str, local: str) -> Answer:
        return get(daemon.http_port, path, local)

    assert wait_until(lambda: ask("/user-data", "127.0.0.41").text == told)
    assert ask(f"/seed/{ONE}/user-data", "127.0.0.41").text == told
    assert ask(f"/seed/{ONE}/user-data", "127.0.0.42").status == 403
    assert wait_until(lambda: daemon.said("http packet dropped"))
    # The other Pi's address is learned as it asks for its files.
    assert ask(f"/seed/{TWO}/user-data", "127.0.0.42").status == 200
    with Client(daemon.tftp_port, local="127.0.0.43") as client:
        assert client.answer(f"{TWO}/start4.elf").opcode == ERROR
    assert wait_until(lambda: ask(f"/seed/{TWO}/user-data", "127.0.0.42").status == 403)
    assert ask("/user-data", "127.0.0.43").text == f"#cloud-config\n{TWO} pi-{TWO} two\n"
    (folder / "own" / "user-data").write_bytes(b"{{ data.none }}")
    assert ask("/user-data", "127.0.0.41").status == 500
    assert wait_until(lambda: any("data.none is not set" in str(line.get("why")) for line in daemon.lines))
    assert SECRET not in daemon.text


def test_a_fleet_that_is_broken_at_the_start_is_said_and_told_nobody_a_seed_until_it_is_mended(
    serve: Callable[..., Daemon],
) -> None:
    daemon = serve()
    daemon.stop()
    (daemon.data / "cloud-init" / "own").mkdir(parents=True, exist_ok=True)
    (daemon.data / "cloud-init" / "own" / "user-data").write_bytes(TEMPLATE)
    (daemon.data / "fleet.toml").write_text(FLEET.replace("hostname", "hostnome"))
    daemon.start()
    for path in ("/user-data", f"/seed/{ONE}/user-data"):
        answer = get(daemon.http_port, path, "127.0.0.41")
        assert answer.status == 503
        assert answer.text.startswith("fleet.toml is not read yet or cannot be used as it is, so that nobody is told")
        assert "`pinetboot check`" in answer.text
        assert SECRET not in answer.text
    assert wait_until(lambda: daemon.said("fleet left as it was"))
    assert "did you mean hostname?" in daemon.said("fleet left as it was")[0]["why"]
    (daemon.data / "fleet.toml").write_text(FLEET)
    told = f"#cloud-config\n{ONE} node-1 {SECRET}\n"
    assert wait_until(lambda: get(daemon.http_port, "/user-data", "127.0.0.41").text == told)


def test_a_fleet_that_breaks_while_it_is_used_stays_what_it_was(serve: Callable[..., Daemon]) -> None:
    daemon = serve()
    (daemon.data / "cloud-init" / "own").mkdir(parents=True, exist_ok=True)
    (daemon.data / "cloud-init" / "own" / "user-data").write_bytes(TEMPLATE)
    (daemon.data / "fleet.toml").write_text(FLEET)
    told = f"#cloud-config\n{ONE} node-1 {SECRET}\n"
    assert wait_until(lambda: get(daemon.http_port, "/user-data", "127.0.0.41").text == told)
    for broken in ("[[pi]\n", FLEET.replace("hostname", "hostnome"), "\xff"):
        before = len(daemon.said("fleet left as it was"))
        (daemon.data / "fleet.toml").write_text(broken, encoding="latin-1")
        assert wait_until(lambda: len(daemon.said("fleet left as it was")) > before)  # noqa: B023
        assert get(daemon.http_port, "/user-data", "127.0.0.41").text == told
        assert get(daemon.http_port, f"/seed/{ONE}/user-data", "127.0.0.42").status == 403
    assert SECRET not in daemon.text
