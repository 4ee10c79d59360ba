"""The dashboard in a real browser: every page and every action, as people use them."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
import pytest_asyncio
from playwright.async_api import Browser, Page, expect

from tachikoma.makima import messages
from tachikoma.model.errors import TachikomaError
from tests.live.browser import (
    DESKTOP,
    PHONE,
    SCREENSHOTS,
    Watched,
    axe,
    chromium,
    findings,
    watched,
)
from tests.live.dashboard_scene import Scene, came, scene, start, text, uses

pytestmark = [
    pytest.mark.live,
    pytest.mark.timeout(120),
    pytest.mark.asyncio(loop_scope="module"),
]
expect.set_options(timeout=8000)
Opened = Callable[..., AbstractAsyncContextManager[Watched]]
RETRY = "Retry failed requests with backoff"


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def browser(real_environ: dict[str, str]) -> AsyncIterator[Browser]:
    async with chromium(real_environ) as made:
        yield made


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def shop(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Scene]:
    async with scene(tmp_path_factory.mktemp("dashboard")) as made:
        yield made


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def cookie(shop: Scene) -> str:
    crew = shop.crew
    async with crew.client.post(
        f"{crew.base}/api/v1/session", json={"key": crew.user_key}
    ) as answer:
        return answer.cookies["makima_session"].value


@pytest.fixture
def opened(browser: Browser, shop: Scene, cookie: str) -> Opened:
    def opening(**more: Any) -> AbstractAsyncContextManager[Watched]:
        return watched(browser, shop.crew.base, cookie=cookie, **more)

    return opening


def card(page: Page, name: str) -> Any:
    return page.locator(".card", has=page.get_by_text(name, exact=True))


async def answers(
    shop: Scene, kind: str, made: messages.Message, *, count: int = 1
) -> dict[str, Any]:
    """Wait for a command, and let the daemon answer."""
    frame = (await shop.daemon.wire.heard(kind, count))[-1]
    await shop.daemon.say(made)
    return frame


# Signing in


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


# The board


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


# A task


async def test_output_is_shown_as_what_it_means(opened: Opened, shop: Scene) -> None:
    async with opened() as at:
        page = await at.to(f"/tasks/{shop.tasks[RETRY]}")
        output = page.get_by_role("region", name="What the agent prints")
        await expect(output.locator("strong")).to_have_text("retries with backoff")
        await expect(output.locator(".tool", has_text="src/http.py").first).to_be_visible()
        edit = output.locator(".tool", has_text="Edit")
        await expect(edit.locator("del.del")).to_have_text("        return self._send(url)")
        await expect(edit.locator("ins.add")).to_have_count(2)
        failed = output.locator(".tool[data-ran=failed]")
        await expect(failed).to_contain_text("NameError: retries")
        assert "\x1b" not in await output.inner_text()
        link = output.get_by_role("link", name="https://docs.python.org/3/library/functools.html")
        assert await link.get_attribute("rel") == "noopener noreferrer"
        commit = output.locator(".tool", has_text="git commit")
        await expect(commit.locator("ins")).to_have_count(0)
        await commit.locator("summary").click()
        await expect(commit.locator("ins.add")).to_have_count(2)
        await expect(output.locator(".plain")).to_contain_text("came from standard error")
        await expect(output.locator(".partial")).to_contain_text("collecting tests, 3 of")
        await expect(output.locator(".todos li")).to_have_count(0)
        about = page.get_by_role("complementary")
        await expect(about).to_contain_text("3f2a91c")
        await expect(about).to_contain_text("Use exponential backoff")
        await about.get_by_text("History").click()
        await expect(about.locator(".history")).to_contain_text("assigned")


async def test_output_is_followed_until_somebody_scrolls(opened: Opened, shop: Scene) -> None:
    task = await start(shop, "Talks a lot", "Talk.")
    agent = shop.ids[task]
    await shop.daemon.prints(agent, *(text(f"line {each}") for each in range(900)))
    await shop.daemon.wire.settled()
    async with opened(size=(1000, 700)) as at:
        page = await at.to(f"/tasks/{task}")
        output = page.get_by_role("region", name="What the agent prints")
        await expect(output.get_by_text("line 899", exact=True)).to_be_in_viewport()
        await shop.daemon.prints(agent, text("and then"))
        await expect(output.get_by_text("and then")).to_be_in_viewport()
        assert await output.locator(".entry").count() < 400
        await page.keyboard.press("f")
        await expect(page.get_by_role("button", name="Follow")).to_have_attribute(
            "aria-pressed", "false"
        )
        await shop.daemon.prints(agent, text("out of sight"))
        await expect(output.get_by_text("out of sight")).to_have_count(1)
        await expect(output.get_by_text("out of sight")).not_to_be_in_viewport()
        await output.evaluate("(node) => { node.scrollTop = 0; }")
        await expect(output.get_by_text("line 300", exact=True)).to_have_count(1)
        await output.evaluate("(node) => { node.scrollTop = 0; }")
        await expect(output.get_by_text("line 0", exact=True)).to_have_count(1)
        await page.get_by_role("button", name="↓ Latest").click()
        await expect(output.get_by_text("out of sight")).to_be_in_viewport()


async def test_fifty_megabytes_do_not_weigh_on_the_browser(opened: Opened, shop: Scene) -> None:
    task = await start(shop, "Prints a flood", "Flood.")
    for batch in range(25):
        lines = [text(f"{batch}-{each} " + "x" * 200_000) for each in range(10)]
        await shop.daemon.prints(shop.ids[task], *lines)
    await shop.daemon.wire.settled()
    async with opened() as at:
        page = await at.to(f"/tasks/{task}")
        output = page.get_by_role("region", name="What the agent prints")
        await expect(output.get_by_text("24-9 xxx")).to_have_count(1)
        held = "document.querySelector('.entries').textContent.length"
        assert await page.evaluate(held) < 2_000_000
        session = await page.context.new_cdp_session(page)
        await session.send("HeapProfiler.collectGarbage")
        heap = (await session.send("Runtime.getHeapUsage"))["usedSize"]
        assert heap < 60_000_000, heap
        for _ in range(3):
            await output.evaluate("(node) => { node.scrollTop = 0; }")
            await page.wait_for_timeout(100)
        await output.locator(".entry").first.get_by_role("button", name="Show more").click()


@pytest.mark.parametrize("size", [DESKTOP, PHONE])
async def test_a_task_is_steered_by_its_buttons(
    opened: Opened, shop: Scene, size: tuple[int, int]
) -> None:
    daemon = shop.daemon
    task = await start(shop, f"Steered at {size[0]}", "Be steered.")
    agent = shop.ids[task]

    def mine(kind: str) -> list[dict[str, Any]]:
        return [each for each in daemon.wire.of(kind) if each["taskId"] == agent]

    async def until(kind: str) -> dict[str, Any]:
        await daemon.wire.until(lambda: bool(mine(kind)), deadline_s=10)
        return mine(kind)[-1]

    async with opened(size=size) as at:
        page = await at.to(f"/tasks/{task}")
        actions = page.get_by_role("group", name="Actions")
        message = page.get_by_label("Message to the agent")
        await message.fill("Mind the tests.")
        await message.press("Control+Enter")
        assert (await until("sendMessage"))["message"] == "Mind the tests."
        await expect(message).to_have_value("")

        await actions.get_by_role("button", name="Pause").click()
        await until("pauseTask")
        await daemon.status(agent, "running", "paused")
        await expect(page.get_by_text("Waiting for you: it is held")).to_be_visible()
        await actions.get_by_role("button", name="Resume").click()
        await until("resumeTask")
        await daemon.status(agent, "paused", "running")

        await actions.get_by_role("button", name="Interrupt").click()
        dialog = page.get_by_role("dialog", name="Interrupt the task?")
        await dialog.get_by_label("Kill it at once").check()
        await page.screenshot(path=SCREENSHOTS / f"interrupt-{size[0]}.png")
        await dialog.get_by_role("button", name="Interrupt").click()
        await daemon.wire.until(
            lambda: any(not each["graceful"] for each in mine("interruptTask")), deadline_s=10
        )
        await daemon.ends(agent, success=False, error="interrupted")

        count = len(daemon.wire.of("spawnTask"))
        await actions.get_by_role("button", name="Retry").click()
        dialog = page.get_by_role("dialog", name="Try the task again?")
        await dialog.get_by_label("Begin anew").check()
        await dialog.get_by_role("button", name="Retry").click()
        agent = (await daemon.spawned(count + 1))["taskId"]
        await daemon.runs(agent)
        await daemon.prints(agent, text("a second time"))
        await expect(page.get_by_text("a second time")).to_be_visible()
        await daemon.ends(agent)

        await actions.get_by_role("button", name="Deliver").click()
        dialog = page.get_by_role("dialog", name="Deliver its work")
        await dialog.get_by_label("Into branch").fill("main")
        await dialog.get_by_role("button", name="Deliver").click()
        asked = await until("retryCompletionAction")
        assert (asked["action"], asked["targetBranch"]) == ("merge", "main")
        result = messages.CompletionActionResult(
            task_id=UUID(agent), success=False, message="there is a conflict in a.py"
        )
        await daemon.say(result)
        await expect(dialog.get_by_role("alert")).to_contain_text("a conflict in a.py")
        await dialog.get_by_role("button", name="Cancel").click()

        await actions.get_by_role("button", name="Archive").click()
        await expect(page.locator(".title .status")).to_have_text("done, archived")
        await actions.get_by_role("button", name="Take back").click()
        await expect(page.locator(".title .status")).to_have_text("done")
        assert await at.overflow() <= 0


async def test_what_cannot_be_done_is_told_where_it_was_asked(opened: Opened, shop: Scene) -> None:
    task = await start(shop, "Ends behind your back", "End.")
    async with opened() as at:
        page = await at.to(f"/tasks/{task}")
        message = page.get_by_label("Message to the agent")
        await message.fill("Too late.")
        await page.route("**/message", lambda route: route.abort())
        await page.get_by_role("button", name="Send").click()
        alert = page.locator("#alerts .toast")
        await expect(alert).to_contain_text("The server cannot be reached.")
        await expect(message).to_have_value("Too late.")
        await alert.get_by_role("button", name="Dismiss").click()
        await expect(alert).to_have_count(0)
        at.trouble.clear()  # browsers write failed requests down
        await at.to("/tasks/00000000-0000-4000-8000-000000000000")
        await expect(page.get_by_role("heading", name="There is no such task")).to_be_visible()
        at.trouble.clear()
        await page.goto(f"{shop.crew.base}/nowhere")
        at.trouble.clear()


async def test_branches_of_subtasks_are_merged_by_hand(opened: Opened, shop: Scene) -> None:
    lead = shop.tasks["Ship release 4.2"]
    agent, child = UUID(shop.ids[lead]), UUID(shop.ids[shop.tasks["Changelog for 4.2"]])

    def listed(*, merged: bool) -> messages.BranchList:
        branch = messages.BranchInfo(
            name="makima/changelog",
            task_id=child,
            is_merged=merged,
            last_commit="abcdef0123",
            last_commit_message="Changelog",
        )
        return messages.BranchList(task_id=agent, branches=(branch,))

    def state(*conflicts: str) -> messages.MergeStatusResponse:
        return messages.MergeStatusResponse(
            task_id=agent,
            in_progress=bool(conflicts),
            source_branch="makima/changelog" if conflicts else None,
            conflicted_files=conflicts,
        )

    def outcome(*conflicts: str) -> messages.MergeResult:
        return messages.MergeResult(
            task_id=agent, success=not conflicts, message="so it is", conflicts=conflicts
        )

    async with opened() as at:
        page = await at.to(f"/tasks/{lead}")
        await page.get_by_role("button", name="Look at the branches").click()
        await answers(shop, "listBranches", listed(merged=False))
        await answers(shop, "mergeStatus", state())
        panel = page.locator(".merging")
        await panel.get_by_role("button", name="Merge", exact=True).click()
        await answers(shop, "mergeStart", outcome("CHANGELOG.md"))
        await answers(shop, "listBranches", listed(merged=False), count=2)
        await answers(shop, "mergeStatus", state("CHANGELOG.md"), count=2)
        await panel.get_by_role("button", name="Take theirs").click()
        asked = await answers(shop, "mergeResolve", outcome())
        assert (asked["file"], asked["strategy"]) == ("CHANGELOG.md", "theirs")
        await answers(shop, "listBranches", listed(merged=True), count=3)
        await answers(shop, "mergeStatus", state(), count=3)
        await expect(panel.get_by_text("merged")).to_be_visible()


# The machines


async def test_daemons_are_shown_with_their_load(opened: Opened, shop: Scene) -> None:
    async with opened() as at:
        page = await at.to("/daemons")
        daemon = page.locator(".daemon")
        await expect(daemon).to_contain_text("host-m1")
        await expect(daemon.locator(".busy")).to_contain_text("of 8 tasks")
        chart = daemon.get_by_role("img")
        await expect(chart).to_have_attribute(
            "aria-label", re.compile("Load of the last day: peak 7, mean")
        )
        assert await chart.locator("path").count() >= 1
        await page.get_by_label("Time span").select_option("1")
        await expect(chart).to_have_attribute("aria-label", "Load of the last hour: no samples")


async def test_vms_and_denied_requests_are_shown(opened: Opened, shop: Scene) -> None:
    async with opened() as at:
        page = await at.to("/vms")
        row = page.get_by_role("row").filter(has_text="feature/retries")
        for words in ("running", "4 GiB", "3.4 GB", "214", "1.8M", "$6.41", "3 min ago"):
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


# What must never happen


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
    for at, words in enumerate(HOSTILE):
        await shop.daemon.prints(
            agent,
            text(words),
            uses(
                f"h{at}", words, command=words, file_path=words, old_string=words, new_string=words
            ),
            came(f"h{at}", words, is_error=bool(at % 2), patch=[{"lines": [f"+{words}"]}]),
            uses(f"e{at}", "Edit", file_path=words, old_string=words, new_string="<b>"),
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


# For everybody


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


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("size", [DESKTOP, PHONE])
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
        await at.to("/")
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
