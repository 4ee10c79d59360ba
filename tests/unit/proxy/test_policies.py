from __future__ import annotations

import asyncio
from collections.abc import Iterable
from pathlib import Path

import pytest

from tachikoma.host.clock import FakeClock
from tachikoma.model.names import VmName
from tachikoma.model.settings import Settings
from tachikoma.proxy.groups import Groups
from tachikoma.proxy.meter import Tokens
from tachikoma.proxy.policies import Policies
from tachikoma.proxy.route import Tenant
from tachikoma.proxy.spending import Spending
from tachikoma.proxy.tenants import TenantBook
from tachikoma.proxy.usage import UsageBook
from tachikoma.state.json_file import JsonFileStore
from tachikoma.state.port import VmRecord

VM = VmName("tachikoma-repo-main")


class Place:
    """The files of a proxy, and the policies made from them."""

    def __init__(self, at: Path) -> None:
        self.settings = at / "config.toml"
        self.state = at / "state.json"
        self.store = JsonFileStore(file=self.state, locks=at / "locks", clock=FakeClock())
        self.spending = Spending(UsageBook(at / "usage.sqlite"))
        self.groups = ScriptedGroups(at)
        self.applied: list[Settings] = []
        self.policies = Policies(
            upstream="https://api.example",
            settings_file=self.settings,
            tenants=TenantBook(store=self.store, file=self.state),
            spending=self.spending,
            groups=self.groups,
            applied=self.applied.append,
        )
        with self.store.edit() as ledger:
            ledger.put(record())

    async def tenant(self) -> Tenant:
        tenants = (await self.policies.outward()).tenants
        assert tenants is not None
        return tenants["hash"]

    def write(self, text: str) -> None:
        self.settings.write_text(text)
        self.policies._look_again = 0.0


class ScriptedGroups(Groups):
    def __init__(self, at: Path) -> None:
        super().__init__(environment={}, home=at, root=at)
        self.said: dict[str, tuple[str, ...]] = {"@pip": ("index.example", "files.example:8443")}
        self.forgotten = 0
        self.gate = asyncio.Event()
        self.gate.set()

    async def hosts(self, group: str) -> tuple[str, ...]:
        await self.gate.wait()
        return self.said.get(group, ())

    def forget(self) -> None:
        self.forgotten += 1


def record() -> VmRecord:
    at = Path("/repo")
    return VmRecord(VM, at, "repo", "main", at, "synthetic", "x", 1.0, 1.0, token_hashes=("hash",))


@pytest.fixture
async def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


def shown(rules: Iterable[object]) -> list[str]:
    return [str(rule) for rule in rules]


async def test_without_a_settings_file_a_vm_reaches_the_api_and_nothing_else(place: Place) -> None:
    tenant = await place.tenant()
    assert (tenant.vm, tenant.egress.allowed) == (VM, ())
    policy = await place.policies.current()
    assert (policy.upstream, policy.used_up) == ("https://api.example", {})
    assert await place.policies.current() is policy


async def test_the_settings_apply_to_every_vm_and_a_group_is_what_it_means_here(
    place: Place, caplog: pytest.LogCaptureFixture
) -> None:
    place.write('egress_allow = ["example.com", "@pip", "@npm"]')
    assert shown((await place.tenant()).egress.allowed) == [
        "example.com",
        "index.example",
        "files.example:8443",
    ]
    assert "@npm means no host" in caplog.text


async def test_a_change_of_the_settings_is_seen_and_told(place: Place) -> None:
    place.write('egress_allow = ["example.com"]')
    assert shown((await place.tenant()).egress.allowed) == ["example.com"]
    place.write('egress_allow = ["other.example"]\ncredential_proxy_ttl_secs = 7')
    assert shown((await place.tenant()).egress.allowed) == ["other.example"]
    assert [each.credential_proxy_ttl_secs for each in place.applied] == [300, 7]


async def test_settings_that_cannot_be_used_change_nothing(
    place: Place, caplog: pytest.LogCaptureFixture
) -> None:
    place.write('egress_allow = ["example.com"]')
    await place.tenant()
    place.write('egress_allow = ["example.com", "http://no"]')
    assert shown((await place.tenant()).egress.allowed) == ["example.com"]
    assert "the settings stay as they were" in caplog.text
    assert len(place.applied) == 1


async def test_a_reload_asks_the_tools_again_though_no_file_has_changed(place: Place) -> None:
    place.write('egress_allow = ["@pip"]')
    await place.tenant()
    place.groups.said["@pip"] = ("mirror.example",)
    assert shown((await place.tenant()).egress.allowed) == ["index.example", "files.example:8443"]
    await place.policies.reload()
    assert place.groups.forgotten == 1
    assert shown((await place.tenant()).egress.allowed) == ["mirror.example"]


async def test_a_budget_that_is_used_up_is_in_the_policy_until_it_is_raised(place: Place) -> None:
    place.write("budget_tokens = 10")
    tenant = await place.tenant()
    policy = await place.policies.current()
    assert policy.used_up == {}
    place.spending.add(tenant, "m", Tokens(10))
    assert list(policy.used_up) == [VM]
    place.write("budget_tokens = 11")
    assert (await place.policies.current()).used_up == {}


async def test_while_the_vms_are_unknown_nobody_passes(place: Place) -> None:
    await place.tenant()
    whole = place.state.read_bytes()
    place.state.write_bytes(b"{")
    assert (await place.policies.current()).tenants is None
    place.state.write_bytes(whole)
    assert (await place.tenant()).vm == VM


async def test_many_at_once_read_the_settings_once(place: Place) -> None:
    place.write("vm_cpus = 1")
    await asyncio.gather(*(place.policies.current() for _ in range(5)))
    assert len(place.applied) == 1


async def test_only_who_goes_elsewhere_waits_for_what_the_groups_mean(place: Place) -> None:
    place.groups.gate.clear()
    place.write('egress_allow = ["@pip"]\nbudget_tokens = 0')
    assert list((await place.policies.current()).used_up) == [VM]
    waiting = asyncio.ensure_future(place.tenant())
    done, _ = await asyncio.wait({waiting}, timeout=0.01)
    assert not done
    place.groups.gate.set()
    assert shown((await waiting).egress.allowed) == ["index.example", "files.example:8443"]
