"""`pinetboot watch`: every boot as it goes on, in a table that moves, as lines, or as JSON for scripts."""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable
from typing import Annotated, Any, Final

import typer
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.markup import escape
from rich.text import Text

from pinetboot import __version__, loop
from pinetboot.cli import flags
from pinetboot.cli.status import foreign, machine_table, name, own, table, unanswered
from pinetboot.net import http

_SILENCE_S: Final = 40.0  # the daemon says something every 15 s
_AGAIN_S: Final = 2.0
_OK: Final = 200
_FULL: Final = 503
_LONGEST: Final = 64 << 20
_ORDER: Final = ("stalled", "booting", "online", "quiet", "unseen")
_CAUSES: Final = 3
_MACHINES: Final = 5

Pi = dict[str, Any]
Changed = Callable[[Pi], object]


def watch(
    *,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print one line of JSON for each Pi and machine, and for each that changes.")
    ] = False,
    url: Annotated[
        str, typer.Option(help="Ask this daemon: http://192.168.1.10, say.", show_default="the one on this host")
    ] = "",
    config: flags.Config = None,
) -> None:
    """Show every Pi's boot as it goes on, and that of each machine that is none, until Ctrl-C.

    On a terminal it is a table that moves, those that stand still and those that boot first; elsewhere a line for each
    change. With --json each line is a Pi or a machine as `status --json` shows it, or {"serial": …, "gone": true}, with
    "mac" for a machine.

    Exit code 0: it was ended by Ctrl-C. 1: no daemon answers. 2: the settings cannot be read.
    """
    base = url.rstrip("/") or own(config)
    try:
        _show(base, as_json=as_json)
    except KeyboardInterrupt:
        return
    except OSError as error:
        raise unanswered(base, error) from None
    except (_Foreign, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        raise foreign(base) from None


def _show(base: str, *, as_json: bool) -> None:
    console = Console(highlight=False, soft_wrap=True)
    if as_json:
        loop.run(_follow(base, _Pis(_print_json)))
    elif console.is_terminal:
        # Laid out once by itself: what cannot be is told as such, and not from within the screen.
        pis = _Pis(lambda one: table([one]) if "serial" in one else machine_table([one]))
        with Live(get_renderable=lambda: _draw(base, pis), console=console, refresh_per_second=4, screen=True):
            loop.run(_follow(base, pis))
    else:
        loop.run(_follow(base, _Pis(lambda pi: console.print(_line(pi)))))


class _Foreign(Exception):
    """What answers has no events to tell."""


class _Pis:
    """Every Pi, and every machine that is none, as it was told last.

    `changed` hears of each that is new, or not as it was before, and of those that are gone.
    """

    def __init__(self, changed: Changed) -> None:
        self.by_serial: dict[str, Pi] = {}
        self.machines: dict[str, Pi] = {}
        self.fault = ""
        self._changed = changed

    def take(self, event: str, told: Any) -> None:
        """Take what the daemon says. Raises TypeError and KeyError for what is no pinetboot's."""
        if event == "pis":
            self._put_all(self.by_serial, "serial", told["pis"])
            self._put_all(self.machines, "mac", told.get("machines", []))
        elif event == "pi":
            self._put(self.by_serial, "serial", told)
        elif event == "machine":
            self._put(self.machines, "mac", told)
        elif event == "gone":
            self._drop(self.by_serial, "serial", told["serial"])
        elif event == "machine-gone":
            self._drop(self.machines, "mac", told["mac"])

    def _put_all(self, kept: dict[str, Pi], key: str, told: list[Pi]) -> None:
        gone = kept.keys() - {one[key] for one in told}
        for one in told:
            self._put(kept, key, one)
        for who in sorted(gone):
            self._drop(kept, key, who)

    def _put(self, kept: dict[str, Pi], key: str, one: Pi) -> None:
        who = str(one[key])
        if kept.get(who) != one:
            kept[who] = one
            self._changed(one)

    def _drop(self, kept: dict[str, Pi], key: str, who: str) -> None:
        if kept.pop(who, None) is not None:
            self._changed({key: who, "gone": True})


async def _follow(base: str, pis: _Pis) -> None:
    """Take what the daemon tells, for ever; one that goes away after it answered once is waited for.

    Raises OSError where none answers, and _Foreign, ValueError, KeyError or TypeError where that is no pinetboot.
    """
    answered = False
    while True:
        try:
            async for event, data in _events(base):
                answered = True
                pis.fault = ""
                pis.take(event, json.loads(data))
            pis.fault = "it went away"
        except OSError as error:
            if not answered:
                raise
            pis.fault = str(error)
        await asyncio.sleep(_AGAIN_S)


async def _events(base: str) -> AsyncIterator[tuple[str, str]]:
    """Read server-sent events (HTML standard, section 9.2): their names and their data. Raises OSError, _Foreign."""
    asked = http.opened(
        f"{base}/api/events", silence_s=_SILENCE_S, user_agent=f"pinetboot/{__version__}", proxied=False
    )
    async with asked as answer:
        if answer.status == _FULL:
            raise OSError("as many look on as may, or it is about to stop")
        if answer.status != _OK or not answer.headers.get("Content-Type", "").startswith("text/event-stream"):
            raise _Foreign
        rest = bytearray()
        async for part in answer.parts:
            rest += part
            while (end := rest.find(b"\n\n")) >= 0:
                fields = _fields(rest[:end].decode("utf-8", "replace"))
                del rest[: end + 2]
                if "data" in fields:
                    yield fields.get("event", ""), fields["data"]
            if len(rest) > _LONGEST:
                raise _Foreign


def _fields(text: str) -> dict[str, str]:
    """Read the lines of one event; comments begin with a colon."""
    found: dict[str, str] = {}
    for line in text.split("\n"):
        name, _, value = line.partition(":")
        if name:
            found[name] = value.removeprefix(" ")
    return found


def _print_json(pi: Pi) -> None:
    sys.stdout.write(json.dumps(pi) + "\n")
    sys.stdout.flush()


def _line(pi: Pi) -> str:
    at = time.strftime("%H:%M:%S")
    who = escape(name(pi))
    if pi.get("gone"):
        return f"{at} {who} is known no more"
    boot = pi.get("boot") or {}
    cause = boot.get("cause") or {}
    stage = f" at {pi['stage']}" if pi.get("stage") and pi.get("state") != "online" else ""
    why = f": {escape(_told(cause))}" if cause else ""
    return f"{at} {who} {escape(str(pi.get('state')))}{stage}, {boot.get('bytes', 0):,} bytes{why}"


def _told(cause: dict[str, Any]) -> str:
    return f"{cause['what']} ({cause['rule']})" if cause["rule"] else str(cause["what"])


def _draw(base: str, pis: _Pis) -> RenderableType:
    """Lay out what fits: a sum, those first that somebody should look at, and why some stand still."""
    shown, machines = (sorted(kept.values(), key=_rank) for kept in (pis.by_serial, pis.machines))
    words = _counted(shown)
    head = Text(f"{len(shown)} Pi{'' if len(shown) == 1 else 's'} at {base}" + (f": {words}" if words else ""), "bold")
    if pis.fault:
        head.append(f"   no answer now: {pis.fault}", "bold red")
    causes = [
        Text(f"{name(one)}: {_told(cause)}. {cause['do']}", "red")
        for one in (*shown, *(machine for machine in machines if machine.get("state") == "stalled"))
        if (cause := (one.get("boot") or {}).get("cause"))
    ]
    if not machines:
        return Group(head, *causes[:_CAUSES], table(shown))
    # Few machines stand beside many Pis, whose table is cut at the end of the screen.
    more = Text(
        f"{len(machines)} machine{'' if len(machines) == 1 else 's'} beside the Pis: {_counted(machines)}", "bold"
    )
    return Group(head, *causes[:_CAUSES], more, machine_table(machines[:_MACHINES]), *([table(shown)] if shown else []))


def _counted(shown: list[Pi]) -> str:
    counts = Counter(str(one.get("state")) for one in shown)
    return ", ".join(f"{counts[state]} {state}" for state in _ORDER if counts[state])


def _rank(pi: Pi) -> tuple[int, str]:
    state = str(pi.get("state"))
    place = _ORDER.index(state) if state in _ORDER else len(_ORDER)
    return place, name(pi)
