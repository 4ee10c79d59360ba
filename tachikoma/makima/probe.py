"""What can be seen of a server, and of another daemon, without being one."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import aiohttp

from tachikoma.host import files
from tachikoma.model.errors import HostError
from tachikoma.model.errors_fleet import UnreachableError

_PATIENCE_S = 10.0
_LONGEST_PID = 32


async def probe(url: str) -> None:
    """Connect to ``url`` as a daemon does, and leave before a word was said.

    Raises:
        UnreachableError: there is no answer, no trust in it, or no WebSocket at that path.
    """
    timeout = aiohttp.ClientTimeout(total=_PATIENCE_S)
    try:
        # The deadline also holds for leaving: a server may not say goodbye.
        async with (
            asyncio.timeout(_PATIENCE_S),
            aiohttp.ClientSession(timeout=timeout) as session,
            session.ws_connect(url, timeout=aiohttp.ClientWSTimeout(ws_close=1.0)),
        ):
            return
    except aiohttp.WSServerHandshakeError as error:
        raise UnreachableError(
            f"{url} answers, but not with a WebSocket: HTTP {error.status}",
            hint="check the path in server.url; without one it is /ws/daemon",
        ) from error
    except aiohttp.ClientConnectorCertificateError as error:
        raise UnreachableError(
            f"{url} has a certificate that this machine does not trust: {error.certificate_error}",
            hint="check the host name and the clock, or install the authority's certificate",
        ) from error
    except aiohttp.ClientConnectorDNSError as error:
        raise UnreachableError(
            f"there is no address for the host {error.host}", hint="check its name in server.url"
        ) from error
    except TimeoutError as error:
        raise UnreachableError(
            f"{url} did not answer in {_PATIENCE_S:g} s",
            hint="check that the server runs, and that no firewall is between",
        ) from error
    except (aiohttp.ClientError, OSError) as error:
        raise UnreachableError(
            f"{url} cannot be reached: {error}",
            hint="check host and port in server.url, and that the server runs",
        ) from error


def daemon_of(database: Path) -> str:
    """Give the process id of the daemon that holds a database; "" if none does.

    A daemon holds a lock on a file beside it, and writes its process id there.
    """
    lock = database.with_name(f"{database.name}.lock")
    try:
        descriptor = os.open(lock, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    except OSError:
        return ""
    try:
        if files.try_lock(descriptor):
            return ""
        return os.read(descriptor, _LONGEST_PID).decode("ascii", "replace").strip() or "unknown"
    except HostError:
        return ""
    finally:
        os.close(descriptor)
