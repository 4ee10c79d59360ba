"""What holds for every page: nothing runs that should not, nobody is kept out."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from pathlib import Path
from uuid import UUID

import pytest
from playwright.async_api import Browser, Page, expect

from tachikoma.makima import messages
from tests.live.dashboard.browser import (
    DESKTOP,
    PHONE,
    SCREENSHOTS,
    Opened,
    Watched,
    axe,
    card,
    findings,
    watched,
)
from tests.live.dashboard.scene import RETRY, Scene, came, scene, start, text, uses

pytestmark = [
    pytest.mark.live,
    pytest.mark.timeout(120),
    pytest.mark.asyncio(loop_scope="package"),
]

HOSTILE = (
    "<script>window.pwned = 1</script><img src=x onerror='window.pwned = 1'>",
    "\x1b]0;title\x07\x1b[2J\x1b[31mred \u202eevil\u202c \x00\x07\u2066x",
    "javascript:alert(1) https://ok.example/<b>x</b> https://bank.example@evil.example/ data:x",
    "[click](javascript:alert(1)) <a href='javascript:alert(1)'>x</a>",
    "```html\n<iframe srcdoc='<script>parent.pwned=1</script>'></iframe>\n```",
)


async def test_hostile_output_stays_text(opened: Opened, shop: Scene) -> None:
    name = "<img src=x onerror=window.pwned=1>\u202e"
    task = await start(shop, name, HOSTILE[0])
    agent = shop.ids[task]
    await shop.daemon.say(
        messages.TaskProgress(task_id=UUID(agent), summary=HOSTILE[0] + HOSTILE[1][1:])
    )
    for number, words in enumerate(HOSTILE):
        await shop.daemon.prints(
            agent,
            text(words),
            uses(f"h{number}", words, command=words, file_path=words, query=words),
            came(f"h{number}", words, is_error=bool(number % 2), patch=[{"lines": [f"+{words}"]}]),
            uses(f"e{number}", "Edit", file_path=words, old_string=words, new_string="<b>"),
            words.replace("\n", " "),
        )
    await shop.daemon.prints(agent, "x" * 900_000, '{"type": "assistant", "message": "<b>"}')
    await shop.daemon.ends(agent, success=False, error=HOSTILE[0])
    async with opened() as at:
        page = await at.to(f"/tasks/{task}")
        output = page.get_by_role("region", name="What the agent prints")
        await expect(output.get_by_text("x" * 100).first).to_be_attached()
        await page.get_by_role("button", name="Unfold", exact=True).click()
        for path in ("", "/", "/tree", "/daemons"):
            if path:
                await at.to(path)
                await page.wait_for_timeout(150)
            assert await page.evaluate("window.pwned") is None
            inside = "main script, main img, main iframe, main [onerror], main b b"
            assert await page.locator(inside).count() == 0
            hrefs = await page.eval_on_selector_all("a", "(all) => all.map((each) => each.href)")
            assert all(each.startswith((shop.crew.base, "https://ok.example/")) for each in hrefs)
            said = await page.locator("main").inner_text()
            assert not set(said) & set("\x00\x07\x1b\u202e\u202c\u2066")
        assert page.context.pages == [page]


async def test_the_policy_allows_nothing_inline_and_nothing_from_elsewhere(shop: Scene) -> None:
    async with shop.crew.client.get(f"{shop.crew.base}/") as answer:
        policy = answer.headers["Content-Security-Policy"]
        assert "unsafe" not in policy
        assert policy.startswith("default-src 'none'; script-src 'self'; style-src 'self'")
        body = await answer.text()
    assert "<style" not in body
    assert " style=" not in body


async def test_the_connection_comes_back_by_itself(browser: Browser, tmp_path: Path) -> None:
    async with scene(tmp_path) as own:
        crew = own.crew
        async with watched(browser, crew.base) as at:
            page = await at.to("/")
            await page.get_by_label("API key").fill(crew.user_key)
            await page.keyboard.press("Enter")
            await expect(page.locator(".state")).to_have_text("Live")
            await page.context.set_offline(offline=True)
            await crew.stop()
            await expect(page.locator(".state")).to_have_text("Reconnecting")
            await page.screenshot(path=SCREENSHOTS / "away.png")
            async with own.again():
                await crew.create("Made while away", name="Made while away")
                await page.context.set_offline(offline=False)
                await expect(page.locator(".state")).to_have_text("Live")
                await expect(card(page, "Made while away")).to_be_visible()
            at.trouble.clear()  # browsers write lost connections down


PAGES: tuple[tuple[str, str], ...] = (
    ("board", "/"),
    ("tree", "/tree"),
    ("daemons", "/daemons"),
    ("vms", "/vms"),
    ("proxy", "/proxy"),
    ("task", RETRY),
    ("failed", "Upgrade the payment SDK"),
    ("lead", "Ship release 4.2"),
)


@pytest.mark.parametrize(
    ("size", "scheme"), [(DESKTOP, "light"), (DESKTOP, "dark"), (PHONE, "light")]
)
async def test_every_page_is_for_everybody(
    opened: Opened,
    browser: Browser,
    shop: Scene,
    real_environ: dict[str, str],
    scheme: str,
    size: tuple[int, int],
) -> None:
    scripts = (axe(real_environ),)
    found: dict[str, list[str]] = {}

    async def look(name: str, at: Watched) -> None:
        await at.page.screenshot(path=SCREENSHOTS / f"{name}-{size[0]}-{scheme}.png")
        if serious := await findings(at.page):
            found[name] = serious
        if (over := await at.overflow()) > 0:
            found.setdefault(name, []).append(f"{over} pixels beside the screen")

    async with watched(browser, shop.crew.base, size=size, scheme=scheme, scripts=scripts) as at:
        await at.to("/sign-in")
        await look("sign-in", at)
    async with opened(size=size, scheme=scheme, scripts=scripts) as at:
        for name, path in PAGES:
            page = await at.to(path if path.startswith("/") else f"/tasks/{shop.tasks[path]}")
            await SETTLED[name](page)
            await look(name, at)
        page = await at.to("/")
        await card(page, RETRY).wait_for()
        await page.get_by_role("button", name="New task").click()
        await page.get_by_text("More options").click()
        await look("new", at)
        await page.keyboard.press("Escape")
        await expect(page.get_by_role("dialog")).to_have_count(0)
        await page.keyboard.press("?")
        await look("keys", at)
    assert found == {}


def _waits(selector: str) -> Callable[[Page], Awaitable[None]]:
    async def wait(page: Page) -> None:
        await page.locator(selector).first.wait_for()

    return wait


SETTLED = {
    "board": _waits(".card"),
    "tree": _waits(".row"),
    "daemons": _waits(".daemon path"),
    "vms": _waits("tbody tr"),
    "proxy": _waits("tbody tr"),
    "task": _waits(".entry.partial"),
    "failed": _waits(".entry.turn"),
    "lead": _waits(".part li"),
}
