"""A headless Chromium, and pages in it that are watched for every error and violation."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import portalocker
import pytest
from playwright.async_api import Browser, ConsoleMessage, Locator, Page, async_playwright

from tests.conftest import ROOT

SCREENSHOTS = ROOT / "build" / "screenshots"
DESKTOP = (1366, 900)
PHONE = (360, 740)
AXE = "axe-core@4.14.1"
_INSTALL_S = 120
_NAMES = ("chromium-headless-shell", "chromium", "chromium-browser", "google-chrome")
_VIOLATIONS = """
document.addEventListener("securitypolicyviolation", (event) =>
  console.error(`violation of ${event.violatedDirective}: ${event.blockedURI} ${event.sample}`));
"""


@asynccontextmanager
async def chromium(environ: dict[str, str]) -> AsyncIterator[Browser]:
    """Run the browser of this machine, from its packages or Playwright's."""
    async with async_playwright() as playwright:
        own = Path(playwright.chromium.executable_path)
        program = next(filter(None, map(shutil.which, _NAMES)), None)
        if program is None and not own.exists():
            if environ.get("CI") == "true":
                pytest.fail("chromium must be installed: tools/setup")
            pytest.skip("not installed: chromium")
        browser = await playwright.chromium.launch(
            executable_path=program or own,
            args=["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"],
        )
        try:
            yield browser
        finally:
            await browser.close()


@dataclass
class Watched:
    """A page, and what went wrong in it."""

    page: Page
    base: str
    trouble: list[str] = field(default_factory=list)

    def heard(self, message: ConsoleMessage) -> None:
        # Whoever is not signed in is told so by this status; browsers write every one down.
        if message.type == "error" and "status of 401" not in message.text:
            self.trouble.append(message.text)

    async def to(self, path: str) -> Page:
        """Go somewhere, and wait until its heading is there."""
        await self.page.goto(f"{self.base}{path}")
        await self.page.locator("h1").first.wait_for()
        return self.page

    async def overflow(self) -> int:
        """Give how many pixels of the page are beside the screen."""
        width = await self.page.evaluate("document.scrollingElement.scrollWidth - innerWidth")
        return int(width)


@asynccontextmanager
async def watched(
    browser: Browser,
    base: str,
    *,
    cookie: str = "",
    size: tuple[int, int] = DESKTOP,
    scheme: Any = "light",
    scripts: Iterable[str] = (),
) -> AsyncIterator[Watched]:
    """Open a page; with a session if there is a cookie. Fails if anything went wrong in it."""
    context = await browser.new_context(
        viewport={"width": size[0], "height": size[1]},
        color_scheme=scheme,
        reduced_motion="reduce",
    )
    context.set_default_timeout(8000)
    if cookie:
        await context.add_cookies([{"name": "makima_session", "value": cookie, "url": base}])
    for script in (_VIOLATIONS, *scripts):
        await context.add_init_script(script)
    page = await context.new_page()
    made = Watched(page, base)
    page.on("console", made.heard)
    page.on("pageerror", lambda error: made.trouble.append(str(error)))
    try:
        yield made
        assert made.trouble == []
    finally:
        await context.close()


def axe(environ: dict[str, str]) -> str:
    """Give the script that looks for what keeps people out, installed once for this checkout."""
    place = ROOT / "build" / "axe"
    script = place / "node_modules" / "axe-core" / "axe.min.js"
    place.mkdir(parents=True, exist_ok=True)
    with portalocker.Lock(place / "lock", timeout=_INSTALL_S):  # tests run in several processes
        done = place / "done"
        if not done.exists() or done.read_text(encoding="ascii") != AXE:
            _install(place, environ)
            done.write_text(AXE, encoding="ascii")
    return script.read_text(encoding="utf-8")


def _install(place: Path, environ: dict[str, str]) -> None:
    npm = shutil.which("npm")
    if npm is None:
        if environ.get("CI") == "true":
            pytest.fail("npm must be installed")
        pytest.skip("not installed: npm")
    (place / "package.json").write_text('{"private": true}\n', encoding="ascii")
    quiet = ("--no-audit", "--no-fund", "--ignore-scripts", "--silent")
    subprocess.run(
        [npm, "install", *quiet, AXE], cwd=place, env=environ, timeout=_INSTALL_S, check=True
    )


async def findings(page: Page) -> list[str]:
    """Give the serious and critical findings of axe on a page."""
    found = await page.evaluate("axe.run(document, {resultTypes: ['violations']})")
    assert len(found["passes"]) > 5, "axe has looked at nothing"
    return [
        f"{each['id']}: {node['html'][:160]} {node.get('failureSummary', '')[:300]}"
        for each in found["violations"]
        if each["impact"] in {"serious", "critical"}
        for node in each["nodes"][:3]
    ]


Opened = Callable[..., AbstractAsyncContextManager[Watched]]


def card(page: Page, name: str) -> Locator:
    """Find the card of a task on the board."""
    return page.locator(".card", has=page.get_by_text(name, exact=True))
