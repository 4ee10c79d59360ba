from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from uuid import UUID

import pytest

from tachikoma.host.clock import FakeClock
from tachikoma.makima.server.keyring import SESSION_S, Keyring, hashed
from tachikoma.makima.server.shapes import KeyKind
from tachikoma.makima.server.store import Store, keyring_at
from tachikoma.model.errors_fleet import KeyNameError


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
async def keys(tmp_path: Path, clock: FakeClock) -> AsyncIterator[Keyring]:
    async with keyring_at(tmp_path / "server.db", clock=clock) as made:
        yield made


async def test_a_key_is_found_by_itself_and_nothing_of_it_is_kept(
    keys: Keyring, tmp_path: Path
) -> None:
    secret = await keys.create("ada", KeyKind.USER)
    found = await keys.find(secret)
    assert found is not None
    assert (found.name, found.kind, found.start) == ("ada", KeyKind.USER, secret[:12])
    assert await keys.find(secret[:-1]) is None
    assert await keys.find(hashed(secret)) is None
    kept = b"".join(path.read_bytes() for path in tmp_path.iterdir())
    assert secret.encode() not in kept


async def test_a_name_is_taken_until_its_key_is_revoked(keys: Keyring) -> None:
    first = await keys.create("ada", KeyKind.USER)
    with pytest.raises(KeyNameError):
        await keys.create("ada", KeyKind.USER)
    await keys.revoke("ada")
    await keys.revoke("ada")
    assert await keys.find(first) is None
    second = await keys.create("ada", KeyKind.USER)
    assert await keys.find(second) is not None
    with pytest.raises(KeyNameError, match="no key 'eve'"):
        await keys.revoke("eve")


async def test_use_is_noted_now_and_then(keys: Keyring, clock: FakeClock) -> None:
    secret = await keys.create("ada", KeyKind.USER)
    await keys.find(secret)
    first = (await keys.keys())[0].used
    await clock.sleep(10)
    await keys.find(secret)
    assert (await keys.keys())[0].used == first
    await clock.sleep(60)
    await keys.find(secret)
    assert (await keys.keys())[0].used == clock.now()


async def test_a_session_ends_by_itself(keys: Keyring, clock: FakeClock) -> None:
    key = await keys.find(await keys.create("ada", KeyKind.USER))
    assert key is not None
    session = await keys.open_session(key)
    assert session.secret not in repr(session)
    found = await keys.session(session.secret)
    assert found is not None
    assert found.csrf == session.csrf
    await clock.sleep(SESSION_S)
    assert await keys.session(session.secret) is None
    other = await keys.open_session(key)
    await keys.close_session(other)
    assert await keys.session(other.secret) is None


async def test_keys_are_made_beside_a_server_that_runs(tmp_path: Path, clock: FakeClock) -> None:
    path = tmp_path / "server.db"
    async with Store.at(path, clock=clock) as store:
        async with keyring_at(path, clock=clock) as beside:
            secret = await beside.create("ada", KeyKind.DAEMON)
        assert await store.keyring.find(secret) is not None
        assert await store.keyring.tool(secret) is None
        assert await store.keyring.tool(str(UUID(int=1))) is None
