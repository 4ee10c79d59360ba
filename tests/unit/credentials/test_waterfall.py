from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from tachikoma.credentials.memory import MemorySource
from tachikoma.credentials.port import Credential, Finding, Kind
from tachikoma.credentials.waterfall import Waterfall, ask
from tachikoma.host.clock import FakeClock
from tachikoma.model.errors import NoCredentialError

TTL_S = 300.0


def key(secret: str, *, expires: float | None = None) -> Credential:
    return Credential(Kind.API_KEY, secret, "test", expires)


def waterfall(clock: FakeClock, *sources: MemorySource) -> Waterfall:
    return Waterfall(sources=sources, ttl_s=TTL_S, clock=clock)


async def test_the_first_source_that_has_one_wins_and_later_ones_are_not_asked() -> None:
    sources = [MemorySource("a"), MemorySource("b", key("1")), MemorySource("c", key("2"))]
    assert await waterfall(FakeClock(), *sources).current() == key("1")
    assert [source.looks for source in sources] == [1, 1, 0]


async def test_asking_gives_what_each_source_said_up_to_the_one_that_has_it() -> None:
    sources = [MemorySource("a"), MemorySource("b", key("1")), MemorySource("c", key("2"))]
    assert await ask(sources) == (Finding("a", None, "is empty"), Finding("b", key("1")))
    assert await ask(sources[:1]) == (Finding("a", None, "is empty"),)
    assert await ask([]) == ()


async def test_a_credential_is_kept_for_its_time_and_then_looked_up_anew() -> None:
    clock, source = FakeClock(), MemorySource(credential=key("1"))
    made = waterfall(clock, source)
    assert await made.current() == key("1")
    source.credential = key("2")
    await clock.sleep(TTL_S - 1)
    assert await made.current() == key("1")
    await clock.sleep(1)
    assert await made.current() == key("2")
    assert source.looks == 2


async def test_a_credential_is_not_kept_beyond_its_expiry() -> None:
    clock = FakeClock()
    source = MemorySource(credential=key("1", expires=clock.now() + 10))
    made = waterfall(clock, source)
    await made.current()
    await clock.sleep(9)
    await made.current()
    assert source.looks == 1
    await clock.sleep(1)
    await made.current()
    assert source.looks == 2


async def test_a_source_that_changed_is_seen_at_once_even_an_earlier_one() -> None:
    first, second = MemorySource("a"), MemorySource("b", key("2"))
    made = waterfall(FakeClock(), first, second)
    assert await made.current() == key("2")
    first.credential, first.version = key("1"), 1
    assert await made.current() == key("1")


async def test_callers_that_come_meanwhile_share_one_look() -> None:
    source = MemorySource(credential=key("1"))
    made = waterfall(FakeClock(), source)
    source.gate.clear()
    async with asyncio.timeout(5), asyncio.TaskGroup() as group:
        asking = [group.create_task(made.current()) for _ in range(20)]
        await asyncio.sleep(0)
        source.gate.set()
    assert [task.result() for task in asking] == [key("1")] * 20
    assert source.looks == 1


async def test_they_share_a_failure_too() -> None:
    source = MemorySource()
    made = waterfall(FakeClock(), source)
    source.gate.clear()
    async with asyncio.timeout(5):
        asking = asyncio.gather(*(made.current() for _ in range(20)), return_exceptions=True)
        await asyncio.sleep(0)
        source.gate.set()
        assert {type(each) for each in await asking} == {NoCredentialError}
    assert source.looks == 1


async def test_a_caller_that_goes_away_while_looking_leaves_the_others_served() -> None:
    source = MemorySource(credential=key("1"))
    made = waterfall(FakeClock(), source)
    source.gate.clear()
    async with asyncio.timeout(5), asyncio.TaskGroup() as group:
        first = group.create_task(made.current())
        second = group.create_task(made.current())
        await asyncio.sleep(0)
        first.cancel()
        source.gate.set()
    assert first.cancelled()
    assert second.result() == key("1")


async def test_a_failure_is_soon_forgotten() -> None:
    clock, source = FakeClock(), MemorySource()
    made = waterfall(clock, source)
    with pytest.raises(NoCredentialError):
        await made.current()
    source.credential = key("1")
    with pytest.raises(NoCredentialError):
        await made.current()
    assert source.looks == 1
    await clock.sleep(2)
    assert await made.current() == key("1")


async def test_without_any_the_hint_says_what_each_source_said() -> None:
    first, second = MemorySource("FIRST"), MemorySource("second")
    first.why, second.why = "is not set", "ended with status 1"
    with pytest.raises(NoCredentialError) as caught:
        await waterfall(FakeClock(), first, second).current()
    assert caught.value.hint.endswith("FIRST: is not set; second: ended with status 1")


async def test_what_the_api_refused_is_looked_up_anew_once() -> None:
    source = MemorySource(credential=key("1"))
    made = waterfall(FakeClock(), source)
    refused = await made.current()
    source.credential = key("2")
    made.forget(refused)
    assert await made.current() == key("2")
    made.forget(refused)  # a straggler that was sent with the old one
    assert await made.current() == key("2")
    assert source.looks == 2


def test_a_credential_does_not_show_its_secret() -> None:
    assert "hidden" not in repr(key("hidden"))


async def test_a_token_that_is_about_to_expire_is_looked_up_again_and_still_given() -> None:
    clock = FakeClock()
    source = MemorySource(credential=key("old", expires=clock.now() + 400))
    made = waterfall(clock, source)
    await made.current()
    await clock.sleep(99)
    await made.current()
    assert source.looks == 1
    await clock.sleep(1)  # five minutes before the end
    assert (await made.current()).secret == "old"
    assert (await made.current()).secret == "old"
    assert source.looks == 2
    source.credential = key("new", expires=clock.now() + 28_800)
    await clock.sleep(15)
    assert (await made.current()).secret == "new"
    assert source.looks == 3


async def test_a_change_of_a_source_behind_the_one_in_use_is_no_reason_to_ask() -> None:
    first, second = MemorySource("a", key("1")), MemorySource("b")
    made = waterfall(FakeClock(), first, second)
    await made.current()
    second.version = 1
    await made.current()
    assert first.looks == 1


async def test_what_is_refused_and_found_again_is_not_looked_up_for_every_request() -> None:
    clock, source = FakeClock(), MemorySource(credential=key("dead"))
    made = waterfall(clock, source)
    for _ in range(10):
        made.forget(await made.current())
    assert source.looks == 2
    await clock.sleep(5)
    made.forget(await made.current())
    await made.current()
    assert source.looks == 4


async def test_a_refusal_that_does_not_come_again_is_forgotten() -> None:
    clock, source = FakeClock(), MemorySource(credential=key("1"))
    made = waterfall(clock, source)
    made.forget(await made.current())
    await made.current()
    await clock.sleep(5)
    await made.current()
    assert source.looks == 3
    await clock.sleep(TTL_S - 1)
    await made.current()
    assert source.looks == 3


async def test_an_answer_that_was_under_way_before_the_refusal_does_not_count_as_fresh() -> None:
    clock, source = FakeClock(), MemorySource(credential=key("old"))
    made = waterfall(clock, source)
    refused = await made.current()
    source.version += 1
    source.gate.clear()
    async with asyncio.timeout(5), asyncio.TaskGroup() as group:
        early = group.create_task(made.current())
        await until(lambda: source.looks == 2)  # has seen "old" already
        made.forget(refused)
        source.credential = key("new")
        late = group.create_task(made.current())
        await asyncio.sleep(0)
        source.gate.set()
    assert (early.result().secret, late.result().secret) == ("old", "new")
    assert source.looks == 3


async def test_a_slow_failure_is_kept_as_long_as_it_took() -> None:
    clock = FakeClock()
    source = SlowSource(clock)
    made = Waterfall(sources=[source], ttl_s=TTL_S, clock=clock)
    for _ in range(3):
        with pytest.raises(NoCredentialError):
            await made.current()
    await clock.sleep(59)
    with pytest.raises(NoCredentialError):
        await made.current()
    assert source.looks == 1


async def test_closing_ends_what_is_under_way() -> None:
    source = MemorySource(credential=key("1"))
    made = waterfall(FakeClock(), source)
    await made.aclose()
    source.gate.clear()
    asking = asyncio.ensure_future(made.current())
    await until(lambda: source.looks == 1)
    async with asyncio.timeout(5):
        await made.aclose()
        with pytest.raises(asyncio.CancelledError):
            await asking


async def test_the_log_says_once_which_source_is_used_and_which_fail_and_no_secret(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level("INFO")
    clock, broken = FakeClock(), MemorySource("command")
    broken.why, broken.warning = "ended with status 1", True
    made = waterfall(clock, broken, MemorySource("b", key("hidden")))
    for _ in range(3):
        await made.current()
        await clock.sleep(TTL_S)
    assert [(each.levelname, each.getMessage()) for each in caplog.records] == [
        ("WARNING", "credentials: command is passed over: ended with status 1"),
        ("INFO", "credentials: test (api_key) is in use"),
    ]


async def test_a_host_of_another_provider_is_told_so() -> None:
    source = MemorySource("environment")
    source.provider, source.why = "Amazon Bedrock", "CLAUDE_CODE_USE_BEDROCK is set"
    with pytest.raises(NoCredentialError, match="set up for Amazon Bedrock") as caught:
        await waterfall(FakeClock(), source).current()
    assert "ANTHROPIC_BASE_URL" in caught.value.hint


class SlowSource(MemorySource):
    """Takes a minute to say that there is nothing."""

    def __init__(self, clock: FakeClock) -> None:
        super().__init__()
        self._clock = clock

    async def look(self) -> Finding:
        await self._clock.sleep(60)
        return await super().look()


async def until(true: Callable[[], bool]) -> None:
    for _ in range(100):
        if true():
            return
        await asyncio.sleep(0)
    raise AssertionError
