"""A connection to a VM, handed to the ``ssh`` that asked for it (its ``ProxyUseFdpass``)."""

from __future__ import annotations

import os
import socket

from tachikoma.model.errors import SshError, SshUnreachableError
from tachikoma.model.vm import Endpoint

_CONNECT_S = 15.0


def hand_over(endpoint: Endpoint, descriptor: int) -> None:
    """Connect to ``endpoint`` and send the connection through the socket ``descriptor``.

    ssh then talks to the VM itself; nothing of ours stays between them.

    Raises:
        SshUnreachableError: nothing answers there.
        SshError: ``descriptor`` is no socket: somebody else than ssh called.
    """
    try:
        connection = socket.create_connection((endpoint.host, endpoint.port), timeout=_CONNECT_S)
    except OSError as error:
        raise SshUnreachableError(
            f"nothing answers at {endpoint}: {error.strerror or error}",
            hint="`tachikoma list` shows which VMs run",
        ) from error
    with connection:
        connection.settimeout(None)
        try:
            with socket.socket(fileno=os.dup(descriptor)) as channel:
                socket.send_fds(channel, [b"\0"], [connection.fileno()])
        except OSError as error:
            raise SshError(
                "there is nobody to hand a connection to",
                hint="ssh calls this by itself, with ProxyUseFdpass: `tachikoma ssh install`",
            ) from error
