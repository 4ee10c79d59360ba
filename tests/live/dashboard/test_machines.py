"""Daemons, VMs and the proxy in a real browser."""

from __future__ import annotations

import re

import pytest
from playwright.async_api import expect

from tachikoma.model.errors import TachikomaError
from tests.live.dashboard.browser import (
    SCREENSHOTS,
    Opened,
)
from tests.live.dashboard.scene import Scene

pytestmark = [
    pytest.mark.live,
    pytest.mark.timeout(120),
    pytest.mark.asyncio(loop_scope="package"),
]


async def test_daemons_are_shown_with_their_load(opened: Opened, shop: Scene) -> None:
    async with opened() as at:
        page = await at.to("/daemons")
        daemon = page.locator(".daemon")
        await expect(daemon).to_contain_text("host-m1")
        await expect(daemon.locator(".busy")).to_contain_text("of 24 tasks")
        chart = daemon.get_by_role("img")
        await expect(chart).to_have_attribute(
            "aria-label", re.compile("Load of the last day: peak 21, mean")
        )
        assert await chart.locator("path").count() >= 1
        await page.get_by_label("Time span").select_option("1")
        await expect(chart).to_have_attribute("aria-label", "Load of the last hour: no samples")


async def test_vms_and_denied_requests_are_shown(opened: Opened, shop: Scene) -> None:
    async with opened() as at:
        page = await at.to("/vms")
        row = page.get_by_role("row").filter(has_text="feature/retries")
        for words in ("running", "4 GiB", "3.4 GB", "214", "1.8M", "$6.41", "3 h ago"):
            await expect(row).to_contain_text(words)
        await expect(page.locator(".told")).to_have_text(
            "3 VMs on workshop, 1 running, 6.8 GB of disk"
        )
        await page.keyboard.press("g")
        await page.keyboard.press("p")
        await expect(page.locator(".denied")).to_contain_text("tracker.example.net:443 2×")
        await expect(page.locator("tbody tr")).to_have_count(7)
        await page.keyboard.press("x")
        await expect(page.locator("tbody tr")).to_have_count(3)
        await expect(page.locator("tbody tr").first).to_contain_text("this host is not allowed")
        await page.get_by_label("Only this VM").fill("nobody")
        await expect(page.get_by_text("Nothing was denied")).to_be_visible()


async def test_a_machine_that_cannot_tell_or_is_not_there_says_so(
    opened: Opened, shop: Scene
) -> None:
    async with opened() as at:
        shop.host.fault = TachikomaError("qemu is not installed", hint="install it")
        try:
            page = await at.to("/proxy")
            await expect(page.get_by_role("alert").filter(has_text="qemu")).to_be_visible()
        finally:
            shop.host.fault = None
        at.trouble.clear()  # browsers write a 503 down
        nothing = '{"here": false, "hostname": "", "items": [], "proxy": null, "deniedHosts": []}'
        for path, words in (("vms", "No virtual machines to show"), ("proxy", "No proxy to show")):
            await page.route("**/dashboard/*", lambda route: route.fulfill(body=nothing))
            await at.to(f"/{path}")
            await expect(page.get_by_role("heading", name=words)).to_be_visible()
            await page.screenshot(path=SCREENSHOTS / f"absent-{path}.png")
