"""Whose tokens are alive: the state file, read again whenever it changed."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from pathlib import Path

from tachikoma.model.errors import HostError, StateError
from tachikoma.proxy.egress import Egress, Rule, rules
from tachikoma.proxy.route import Tenant
from tachikoma.state.port import StateStore, VmRecord

_log = logging.getLogger(__name__)

Tenants = Mapping[str, Tenant]
"""The SHA-256 (hex) of each live token, and its VM."""


class TenantBook:
    """Gives the live tokens as the state file has them at this moment.

    The file is looked at for every request, which costs a ``stat``, and read only when it is
    another one than last time: the token of a destroyed VM is dead at the next request, and a host
    that was denied to a VM is out of its reach.
    """

    def __init__(self, *, store: StateStore, file: Path) -> None:
        self._store = store
        self._file = file
        self._seen: object = None
        self._general: tuple[Rule, ...] = ()
        self._records: tuple[VmRecord, ...] | None = None
        self._tenants: Tenants | None = None

    def allow(self, general: tuple[Rule, ...]) -> None:
        """Let every VM reach what ``general`` covers, besides its own."""
        self._general = general
        if self._records is not None:
            self._tenants = self._joined(self._records)

    async def tenants(self) -> Tenants | None:
        """Give the live tokens, or None if it cannot be known which these are.

        The same object as last time if nothing changed.
        """
        try:
            stamp = self._stamp()
            if self._tenants is None or stamp != self._seen:
                self._records = await asyncio.to_thread(self._read)
                self._tenants = self._joined(self._records)
                self._seen = stamp
        except (OSError, StateError, HostError) as error:
            _log.error("nobody may pass: the state file cannot be read: %s", error)
            self._tenants = self._records = None
        return self._tenants

    def _stamp(self) -> object:
        try:
            seen = self._file.stat()
        except FileNotFoundError:
            return "missing"
        return seen.st_mtime_ns, seen.st_ctime_ns, seen.st_size, seen.st_ino

    def _read(self) -> tuple[VmRecord, ...]:
        return tuple(self._store.read().vms.values())

    def _joined(self, records: tuple[VmRecord, ...]) -> Tenants:
        return {
            token_hash: tenant
            for record in records
            for tenant in (self._tenant(record),)
            for token_hash in record.token_hashes
        }

    def _tenant(self, record: VmRecord) -> Tenant:
        allowed = (*self._general, *rules(record.egress_allow))
        egress = Egress(allowed, rules(record.egress_deny))
        return Tenant(record.name, record.branch, egress, record.created)
