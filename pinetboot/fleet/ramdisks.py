"""Keeping the boot.img of each Pi that has one as its boot tree is, under the claim of the one who keeps the fleet.

Belongs here: who has one, when it is looked at, and that it is not replaced under a Pi that boots. Making it is
`fleet.ramdisk`'s. What goes wrong is told, and keeps no Pi from booting by its files.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path

from pinetboot.config import Config
from pinetboot.errors import OperatorError
from pinetboot.events import BootImgMade, FleetFault, Sink
from pinetboot.fleet import made, ramdisk
from pinetboot.fleet.fence import Fence
from pinetboot.fleet.pi import Pi
from pinetboot.fleet.ramdisk_tree import Unsettled
from pinetboot.fleet.surroundings import Image, Surroundings
from pinetboot.threads import Threads


class Ramdisks:
    """Looks after the boot.img of one Pi after another.

    `unheld` returns once a Pi is in the middle of no boot. At most as many are made at once as `slots` has places;
    `stopping` has the making of one cut off.
    """

    def __init__(
        self,
        config: Callable[[], Config],
        in_thread: Threads,
        unheld: Callable[[str], Awaitable[None]],
        sink: Sink,
        *,
        slots: asyncio.Semaphore,
        stopping: Callable[[], bool],
    ) -> None:
        self._config = config
        self._in_thread = in_thread
        self._unheld = unheld
        self._slots = slots
        self._stopping = stopping
        self._sink = sink
        self._keys = ramdisk.Keys()
        self._told: dict[str, str] = {}

    async def look_after(self, pi: Pi, number: int, found: Surroundings, fence: Fence, *, booted: bool) -> None:
        """Make, renew or take away the boot.img of a generation; `booted`: it is the one that the Pi boots now.

        Raises Lost and run.Cancelled.
        """
        try:
            await self._look_after(pi, number, found.images, fence, booted=booted)
        except Unsettled:
            return  # it is looked at again
        except OperatorError as error:
            why = str(error)
        except OSError as error:
            why = f"its boot.img cannot be looked at: {error.strerror or error}"
        else:
            self._told.pop(pi.serial, None)
            return
        if self._told.get(pi.serial) != why:
            self._told[pi.serial] = why
            self._sink(FleetFault(pi.serial, why))

    async def _look_after(self, pi: Pi, number: int, images: tuple[Image, ...], fence: Fence, *, booted: bool) -> None:
        config, serial = self._config(), pi.serial
        generation = config.data / "pis" / serial / str(number)
        work = partial(self._step, generation, pi, images, config.boot_img.key_file)
        step = await self._in_thread(serial, work)
        if step is None:
            return
        if not step:
            if booted:
                await self._unheld(serial)
            await self._in_thread(serial, partial(ramdisk.remove, generation, fence))
            return
        began = time.monotonic()
        async with self._slots:
            making = partial(ramdisk.prepare, generation, pi, config.boot_img.key_file, self._cut_off(fence), fence)
            ready = await self._in_thread(serial, making)
        if ready is None:
            return
        took_s = time.monotonic() - began
        if booted and ready.replaces:
            await self._unheld(serial)
        await self._in_thread(serial, partial(ramdisk.place, ready, fence))
        signed = bool(ready.record.key)
        self._sink(BootImgMade(serial, pi.name, number, ready.record.size, signed, took_s))

    def _step(self, generation: Path, pi: Pi, images: tuple[Image, ...], key_file: str) -> bool | None:
        """Say whether one is to be made (True) or taken away (False), None where all is as it should be."""
        if not wanted(generation, pi, images):
            return None if ramdisk.record(generation) is None else False
        return None if ramdisk.is_current(generation, self._keys.name(key_file)) else True

    def _cut_off(self, fence: Fence) -> Callable[[], bool]:
        return lambda: self._stopping() or fence.lost


def wanted(generation: Path, pi: Pi, images: tuple[Image, ...]) -> bool:
    """Whether a generation is to have a boot.img: fleet.toml says so, or nothing there and its image does.

    An image that went says nothing any more: what stands stays.
    """
    if "boot" in pi.model_fields_set:
        return pi.boot == "img"
    told = made.read(generation)
    image = next((one for one in images if told is not None and one.name == told.image), None)
    return ramdisk.record(generation) is not None if image is None else image.boot_img
