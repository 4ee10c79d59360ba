from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

from tachikoma.host.clock import FakeClock
from tachikoma.model.names import VmName
from tachikoma.proxy.egress import rules
from tachikoma.proxy.tenants import TenantBook
from tachikoma.state.json_file import JsonFileStore
from tachikoma.state.port import Ledger, VmRecord


class CountingStore(JsonFileStore):
    reads = 0

    def read(self) -> Ledger:
        self.reads += 1
        return super().read()


def record(name: str, *hashes: str) -> VmRecord:
    at = Path("/repo")
    return VmRecord(
        VmName(name), at, "repo", name, at, "synthetic", "none", 1.0, 1.0, token_hashes=hashes
    )


def made(tmp_path: Path) -> tuple[CountingStore, TenantBook, Path]:
    file = tmp_path / "state.json"
    store = CountingStore(file=file, locks=tmp_path / "locks", clock=FakeClock())
    return store, TenantBook(store=store, file=file), file


async def names(book: TenantBook) -> dict[str, str] | None:
    found = await book.tenants()
    return None if found is None else {key: tenant.vm for key, tenant in found.items()}


async def test_every_token_of_every_vm_is_alive(tmp_path: Path) -> None:
    store, book, _ = made(tmp_path)
    with store.edit() as ledger:
        ledger.put(record("a", "1", "2"))
        ledger.put(record("b", "3"))
    assert await names(book) == {"1": "a", "2": "a", "3": "b"}


async def test_a_change_is_seen_at_once_and_an_unchanged_file_is_read_once(tmp_path: Path) -> None:
    store, book, _ = made(tmp_path)
    assert await names(book) == {}
    with store.edit() as ledger:
        ledger.put(record("a", "1"))
    assert await names(book) == {"1": "a"}
    reads = store.reads
    assert await names(book) == {"1": "a"}
    assert store.reads == reads
    with store.edit() as ledger:
        ledger.drop(VmName("a"))
    assert await names(book) == {}


async def test_a_file_of_the_same_size_and_time_is_still_another(tmp_path: Path) -> None:
    store, book, file = made(tmp_path)
    with store.edit() as ledger:
        ledger.put(record("a", "1"))
    assert await names(book) == {"1": "a"}
    seen = file.stat()
    with store.edit() as ledger:
        ledger.put(record("a", "2"))
    os.utime(file, ns=(seen.st_atime_ns, seen.st_mtime_ns))
    assert await names(book) == {"2": "a"}


async def test_a_broken_file_leaves_nobody_until_it_is_whole_again(tmp_path: Path) -> None:
    store, book, file = made(tmp_path)
    with store.edit() as ledger:
        ledger.put(record("a", "1"))
    assert await names(book) == {"1": "a"}
    whole = file.read_bytes()
    file.write_bytes(b"{")
    assert await book.tenants() is None
    assert await book.tenants() is None
    file.write_bytes(whole)
    assert await names(book) == {"1": "a"}
    file.unlink()
    assert await names(book) == {}


async def test_a_directory_in_the_way_leaves_nobody(tmp_path: Path) -> None:
    store, _, file = made(tmp_path)
    (tmp_path / "file").write_text("")
    assert await TenantBook(store=store, file=tmp_path / "file" / "state.json").tenants() is None
    file.mkdir()
    assert await TenantBook(store=store, file=file).tenants() is None


async def test_a_vm_has_the_rules_of_all_and_its_own_and_an_unchanged_book_is_the_same(
    tmp_path: Path,
) -> None:
    store, book, _ = made(tmp_path)
    with store.edit() as ledger:
        ledger.put(
            replace(
                record("a", "1"),
                egress_allow=("own.example", "not a rule"),
                egress_deny=("no.example:8443",),
            )
        )
    first = await book.tenants()
    assert first is not None
    assert await book.tenants() is first
    book.allow(rules(["all.example"]))
    second = await book.tenants()
    assert second is not None
    tenant = second["1"]
    assert (tenant.vm, tenant.branch, tenant.since) == ("a", "a", 1.0)
    assert tuple(map(str, tenant.egress.allowed)) == ("all.example", "own.example")
    assert tuple(map(str, tenant.egress.denied)) == ("no.example:8443",)
