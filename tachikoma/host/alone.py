"""Being the only process that does something for as long as it takes."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

from tachikoma.host import files
from tachikoma.host.clock import Clock, attempts


@contextlib.asynccontextmanager
async def alone(path: Path, *, clock: Clock, deadline_s: float) -> AsyncIterator[None]:
    """Hold the lock file at ``path``, made if need be; the loop goes on while this waits.

    The lock ends with its holder, however that ends.

    Raises:
        TimeoutError: somebody else held it for the whole time.
        HostError: the file cannot be made or opened.
    """
    with contextlib.ExitStack() as stack:
        async for _ in attempts(clock, deadline_s=deadline_s):
            with contextlib.suppress(TimeoutError):
                stack.enter_context(files.locked(path, deadline_s=0))
                break
        else:
            raise TimeoutError(str(path))
        yield
