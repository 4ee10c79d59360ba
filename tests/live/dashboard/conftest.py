"""One browser and one team for the tests of the dashboard."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager
from typing import Any

import pytest
import pytest_asyncio
from playwright.async_api import Browser, expect

from tests.live.dashboard.browser import (
    Opened,
    Watched,
    chromium,
    watched,
)
from tests.live.dashboard.scene import Scene, scene

expect.set_options(timeout=8000)


@pytest_asyncio.fixture(loop_scope="package", scope="package")
async def browser(real_environ: dict[str, str]) -> AsyncIterator[Browser]:
    async with chromium(real_environ) as made:
        yield made


@pytest_asyncio.fixture(loop_scope="package", scope="package")
async def shop(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Scene]:
    async with scene(tmp_path_factory.mktemp("dashboard")) as made:
        yield made


@pytest_asyncio.fixture(loop_scope="package", scope="package")
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
