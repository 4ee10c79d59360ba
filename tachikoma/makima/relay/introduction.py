"""Asking a server whether it would let a relay in."""

from __future__ import annotations

import asyncio
import uuid

import aiohttp

from tachikoma.makima.commands import Authenticated, Error
from tachikoma.makima.link import connect, failure_of
from tachikoma.makima.messages import Authenticate
from tachikoma.makima.wire import decode_command, encode
from tachikoma.model.errors_fleet import RefusedError, UnreachableError

_ANSWER_S = 15.0
_CLOSE_S = 2.0


async def introduce(url: str, *, key: str, name: str) -> None:
    """Be let in by the server at ``url`` for a moment.

    Raises:
        RefusedError: it does not accept the key.
        UnreachableError: it is not reached, or is no makima server.
    """
    try:
        async with aiohttp.ClientSession() as client:
            channel = await connect(client, url, proxy=None)
            try:
                async with asyncio.timeout(_ANSWER_S):
                    await channel.send_str(encode(_said(key, name)))
                    message = await channel.receive()
            finally:
                async with asyncio.timeout(_CLOSE_S):
                    await channel.close()
    except TimeoutError as error:
        raise UnreachableError(
            f"{url} did not answer in time", hint="see that it is a makima server, and runs"
        ) from error
    except (aiohttp.ClientError, OSError, ValueError) as error:
        failure = failure_of(error)
        if failure.status in {401, 403}:
            raise _refused(url, failure.reason) from error
        raise UnreachableError(f"{url}: {failure.reason}", hint=failure.hint) from error
    _judge(url, message.data if message.type is aiohttp.WSMsgType.TEXT else None)


def _said(key: str, name: str) -> Authenticate:
    machine = f"relay-init-{uuid.uuid4()}"
    return Authenticate(api_key=key, machine_id=machine, hostname=name, max_concurrent_tasks=0)


def _judge(url: str, said: bytes | None) -> None:
    answer = None if said is None else decode_command(said.decode("utf-8", "replace"))
    if isinstance(answer, Error):
        raise _refused(url, answer.code)
    if not isinstance(answer, Authenticated):
        raise UnreachableError(
            f"{url} does not answer as a makima server does",
            hint="check the URL; without a path it is the one for daemons, /ws/daemon",
        )


def _refused(url: str, said: str) -> RefusedError:
    word = "".join(each if each.isprintable() else " " for each in said)[:100]
    return RefusedError(
        f"{url} does not let a relay in with this key: {word}",
        hint="check the key, and that it is one of this server's",
    )
