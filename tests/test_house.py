"""The house rules, held against the code: floors, doors, and a size that fits in mind."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / "pinetboot"
MODULES = sorted(PACKAGE.rglob("*.py"))

# Which floor a module stands on, the longest matching prefix counting. A file imports from lower floors, and sideways
# only inside its own folder.
# Formats are rules about bytes alone; all other rules may build on them, the virtual Pi's as well as the servers'.
# Tools are hands that other hands work with, files written whole for one. What these work with is the system itself:
# other programs, and what is mounted.
WORDS, FORMATS, RULES, SYSTEM, TOOLS, HANDS, SERVERS, ASSEMBLY, DOOR = range(9)
FLOORS = {
    "pinetboot": WORDS,
    "pinetboot.errors": WORDS,
    "pinetboot.events": WORDS,
    "pinetboot.causes": WORDS,
    "pinetboot.checking": WORDS,
    "pinetboot.config": WORDS,
    "pinetboot.fleet": WORDS,
    "pinetboot.fleet.pi": WORDS,
    "pinetboot.fleet.roots": WORDS,
    "pinetboot.fleet.fence": WORDS,
    "pinetboot.net": WORDS,
    "pinetboot.net.addresses": WORDS,
    "pinetboot.tftp.packet": FORMATS,
    "pinetboot.tftp.options": FORMATS,
    "pinetboot.tftp.netascii": FORMATS,
    "pinetboot.dhcp.events": WORDS,
    "pinetboot.dhcp.packet": FORMATS,
    "pinetboot.dhcp.options": FORMATS,
    "pinetboot.dhcp.asking": FORMATS,
    "pinetboot.boot.names": FORMATS,
    "pinetboot.tftp": RULES,
    "pinetboot.dhcp": RULES,
    "pinetboot.boot": RULES,
    "pinetboot.observe": RULES,
    "pinetboot.observe.watch": SERVERS,
    "pinetboot.observe.identity": SERVERS,
    "pinetboot.observe.netconsole_server": SERVERS,
    "pinetboot.insight": ASSEMBLY,
    "pinetboot.fleet.alike": HANDS,
    "pinetboot.fleet.command_line": HANDS,
    "pinetboot.observe.lag": SERVERS,
    "pinetboot.pi": RULES,
    "pinetboot.eeprom": FORMATS,
    "pinetboot.fleet.flashing": HANDS,
    "pinetboot.fleet.updates": SERVERS,
    "pinetboot.signing": HANDS,
    "pinetboot.image": RULES,
    "pinetboot.fleet.inventory": RULES,
    "pinetboot.fleet.names": RULES,
    "pinetboot.fleet.plan": RULES,
    "pinetboot.fleet.boots": RULES,
    "pinetboot.fleet.trial": RULES,
    "pinetboot.fleet.fallback": SERVERS,
    "pinetboot.boot.generated": RULES,
    "pinetboot.boot.template": RULES,
    "pinetboot.run": SYSTEM,
    "pinetboot.files": TOOLS,
    "pinetboot.mountinfo": SYSTEM,
    "pinetboot.subvolume": TOOLS,
    "pinetboot.fleet.store": HANDS,
    "pinetboot.fleet.state": HANDS,
    "pinetboot.fleet.trees": HANDS,
    "pinetboot.fleet.surroundings": SERVERS,
    "pinetboot.fleet.inside": HANDS,
    "pinetboot.fleet.kernels": HANDS,
    "pinetboot.fleet.made": HANDS,
    "pinetboot.fleet.furnish": HANDS,
    "pinetboot.fleet.facts": HANDS,
    "pinetboot.fleet.starting": HANDS,
    "pinetboot.fleet.lacking": HANDS,
    "pinetboot.fleet.progress": HANDS,
    "pinetboot.fleet.ramdisk": SERVERS,
    "pinetboot.fleet.ramdisk_check": SERVERS,
    "pinetboot.fleet.ramdisk_tree": SERVERS,
    "pinetboot.fleet.ramdisks": SERVERS,
    "pinetboot.fleet.room": SERVERS,
    "pinetboot.fleet.told": SERVERS,
    "pinetboot.fleet.dryrun": SERVERS,
    "pinetboot.fleet.subject": SERVERS,
    "pinetboot.fleet.examine": SERVERS,
    "pinetboot.fleet.identity": HANDS,
    "pinetboot.fleet.disks": HANDS,
    "pinetboot.fleet.clone": HANDS,
    "pinetboot.fleet.claim": HANDS,
    "pinetboot.fleet.keeper": HANDS,
    "pinetboot.fleet.known": SERVERS,
    "pinetboot.fleet.upkeep": SERVERS,
    "pinetboot.fleet.tenure": SERVERS,
    "pinetboot.fleet.generation": SERVERS,
    "pinetboot.fleet.reconcile": SERVERS,
    "pinetboot.installer": RULES,
    "pinetboot.installer.loaders": HANDS,
    "pinetboot.installer.library": SERVERS,
    "pinetboot.installer.menus": SERVERS,
    "pinetboot.installer.beside": SERVERS,
    "pinetboot.installer.adding": ASSEMBLY,
    "pinetboot.installer.check": ASSEMBLY,
    "pinetboot.image.record": WORDS,
    "pinetboot.image.library": HANDS,
    "pinetboot.image.swap": HANDS,
    "pinetboot.image.space": HANDS,
    "pinetboot.image.unpack": HANDS,
    "pinetboot.image.raw": HANDS,
    "pinetboot.image.fetch": SERVERS,
    "pinetboot.image.origin": SERVERS,
    "pinetboot.image.copying": SERVERS,
    "pinetboot.image.extract": SERVERS,
    "pinetboot.image.pair": SERVERS,
    "pinetboot.image.build": SERVERS,
    "pinetboot.image.importer": SERVERS,
    "pinetboot.nfs": RULES,
    "pinetboot.host": RULES,
    "pinetboot.host.ports": HANDS,
    "pinetboot.host.system": HANDS,
    "pinetboot.host.firewall": HANDS,
    "pinetboot.host.hearing": SERVERS,
    "pinetboot.host.look": ASSEMBLY,
    "pinetboot.nfs.kernel": HANDS,
    "pinetboot.nfs.rpc": HANDS,
    "pinetboot.nfs.portmap": HANDS,
    "pinetboot.nfs.inotify": HANDS,
    "pinetboot.nfs.daemons": HANDS,
    "pinetboot.nfs.rooting": HANDS,
    "pinetboot.nfs.standing": SERVERS,
    "pinetboot.nfs.server": SERVERS,
    "pinetboot.nfs.check": SERVERS,
    "pinetboot.net.udp": HANDS,
    "pinetboot.net.listening": HANDS,
    "pinetboot.net.bpf": HANDS,
    "pinetboot.net.capture": HANDS,
    "pinetboot.trace": RULES,
    "pinetboot.trace.frames": FORMATS,
    "pinetboot.trace.pcap": HANDS,
    "pinetboot.trace.door": SERVERS,
    "pinetboot.trace.taking": SERVERS,
    "pinetboot.net.packets": HANDS,
    "pinetboot.net.arp": HANDS,
    "pinetboot.net.links": HANDS,
    "pinetboot.net.http": HANDS,
    "pinetboot.boot.beneath": HANDS,
    "pinetboot.boot.resolver": HANDS,
    "pinetboot.boot.reading": HANDS,
    "pinetboot.boot.data": HANDS,
    "pinetboot.boot.seeds": HANDS,
    "pinetboot.settings": HANDS,
    "pinetboot.threads": HANDS,
    "pinetboot.systemd": HANDS,
    "pinetboot.journald": TOOLS,
    "pinetboot.service": RULES,
    "pinetboot.service.place": HANDS,
    "pinetboot.log": HANDS,
    "pinetboot.loop": HANDS,
    "pinetboot.tftp.content": SERVERS,
    "pinetboot.tftp.cache": SERVERS,
    "pinetboot.tftp.supply": SERVERS,
    "pinetboot.tftp.outlet": SERVERS,
    "pinetboot.tftp.client": SERVERS,
    "pinetboot.tftp.grant": SERVERS,
    "pinetboot.tftp.session": SERVERS,
    "pinetboot.tftp.lookup": SERVERS,
    "pinetboot.tftp.server": SERVERS,
    "pinetboot.dhcp.port": SERVERS,
    "pinetboot.dhcp.server": SERVERS,
    "pinetboot.dhcp.lease_file": HANDS,
    "pinetboot.dhcp.place": SERVERS,
    "pinetboot.dhcp.telling": SERVERS,
    "pinetboot.dhcp.people": SERVERS,
    "pinetboot.dhcp.machines": SERVERS,
    "pinetboot.dhcp.keeping": SERVERS,
    "pinetboot.dhcp.leasing": SERVERS,
    "pinetboot.dhcp.neighbours": SERVERS,
    "pinetboot.web": SERVERS,
    "pinetboot.bootimg": RULES,
    "pinetboot.bootimg.fat": HANDS,
    "pinetboot.pi.http_client": SERVERS,
    "pinetboot.pi.link": SERVERS,
    "pinetboot.pi.online": SERVERS,
    "pinetboot.pi.seed": SERVERS,
    "pinetboot.pi.tftp": SERVERS,
    "pinetboot.overview": ASSEMBLY,
    "pinetboot.figures": ASSEMBLY,
    "pinetboot.interfaces": ASSEMBLY,
    "pinetboot.installing": ASSEMBLY,
    "pinetboot.machine_overview": ASSEMBLY,
    "pinetboot.services": ASSEMBLY,
    "pinetboot.daemon": ASSEMBLY,
    "pinetboot.check": ASSEMBLY,
    "pinetboot.bootloader": ASSEMBLY,
    "pinetboot.rehearse": ASSEMBLY,
    "pinetboot.tracing": ASSEMBLY,
    "pinetboot.storm": ASSEMBLY,
    "pinetboot.demo": ASSEMBLY,
    "pinetboot.cli": DOOR,
    "pinetboot.__main__": DOOR + 1,
}

# Where each library may be imported.
DOORS = {
    "aiohttp": {"pinetboot.web", "pinetboot.net.http"},
    "dpkt": {"pinetboot.trace.pcap"},
    "prometheus_client": {"pinetboot.web.metrics"},
    "pydantic": {
        "pinetboot.checking",
        "pinetboot.config",
        "pinetboot.fleet.pi",
        "pinetboot.image.record",
        "pinetboot.installer.release",
    },
    "pydantic_core": {"pinetboot.checking"},
    "cryptography": {"pinetboot.fleet.identity", "pinetboot.signing"},
    "jinja2": {"pinetboot.boot.template"},
    "tomlkit": {"pinetboot.fleet.store"},
    "yaml": {"pinetboot.boot.template"},
    "pyroute2": {"pinetboot.net.links"},
    "rich": {"pinetboot.cli"},
    "structlog": {"pinetboot.log"},
    "logging": {"pinetboot.log"},
    "tomllib": {"pinetboot.checking"},
    "typer": {"pinetboot.cli"},
    "uvloop": {"pinetboot.loop"},
    "zstandard": {"pinetboot.image.unpack"},
    "ctypes": {"pinetboot.boot.beneath", "pinetboot.host.system", "pinetboot.image.swap", "pinetboot.nfs.inotify"},
    "subprocess": {"pinetboot.run"},
}

# What a rule may not touch: it thinks, and time is an argument.
NOT_FOR_RULES = {"asyncio", "socket", "time", "logging", "subprocess", "threading", "select", "random", "secrets"}
NOT_FOR_WORDS = NOT_FOR_RULES | {"os"}

LONGEST_MODULE = 320
LONGEST_FUNCTION = 60


def name_of(path: Path) -> str:
    parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def floor_of(module: str) -> int:
    while module not in FLOORS:
        module, dot, _ = module.rpartition(".")
        assert dot, "every module stands on a floor"
    return FLOORS[module]


def imports_of(path: Path) -> Iterator[tuple[int, str]]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: imports are absolute"
            module = node.module or ""
            for alias in node.names:
                whole = f"{module}.{alias.name}"
                yield node.lineno, whole if is_module(whole) else module


def is_module(name: str) -> bool:
    return (PACKAGE.parent / Path(*name.split("."))).with_suffix(".py").exists() or (
        PACKAGE.parent / Path(*name.split(".")) / "__init__.py"
    ).exists()


def folder_of(module: str) -> str:
    return module if (PACKAGE.parent / Path(*module.split("."))).is_dir() else module.rpartition(".")[0]


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_imports_point_down_or_stay_in_the_folder(path: Path) -> None:
    module = name_of(path)
    for line, imported in imports_of(path):
        if not imported.startswith("pinetboot"):
            continue
        here, there = floor_of(module), floor_of(imported)
        down = there < here
        # `pinetboot` itself is no folder of neighbours: what lies at the top is as apart as the folders are.
        beside = there == here and folder_of(module) == folder_of(imported) != "pinetboot"
        words = there == WORDS
        assembled = here == there == ASSEMBLY
        assert down or beside or words or assembled, f"{path}:{line}: {module} may not import {imported}"


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_every_library_has_one_door(path: Path) -> None:
    module = name_of(path)
    for line, imported in imports_of(path):
        doors = DOORS.get(imported.partition(".")[0])
        if doors is not None:
            allowed = any(module == door or module.startswith(door + ".") for door in doors)
            assert allowed, f"{path}:{line}: {imported} is imported in {sorted(doors)} only"


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_words_and_rules_touch_nothing(path: Path) -> None:
    floor = floor_of(name_of(path))
    if floor > RULES:
        return
    forbidden = NOT_FOR_WORDS if floor == WORDS else NOT_FOR_RULES
    for line, imported in imports_of(path):
        assert imported.partition(".")[0] not in forbidden, f"{path}:{line}: {imported} is for higher floors"


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_only_the_command_line_prints(path: Path) -> None:
    if name_of(path).startswith("pinetboot.cli"):
        return
    calls = [node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Call)]
    assert not [call for call in calls if isinstance(call.func, ast.Name) and call.func.id == "print"]


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_a_module_says_its_rule_and_fits_in_mind(path: Path) -> None:
    text = path.read_text()
    tree = ast.parse(text)
    assert ast.get_docstring(tree), f"{path}: a module opens with its rule"
    assert len(text.splitlines()) <= LONGEST_MODULE, f"{path}: split it by meaning"
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.end_lineno is not None:
            length = node.end_lineno - node.lineno + 1
            assert length <= LONGEST_FUNCTION, f"{path}:{node.lineno}: {node.name} has {length} lines"


def test_no_names_that_say_nothing() -> None:
    assert not {"utils", "common", "helpers", "manager", "base"} & {path.stem for path in MODULES}
