"""``tachikoma egress allow|deny|list``."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

import click

from tachikoma.cli import encode
from tachikoma.cli.door import Door
from tachikoma.cli.lookup import record_of
from tachikoma.cli.table import Column
from tachikoma.cli.verb import Verb, VerbGroup
from tachikoma.model.errors import UsageError, VmNotFoundError
from tachikoma.proxy.egress import GROUPS, RULE, BadRuleError, Rule, parse_rule, rules
from tachikoma.proxy.groups import remote_hosts
from tachikoma.runtime import Runtime
from tachikoma.state.port import VmRecord

_COLUMNS = (Column("HOST", least=24), Column("WHAT"), Column("BY", least=16))


_EXAMPLES = """\b
Examples:
  tachikoma egress allow example.com
  tachikoma egress list
"""
_ALLOW_EXAMPLES = """\b
Examples:
  tachikoma egress allow example.com
  tachikoma egress allow feature/x @pip
  tachikoma egress allow '*.example.com:8443'
"""
_DENY_EXAMPLES = """\b
Examples:
  tachikoma egress deny example.com
  tachikoma egress deny feature/x example.com:8443
"""
_LIST_EXAMPLES = """\b
Examples:
  tachikoma egress list
  tachikoma egress list feature/x --json
"""


@click.group("egress", cls=VerbGroup, no_args_is_help=False, epilog=_EXAMPLES)
def command() -> None:
    """Say which hosts a VM may reach through the proxy, besides the API. By default: none.

    HOST is a host, *.domain or address, with :PORT or not (then 443 and 80 are meant), or one of
    @apt, @pip, @npm, @cargo, @go and @git: the registries and remotes that this host itself is set
    up to use. VM is a branch or a VM, by default that of the current branch. What is said here
    holds at once and goes with the VM; the setting egress_allow is for all VMs.

    Loopback, link-local and metadata addresses are never reached, private addresses only if they
    are named exactly.
    """


@command.command("allow", cls=Verb, epilog=_ALLOW_EXAMPLES)
@click.argument("words", nargs=-1, metavar="[VM] HOST")
@click.pass_obj
def allow(door: Door, *, words: tuple[str, ...]) -> int:
    """Let a VM reach a host from now on."""
    name, host = _told(words)

    async def work(runtime: Runtime) -> tuple[VmRecord, tuple[Rule, ...]]:
        record = await _record(door, name)
        meant = await _meant(runtime, record, host)

        with _changing(runtime, record) as changed:
            changed.allowed = _with(changed.allowed, meant)
            changed.denied = _without(changed.denied, meant)
        return changed.record(), meant

    record, meant = door.run(work)
    _say(door, record, meant, "may reach")
    return 0


@command.command("deny", cls=Verb, epilog=_DENY_EXAMPLES)
@click.argument("words", nargs=-1, metavar="[VM] HOST")
@click.pass_obj
def deny(door: Door, *, words: tuple[str, ...]) -> int:
    """Let a VM reach a host no longer, whatever allows it. Open connections are cut off."""
    name, host = _told(words)

    async def work(runtime: Runtime) -> tuple[VmRecord, tuple[Rule, ...]]:
        record = await _record(door, name)
        meant = await _meant(runtime, record, host)
        with _changing(runtime, record) as changed:
            changed.allowed = _without(changed.allowed, meant)
            changed.denied = _with(changed.denied, meant)
        return changed.record(), meant

    record, meant = door.run(work)
    _say(door, record, meant, "may not reach")
    return 0


@command.command("list", cls=Verb, epilog=_LIST_EXAMPLES)
@click.argument("name", metavar="[VM]", required=False)
@click.pass_obj
def show(door: Door, *, name: str | None) -> int:
    """Show what a VM may reach, and what says so."""

    async def work(runtime: Runtime) -> tuple[VmRecord, list[tuple[str, str, str]]]:
        record = await _record(door, name)
        return record, await _rows(runtime, record)

    record, rows = door.run(work)
    told = [{"host": host, "what": what, "by": by} for host, what, by in rows]
    data: encode.Data = {"vm": record.name, "rules": told}
    if not rows:
        door.screen.give(data)
        door.screen.note(f"{record.name} reaches the API and no other host")
        return 0
    door.screen.give(data, door.screen.table(_COLUMNS, rows))
    return 0


def _told(words: Sequence[str]) -> tuple[str | None, str]:
    match words:
        case (host,):
            return None, host
        case (name, host):
            return name, host
        case _:
            raise UsageError("this takes [VM] HOST", hint=f"HOST is {RULE}")


async def _record(door: Door, name: str | None) -> VmRecord:
    record = await record_of(door, name)
    if record is None:
        raise VmNotFoundError(
            f"there is no VM {name!r}" if name else "the current branch has no VM",
            hint="`tachikoma list` shows the VMs; the setting egress_allow is for all of them",
        )
    return record


async def _meant(runtime: Runtime, record: VmRecord, host: str) -> tuple[Rule, ...]:
    """Give the rules that ``host`` stands for; a group as what it means on this host now."""
    if not host.startswith("@"):
        try:
            return (parse_rule(host),)
        except BadRuleError as error:
            raise UsageError(str(error), hint=f"HOST is {RULE}") from error
    if host not in GROUPS:
        raise UsageError(f"there is no group {host}", hint=f"one of {', '.join(GROUPS)}")
    hosts = await runtime.egress_groups.hosts(host)
    if host == "@git":
        # A VM can write these, which is why the proxy does not read them: here a person sees them.
        hosts += remote_hosts(await runtime.git.urls_of_remotes(record.worktree))
    found = rules(dict.fromkeys(hosts))
    if not found:
        raise UsageError(
            f"{host} means no host on this machine",
            hint="nothing here is set up to use one; name the host itself",
        )
    return found


@dataclass(slots=True)
class _Change:
    """The rules of one VM while they are changed."""

    before: VmRecord
    allowed: tuple[str, ...]
    denied: tuple[str, ...]

    def record(self) -> VmRecord:
        return replace(self.before, egress_allow=self.allowed, egress_deny=self.denied)


@contextlib.contextmanager
def _changing(runtime: Runtime, record: VmRecord) -> Iterator[_Change]:
    with runtime.store.edit() as ledger:
        now = ledger.vms.get(record.name)
        if now is None:
            raise VmNotFoundError(f"{record.name} was destroyed meanwhile", hint="make it anew")
        change = _Change(now, now.egress_allow, now.egress_deny)
        yield change
        ledger.put(change.record())


def _with(texts: tuple[str, ...], more: Iterable[Rule]) -> tuple[str, ...]:
    return tuple(dict.fromkeys([*texts, *map(str, more)]))


def _without(texts: tuple[str, ...], less: Iterable[Rule]) -> tuple[str, ...]:
    gone = set(map(str, less))
    return tuple(text for text in texts if text not in gone)


async def _rows(runtime: Runtime, record: VmRecord) -> list[tuple[str, str, str]]:
    """Give host, verdict and what says so, the settings first."""
    rows = []
    for text in runtime.settings.egress_allow:
        if text not in GROUPS:
            rows.append((text, "allowed", "egress_allow"))
            continue
        hosts = await runtime.egress_groups.hosts(text)
        rows += [(host, "allowed", f"egress_allow, {text}") for host in hosts]
        if not hosts:
            rows.append((text, "means no host here", "egress_allow"))
    rows += [(text, "allowed", "tachikoma egress") for text in record.egress_allow]
    rows += [(text, "denied", "tachikoma egress") for text in record.egress_deny]
    return rows


def _say(door: Door, record: VmRecord, meant: Sequence[Rule], what: str) -> None:
    hosts = [str(rule) for rule in meant]
    data: encode.Data = {
        "vm": record.name,
        "hosts": hosts,
        "allowed": list(record.egress_allow),
        "denied": list(record.egress_deny),
    }
    door.screen.give(data, [f"{record.name} {what} {host}" for host in hosts])
