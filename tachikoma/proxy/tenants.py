"""Whose tokens are alive: the state file, read again whenever it changed."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from pathlib import Path

from tachikoma.model.errors import HostError, StateError
from tachikoma.model.names import VmName
from tachikoma.state.port import StateStore

_log = logging.getLogger(__name__)

Tenants = Mapping[str, VmName]
"""The SHA-256 (hex) of each live token, and its VM."""


class TenantBook:
    """Gives the live tokens as the state file has them at this moment.

    The file is looked at for every request, which costs a ``stat``, and read only when it is
    another one than last time: the token of a destroyed VM is dead at the next request.
    """

    def __init__(self, *, store: StateStore, file: Path) -> None:
        self._store = store
        self._file = file
        self._seen: object = None
        self._tenants: Tenants | None = None

    async def tenants(self) -> Tenants | None:
        """Give the live tokens, or None if it cannot be known which these are."""
        try:
            stamp = self._stamp()
            if self._tenants is None or stamp != self._seen:
                tenants = await asyncio.to_thread(self._read)
                self._seen, self._tenants = stamp, tenants
                return tenants
        except (OSError, StateError, HostError) as error:
            _log.error("nobody may pass: the state file cannot be read: %s", error)
            self._tenants = None
        return self._tenants

    def _stamp(self) -> object:
        try:
            seen = self._file.stat()
        except FileNotFoundError:
            return "missing"
        return seen.st_mtime_ns, seen.st_ctime_ns, seen.st_size, seen.st_ino

    def _read(self) -> Tenants:
        records = self._store.read().vms.values()
        return {token_hash: record.name for record in records for token_hash in record.token_hashes}
