"""A server, a daemon and the real Claude Code on one machine: `tachikoma makima up`."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from playwright.async_api import Page, expect

from tests.live.conftest import User
from tests.live.dashboard.browser import SCREENSHOTS, card, chromium, watched

pytestmark = [pytest.mark.live_qemu, pytest.mark.timeout(400)]
_TASK_S = 240.0
_TASK_MS = _TASK_S * 1000
_PLAN = "run: hostname > where.txt && cat where.txt"


@dataclass(frozen=True)
class Up:
    """Everything of one user, at work; his repository is on a branch aside."""

    user: User
    repository: Path
    url: str
    settings: dict[str, str]

    def key(self) -> str:
        return (self.user.home / ".makima" / "user.key").read_text().strip()

    def git(self, *words: str) -> str:
        return self.user.run_any("git", "-C", str(self.repository), *words).stdout.strip()


@contextmanager
def up(user: User, **settings: str) -> Iterator[Up]:
    """Bring everything up, and down again."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = str(free.getsockname()[1])
    made = Up(user, user.repository(), f"http://127.0.0.1:{port}", settings)
    made.git("checkout", "-q", "-b", "aside")
    user.run("makima", "up", "--port", port, env=settings)
    try:
        yield made
    finally:
        user.run("makima", "down", status=None)


async def sign_in(page: Page, key: str) -> None:
    await page.get_by_label("API key").fill(key)
    await page.keyboard.press("Enter")
    await expect(page.get_by_role("heading", name="Board")).to_be_visible()


async def test_a_task_is_done_in_a_vm_followed_in_terminal_and_browser_and_merged(
    live_user: User, real_environ: dict[str, str], tmp_path: Path
) -> None:
    told = tmp_path / "told"
    argv = ("task", "run", _PLAN, "--name", "Where am I", "--branch", "main", "--follow")
    with up(live_user, MAKIMA_DAEMON_PROCESS_ISOLATION="vm") as here:
        async with chromium(real_environ) as browser, watched(browser, here.url) as at:
            page = await at.to("/")
            await sign_in(page, here.key())
            with live_user.started(
                *argv, cwd=here.repository, env=here.settings, log=told
            ) as terminal:
                await card(page, "Where am I").click()
                output = page.get_by_role("region", name="What the agent prints")
                tool = output.locator(".tool", has_text="hostname")
                await expect(tool).to_be_visible(timeout=_TASK_MS)
                await at.to("/vms")
                machine = page.locator("tbody tr", has_text="makima-task-")
                await expect(machine).to_contain_text("running")
                await page.go_back()
                await expect(output.locator(".entry.turn")).to_be_visible(timeout=_TASK_MS)
                await expect(page.locator(".state")).to_have_text("Live")
                assert await asyncio.to_thread(terminal.wait, _TASK_S) == 0
            await expect(page.get_by_text("done", exact=True).first).to_be_visible()
            await page.screenshot(path=SCREENSHOTS / "real.png")
            shown = await output.inner_text()
        task = live_user.run("task", "list", "--json").json["data"]["tasks"][0]
        assert task["actionOutcome"]["success"] is True
        assert task["figures"]["turns"] >= 1
        assert live_user.run("list", "--json").json["data"]["vms"] == []
    guest = f"makima-task-{task['id'][:8]}"
    assert here.git("show", "main:where.txt") == guest
    assert guest in shown
    assert "{" not in shown
    assert "done" in told.read_text().splitlines()
    log = (live_user.home / ".config" / "tachikoma" / "logs" / "daemon.log").read_text()
    assert live_user.secret not in log
