"""`pinetboot watch`: every Pi's boot as it goes on, in a table that moves, as lines, or as JSON for scripts."""

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
from pinetboot.cli.status import foreign, own, table, unanswered
from pinetboot.net import http

_SILENCE_S: Final = 40.0  # the daemon says something every 15 s
_AGAIN_S: Final = 2.0
_OK: Final = 200
_FULL: Final = 503
_LONGEST: Final = 64 << 20
_ORDER: Final = ("stalled", "booting", "online", "unseen")
_CAUSES: Final = 3

Pi = dict[str, Any]
Changed = Callable[[Pi], object]


def watch(
    *,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print one line of JSON for each Pi, and for each that changes.")
    ] = False,
    url: Annotated[
        str, typer.Option(help="Ask this daemon: http://192.168.1.10, say.", show_default="the one on this host")
    ] = "",
    config: flags.Config = None,
) -> None:
    """Show every Pi's boot as it goes on, until Ctrl-C.

    On a terminal it is a table that moves, those that stand still and those that boot first; elsewhere a line for each
    change. With --json each line is a Pi as `status --json` shows it, or {"serial": …, "gone": true}.

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
        pis = _Pis(lambda pi: table([pi]))
        with Live(get_renderable=lambda: _draw(base, pis), console=console, refresh_per_second=4, screen=True):
            loop.run(_follow(base, pis))
    else:
        loop.run(_follow(base, _Pis(lambda pi: console.print(_line(pi)))))


class _Foreign(Exception):
    """What answers has no events to tell."""


class _Pis:
    """Every Pi as it was told last. `changed` hears of each that is new, or not as it was before."""

    def __init__(self, changed: Changed) -> None:
        self.by_serial: dict[str, Pi] = {}
        self.fault = ""
        self._changed = changed

    def take(self, event: str, told: Any) -> None:
        """Take what the daemon says. Raises TypeError and KeyError for what is no pinetboot's."""
        if event == "pis":
            gone = self.by_serial.keys() - {pi["serial"] for pi in told["pis"]}
            for pi in told["pis"]:
                self._put(pi)
            for serial in sorted(gone):
                self._drop(serial)
        elif event == "pi":
            self._put(told)
        elif event == "gone":
            self._drop(told["serial"])

    def _put(self, pi: Pi) -> None:
        serial = str(pi["serial"])
        if self.by_serial.get(serial) != pi:
            self.by_serial[serial] = pi
            self._changed(pi)

    def _drop(self, serial: str) -> None:
        if self.by_serial.pop(serial, None) is not None:
            self._changed({"serial": serial, "gone": True})


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
    who = escape(str(pi.get("hostname") or pi["serial"]))
    if pi.get("gone"):
        return f"{at} {who} is known no more"
    boot = pi.get("boot") or {}
    cause = boot.get("cause") or {}
    stage = f" at {pi['stage']}" if pi.get("stage") and pi.get("state") != "online" else ""
    why = f": {escape(str(cause['what']))} ({escape(str(cause['rule']))})" if cause else ""
    return f"{at} {who} {escape(str(pi.get('state')))}{stage}, {boot.get('bytes', 0):,} bytes{why}"


def _draw(base: str, pis: _Pis) -> RenderableType:
    """Lay out what fits: a sum, those first that somebody should look at, and why some stand still."""
    shown = sorted(pis.by_serial.values(), key=_rank)
    counts = Counter(str(pi.get("state")) for pi in shown)
    words = ", ".join(f"{counts[state]} {state}" for state in _ORDER if counts[state])
    head = Text(f"{len(shown)} Pi{'' if len(shown) == 1 else 's'} at {base}" + (f": {words}" if words else ""), "bold")
    if pis.fault:
        head.append(f"   no answer now: {pis.fault}", "bold red")
    causes = [
        Text(f"{pi.get('hostname') or pi['serial']}: {cause['what']} ({cause['rule']}). {cause['do']}", "red")
        for pi in shown
        if (cause := (pi.get("boot") or {}).get("cause"))
    ]
    return Group(head, *causes[:_CAUSES], table(shown))


def _rank(pi: Pi) -> tuple[int, str]:
    state = str(pi.get("state"))
    place = _ORDER.index(state) if state in _ORDER else len(_ORDER)
    return place, str(pi.get("hostname") or pi.get("serial"))
