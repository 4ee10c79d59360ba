"""A task's page in a real browser: what its agent prints, and what people do about it."""

from __future__ import annotations

from typing import Any
from uuid import UUID

import pytest
from playwright.async_api import expect

from tachikoma.makima import messages
from tachikoma.makima.frames import BranchInfo
from tests.live.dashboard.browser import (
    DESKTOP,
    PHONE,
    SCREENSHOTS,
    Opened,
)
from tests.live.dashboard.scene import RETRY, Scene, answers, start, text

pytestmark = [
    pytest.mark.live,
    pytest.mark.timeout(120),
    pytest.mark.asyncio(loop_scope="package"),
]


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
        branch = BranchInfo(
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
