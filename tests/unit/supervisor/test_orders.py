from __future__ import annotations

import asyncio
import os
import signal

import pytest

from tachikoma.supervisor.orders import Orders, by_signals


async def test_an_order_to_retry_reaches_who_waits_now_and_nobody_later() -> None:
    orders = Orders()
    orders.retry()
    with orders.hearing() as first, orders.hearing() as second:
        assert not first.is_set()
        orders.retry()
        assert first.is_set()
        assert second.is_set()
    with orders.hearing() as later:
        assert not later.is_set()


@pytest.mark.live
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
async def test_signals_stop_and_retry(number: signal.Signals) -> None:
    orders = Orders()
    with by_signals(orders), orders.hearing() as retry:
        os.kill(os.getpid(), signal.SIGUSR1)
        async with asyncio.timeout(5):
            await retry.wait()
        assert not orders.stop.is_set()
        os.kill(os.getpid(), number)
        async with asyncio.timeout(5):
            await orders.stop.wait()
