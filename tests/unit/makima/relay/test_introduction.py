from __future__ import annotations

import pytest

from tachikoma.makima.relay.introduction import introduce
from tachikoma.model.errors_fleet import RefusedError, UnreachableError
from tests.doubles.makima_server import MakimaServer, Manners

pytestmark = pytest.mark.live


async def test_a_server_that_knows_the_key_lets_the_relay_in() -> None:
    async with MakimaServer(manners=Manners(api_key="key")) as server:
        await introduce(server.url, key="key", name="edge")
        (hello,) = await server.said("authenticate")
        assert (hello["hostname"], hello["maxConcurrentTasks"]) == ("edge", 0)


async def test_a_wrong_key_is_told() -> None:
    async with MakimaServer(manners=Manners(api_key="key")) as server:
        with pytest.raises(RefusedError, match="invalid_api_key"):
            await introduce(server.url, key="wrong", name="edge")


@pytest.mark.parametrize(("status", "error"), [(401, RefusedError), (404, UnreachableError)])
async def test_what_is_no_server_is_told(status: int, error: type[Exception]) -> None:
    async with MakimaServer(manners=Manners(http_status=status)) as server:
        with pytest.raises(error, match=f"HTTP {status}"):
            await introduce(server.url, key="key", name="edge")


async def test_nobody_there_is_told() -> None:
    async with MakimaServer() as server:
        url = server.url
    with pytest.raises(UnreachableError, match="refused"):
        await introduce(url, key="key", name="edge")
