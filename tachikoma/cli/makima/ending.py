"""How commands end that run until they are told to stop."""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Iterator

from tachikoma.cli.door import Terminated


@contextlib.contextmanager
def quiet_end() -> Iterator[None]:
    """Take SIGTERM and Ctrl-C for what they are to a service: how it ends."""
    try:
        yield
    except KeyboardInterrupt:
        pass
    except Terminated as ended:
        if ended.number != signal.SIGTERM:
            raise
