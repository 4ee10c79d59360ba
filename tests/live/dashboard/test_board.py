"""Signing in, the board, the tree, the form: as people use them in a real browser."""

from __future__ import annotations

import pytest
from playwright.async_api import Browser, expect

from tests.live.dashboard.browser import (
    DESKTOP,
    PHONE,
    SCREENSHOTS,
    Opened,
    card,
    watched,
)
from tests.live.dashboard.scene import RETRY, Scene, start

pytestmark = [
    pytest.mark.live,
    pytest.mark.timeout(120),
    pytest.mark.asyncio(loop_scope="package"),
]


@pytest.mark.parametrize("size", [DESKTOP, PHONE])
async def test_people_sign_in_by_their_key_and_out_again(
    browser: Browser, shop: Scene, size: tuple[int, int]
) -> None:
    async with watched(browser, shop.crew.base, size=size) as at:
        page = await at.to("/tree")
        key = page.get_by_label("API key")
        await key.fill("mku_nobody")
        await page.get_by_role("button", name="Sign in").click()
        await expect(page.get_by_role("alert").filter(has_text="not good here")).to_be_visible()
        await key.fill(shop.crew.user_key)
        await key.press("Enter")
        await page.wait_for_url("**/tree")
        await expect(page.get_by_role("heading", name="Tree")).to_be_visible()
        (kept,) = await page.context.cookies()
        assert kept["httpOnly"]
        assert kept["sameSite"] == "Strict"
        assert shop.crew.user_key not in await page.evaluate(
            "JSON.stringify([localStorage, sessionStorage, document.cookie, location.href])"
        )
        await page.get_by_role("button", name="Sign out").click()
        await page.wait_for_url("**/sign-in")
        await page.goto(f"{shop.crew.base}/daemons")
        await page.wait_for_url("**/sign-in?to=%2Fdaemons")


async def test_the_board_shows_each_task_where_it_stands_and_stays_true(
    opened: Opened, shop: Scene
) -> None:
    async with opened() as at:
        page = await at.to("/")
        for column, name in (
            ("running", RETRY),
            ("waiting", "Delete accounts on request"),
            ("done", "Dark mode for the checkout"),
            ("failed", "Upgrade the payment SDK"),
            ("pending", "Release notes"),
        ):
            place = page.locator(f"#column-{column}")
            await expect(place.get_by_text(name, exact=True)).to_be_visible()
        await expect(card(page, RETRY)).to_contain_text("Bash: python -m pytest")
        await expect(card(page, RETRY)).to_contain_text("acme/web-shop")
        await expect(card(page, RETRY)).to_contain_text("host-m1")
        await expect(card(page, "Dark mode for the checkout")).to_contain_text(
            "97.7k tokens · $0.84"
        )
        await expect(page.locator(".state")).to_have_text("Live")

        await page.evaluate("document.querySelector('.board').kept = true")
        task = await start(shop, "Goes live", "Be seen at once.")
        await expect(page.locator("#column-running").get_by_text("Goes live")).to_be_visible()
        await card(page, "Goes live").focus()
        await shop.daemon.ends(shop.ids[task])
        await expect(page.locator("#column-done").get_by_text("Goes live")).to_be_visible()
        assert await page.evaluate("document.querySelector('.board').kept")


async def test_tasks_are_found_by_what_they_show_and_by_their_plan(
    opened: Opened, shop: Scene
) -> None:
    async with opened() as at:
        page = await at.to("/")
        await card(page, RETRY).wait_for()
        await page.keyboard.press("/")
        search = page.get_by_label("Search tasks")
        await expect(search).to_be_focused()
        await search.fill("payment sdk")
        await expect(page.locator(".card")).to_have_count(1)
        await search.fill("exponential")  # only the plan says so
        await expect(card(page, RETRY)).to_be_visible()
        await search.fill("no such thing")
        await expect(page.get_by_text("Nothing that fits the search.").first).to_be_visible()
        await search.press("Escape")
        await expect(card(page, RETRY)).to_be_visible()


async def test_the_keyboard_is_enough(opened: Opened) -> None:
    async with opened() as at:
        page = await at.to("/")
        await card(page, RETRY).wait_for()
        await page.keyboard.press("j")
        focused = page.locator(".card:focus")
        await expect(focused).to_contain_text("Release notes")
        await page.keyboard.press("ArrowRight")
        assert await page.locator("#column-running .card:focus").count() == 1
        first = await focused.inner_text()
        await page.keyboard.press("ArrowDown")
        assert await focused.inner_text() != first
        assert await page.locator(".card[tabindex='0']").count() == 1
        await page.keyboard.press("?")
        await expect(page.get_by_role("dialog", name="Keyboard shortcuts")).to_be_visible()
        await page.keyboard.press("Escape")
        await expect(page.get_by_role("dialog")).to_have_count(0)
        await page.keyboard.press("g")
        await page.keyboard.press("t")
        await expect(page.get_by_role("heading", name="Tree")).to_be_focused()
        lead = page.get_by_role("treeitem").filter(has_text="Ship release 4.2")
        await lead.focus()
        await expect(page.get_by_role("treeitem")).to_have_count(5)
        await expect(lead).to_contain_text("1 of 4 subtasks done")
        await page.keyboard.press("ArrowLeft")
        await expect(page.get_by_role("treeitem")).to_have_count(1)
        await page.keyboard.press("ArrowRight")
        await page.keyboard.press("ArrowRight")
        await expect(page.locator("[role=treeitem]:focus")).to_contain_text("Changelog for 4.2")
        await page.keyboard.press("Enter")
        await expect(page.get_by_role("heading", name="Changelog for 4.2")).to_be_focused()
        await page.get_by_role("navigation", name="Where").get_by_text("Ship release 4.2").click()
        await expect(page.get_by_role("heading", name="Ship release 4.2")).to_be_visible()


@pytest.mark.parametrize("size", [DESKTOP, PHONE])
async def test_a_task_is_made_by_the_form(
    opened: Opened, shop: Scene, size: tuple[int, int]
) -> None:
    name = f"Made at {size[0]}"
    async with opened(size=size) as at:
        page = await at.to("/")
        await page.get_by_role("button", name="New task").click()
        dialog = page.get_by_role("dialog", name="New task")
        await dialog.get_by_label("What is to be done").fill("Write a haiku.\nAbout rain.")
        await dialog.get_by_label("Repository", exact=True).fill("https://github.com/acme/haiku")
        await dialog.get_by_label("When it is done").select_option("merge")
        await dialog.get_by_label("Into branch").fill("main")
        await dialog.get_by_text("More options").click()
        await dialog.get_by_label("Name", exact=True).fill(name)
        await dialog.get_by_label("Priority").fill("300")
        await dialog.get_by_role("button", name="Start the task").click()
        await expect(dialog).to_be_visible()  # the browser says that it is too much
        await dialog.get_by_label("Priority").fill("7")
        await dialog.get_by_role("button", name="Start the task").click()
        await expect(dialog).to_have_count(0)
        await expect(card(page, name)).to_be_visible()
        await page.screenshot(path=SCREENSHOTS / f"made-{size[0]}.png")
        found = (await shop.crew.get("/tasks", search=name))["items"][0]
        assert (found["action"], found["targetBranch"], found["priority"]) == ("merge", "main", 7)
