"""What would keep a Pi from booting, and what it would lack, as findings.

Belongs here: which rules there are for one Pi, each small and by itself. Nothing is changed, and no finding holds a
line or a value of a seed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from typing import Final, Literal

from pinetboot import causes
from pinetboot.boot import seeds
from pinetboot.boot.cloudinit import Asker
from pinetboot.boot.data import seed_folder
from pinetboot.causes import Cause, Finding
from pinetboot.eeprom import signature
from pinetboot.eeprom.update import WORDS, Came
from pinetboot.errors import OperatorError
from pinetboot.fleet import (
    command_line,
    disks,
    dryrun,
    facts,
    flashing,
    furnish,
    generation,
    lacking,
    plan,
    ramdisk_check,
)
from pinetboot.fleet.inside import Tree
from pinetboot.fleet.pi import Pi
from pinetboot.fleet.subject import Ground, Subject, look_at
from pinetboot.fleet.surroundings import next_step
from pinetboot.image.models import family
from pinetboot.pi import config_txt

# What a template is filled in with where the network has not shown it yet (RFC 5737, RFC 7042).
_SOME_ADDRESS: Final = "192.0.2.1"
_SOME_MAC: Final = "00:00:5e:00:53:01"
_MAX_CMDLINE: Final = 1 << 16
_HARM: Final = ("fatal", "warning", "info")


def findings(ground: Ground, pi: Pi) -> list[Finding]:
    """Look at one Pi of the fleet: every finding, in no order. Never fails."""

    def all_rules() -> list[Finding]:
        subject = look_at(ground, pi)
        return [found for what, rule in _RULES.items() for found in attempt(what, partial(rule, subject))]

    return attempt("its trees", all_rules)


def named(pi: Pi, finding: Finding) -> Finding:
    """Say in a finding which Pi it is about."""
    who = f"{pi.name} ({pi.serial})" if pi.hostname else pi.name
    return replace(finding, what=f"{who}: {finding.what}")


def harm(finding: Finding) -> int:
    """Where a finding belongs in a list that begins with the worst."""
    return _HARM.index(finding.severity)


def attempt(what: str, rule: Callable[[], list[Finding]]) -> list[Finding]:
    """Run a rule; where it cannot do its work, that is a finding of its own, and no traceback."""
    do = "Run `pinetboot check` as the user that the daemon runs as."
    try:
        return rule()
    except OperatorError as error:
        why, do = error.what, error.do or do
    except OSError as error:
        why = f"{error.filename or 'a file'}: {error.strerror or error}"
    except Exception as error:  # noqa: BLE001 - one rule's fault must not hide what the others find
        # Its kind and place alone: a message may hold what must not be shown.
        why, do = f"{type(error).__name__} in {_place(error)}", "Please report it."
    return [Finding("warning", f"{what} could not be looked at", why, do)]


def _place(error: Exception) -> str:
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    return f"{trace.tb_frame.f_code.co_qualname}, line {trace.tb_lineno}" if trace is not None else "an unknown place"


def _own_folder(subject: Subject) -> list[Finding]:
    if not subject.has_own_folder:
        return []
    image = subject.pi.image
    return [
        Finding(
            "warning" if image else "info",
            f"it boots from {subject.boot}, a folder of your own",
            f"a generation of the image {image} is not served while that is there"
            if image
            else "pinetboot serves it as it is, and keeps nothing in it up to date",
            f"Move it away, or take {subject.pi.serial} out of fleet.toml." if image else "Nothing, if that is meant.",
        )
    ]


def _generation(subject: Subject) -> list[Finding]:
    if subject.has_own_folder:
        return []
    ground, pi = subject.ground, subject.pi
    step, current, _ = next_step(ground.data, pi, ground.found, ground.config.fleet.default_image)
    if isinstance(step, plan.Nothing):
        return [_missing(subject, "no generation can be made for it", step.why, step.do)]
    if isinstance(step, plan.Boot):
        if step.number == current:
            return []
        return [_missing(subject, f"it does not boot its generation {step.number} yet", *_waits(ground))]
    return [_to_be_made(subject, step.image)]


def _to_be_made(subject: Subject, image: str) -> Finding:
    ground, pi = subject.ground, subject.pi
    if subject.served is not None:
        try:
            generation.possible(pi, ground.data / "images" / image, image, subject.served)
        except OperatorError as error:
            return _missing(subject, "no generation can be made for it", error.what, error.do)
    what = f"its trees are not made from the image {image} yet"
    making = ground.making.get(pi.serial)
    if making is not None:
        return Finding("info", what, f"the daemon is at it: {making}", "Wait until `pinetboot pi list` says ready.")
    return _missing(subject, what, *_waits(ground))


def _missing(subject: Subject, what: str, why: str, do: str) -> Finding:
    """Something that a Pi cannot boot without, unless it has another tree to boot from meanwhile."""
    boots = subject.boot is not None or (subject.ground.tree.root / "config.txt").is_file()
    return Finding("warning" if boots else "fatal", what, why, do)


def _waits(ground: Ground) -> tuple[str, str]:
    if ground.running:
        return "the daemon has not come to it, waits for a boot to be over, or cannot", "Look into its log."
    return f"no daemon keeps {ground.data}", "Start `pinetboot serve`."


def _boot(subject: Subject) -> list[Finding]:
    """Try the boot of a known model; of an unknown one, look whether the files of any are there."""
    ground, boot = subject.ground, subject.boot
    if boot is None and ground.tree.pis is not None:
        return []  # a generation is what it lacks
    tried = dryrun.boots(ground.tree, family(subject.model), subject.pi.serial)
    if tried is not None and tried.cause is not None:
        return [_fatal(tried.cause)]
    if tried is not None:
        return [] if tried.cmdline is None else _command_line(subject, tried.cmdline)
    if boot is None:
        return []
    names = subject.facts.cmdlines if subject.facts else ()
    with Tree(boot) as tree:
        content = next((tree.read(name, _MAX_CMDLINE) for name in names), None) or b""
    return [*lacking.of_the_model(facts.boot_names(boot), subject.model), *_command_line(subject, content)]


def _command_line(subject: Subject, content: bytes) -> list[Finding]:
    text = content.decode("utf-8", "replace")
    if not text.strip():
        return [_fatal(causes.no_root("cmdline.txt is missing or empty"))]
    if subject.pi.root == "nfs" and config_txt.root_of(content) is None:
        return [_fatal(causes.no_root("cmdline.txt names no root="))]
    found = lacking.of_the_command_line(text)
    if subject.facts is None:
        return found
    seeds_served = subject.ground.config.http.enabled
    found += lacking.of_the_mount(text, subject.facts)
    return [*found, *command_line.findings(text, subject.facts, seeds_served=seeds_served)]


def _fatal(cause: Cause) -> Finding:
    # An older Pi may have bootcode.bin on an SD card, which the network does not show (reference 1).
    severity: Literal["fatal", "warning"] = "warning" if cause.rule == "D12" else "fatal"
    return Finding(severity, cause.what, cause.why, cause.do, cause.rule)


def _trees(subject: Subject) -> list[Finding]:
    """Look at the root, and at the boot tree beside it."""
    if subject.root is None or subject.facts is None:
        return []
    with Tree(subject.root) as tree:
        fstab = tree.text("etc/fstab") or ""
    return [*lacking.of_the_trees(subject.pi, subject.facts, subject.served), *furnish.elsewhere(fstab)]


def _disks(subject: Subject) -> list[Finding]:
    if subject.number is None or subject.pi.root != "nfs":
        return []
    return disks.findings(subject.ground.data / "pis" / subject.pi.serial, subject.pi)


def _seed(subject: Subject) -> list[Finding]:
    """Fill the seed in as the Pi would get it."""
    config, pi = subject.ground.config, subject.pi
    reads = subject.facts is not None and subject.facts.cloud_init is not None
    if not config.http.enabled:
        return [_no_http()] if reads else []
    mac = pi.mac or (subject.seen.mac if subject.seen else "") or (_SOME_MAC if config.dhcp.mode != "off" else "")
    asker = Asker(
        subject.ground.address_of(pi) or _SOME_ADDRESS,
        pi.serial,
        pi.model_copy(update={"mac": mac}),
        generation=str(subject.number or 1),
        server=subject.served.server if subject.served else _SOME_ADDRESS,
        http_port=config.http.port,
    )
    folder = seed_folder(config, pi.seed)
    shared = [_one_instance(pi.seed)] if reads and seeds.shares_instance(folder, asker) else []
    return shared + [
        Finding(
            "fatal" if reads else "warning",
            sentence,
            "the Pi comes up without what this file sets up: users, keys, packages",
            "Correct the template, or what fleet.toml says of this Pi, under [pi.data] say.",
            "D34",
        )
        for sentence in seeds.faults(folder, asker)
    ]


def _one_instance(seed: str) -> Finding:
    return Finding(
        "warning",
        f"cloud-init/{seed}/meta-data gives every Pi the same instance-id",
        "cloud-init takes a new root for one that it has set up already, and does nothing of user-data",
        "Write {{ pi.serial }} and {{ pi.generation }} into it, or take it away: what stands in has both.",
        "D37",
    )


def _no_http() -> Finding:
    return Finding(
        "warning",
        "its image has cloud-init, and no seed is served",
        "http.enabled is false",
        "Switch HTTP on, or set the Pi up in another way.",
        "D35",
    )


def _update(subject: Subject) -> list[Finding]:
    """D25: an update of the bootloader that nobody takes away."""
    if subject.boot is None:
        return []
    record = flashing.record(subject.ground.data, subject.pi.serial)
    if flashing.others(subject.boot, record):
        return [
            Finding(
                "warning",
                f"its boot tree has a {signature.UPDATE} that pinetboot did not put there",
                "one that is left behind takes newer settings of its bootloader back, or has it start over for ever",
                f"Delete it and {signature.NAME} in {subject.boot} once the Pi has taken them.",
                "D25",
            )
        ]
    if record is not None and record.came is Came.OFFERED:
        why = f"the next network boot flashes its bootloader: {WORDS[record.came]}"
        return [Finding("info", "an update of its bootloader waits", why, "Boot it, or take it back with `--cancel`.")]
    return []


_RULES: Final[Mapping[str, Callable[[Subject], list[Finding]]]] = {
    "its place in the boot tree": _own_folder,
    "its generation": _generation,
    "its boot files": _boot,
    "its boot.img": ramdisk_check.findings,
    "the update of its bootloader": _update,
    "its root": _trees,
    "its disks": _disks,
    "its seed": _seed,
}
