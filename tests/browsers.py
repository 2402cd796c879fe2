"""Debian's Chromium, driven by Playwright: its pages, and everything that they complain about."""

from __future__ import annotations

import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Literal

import pytest

try:
    from playwright.async_api import Browser, Page, ViewportSize, async_playwright
except ImportError:  # it comes with the extra "test", but not for every machine
    pytest.skip("not installed: playwright", allow_module_level=True)

_VIOLATIONS = """
addEventListener("securitypolicyviolation", (event) =>
  console.error(`policy: ${event.violatedDirective} ${event.blockedURI}`));
"""


@asynccontextmanager
async def chromium(program: str = "") -> AsyncIterator[Browser]:
    """Start the browser; `program` is what starts it in a place of its own."""
    found = shutil.which("chromium")
    if found is None:
        pytest.skip("not installed: chromium")
    async with async_playwright() as playwright:
        arguments = ["--no-sandbox", "--disable-dev-shm-usage"]
        browser = await playwright.chromium.launch(executable_path=program or found, args=arguments)
        try:
            yield browser
        finally:
            await browser.close()


@asynccontextmanager
async def opened(
    browser: Browser,
    colours: Literal["light", "dark"] = "light",
    *,
    width: int = 1280,
    height: int = 860,
    forgiven: str = "",
    **more: Any,
) -> AsyncIterator[Page]:
    """Open a page. Errors on its console or in its scripts, and what its policy forbids, fail the test at the end.

    `forgiven` is part of complaints that the test itself provokes.
    """
    complaints: list[str] = []
    size = ViewportSize(width=width, height=height)
    context = await browser.new_context(color_scheme=colours, viewport=size, **more)
    try:
        await context.add_init_script(_VIOLATIONS)
        page = await context.new_page()
        page.on("console", lambda said: complaints.append(said.text) if said.type == "error" else None)
        page.on("pageerror", lambda error: complaints.append(str(error)))
        yield page
    finally:
        await context.close()
    assert not [one for one in complaints if not forgiven or forgiven not in one]
