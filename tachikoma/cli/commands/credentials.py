"""``tachikoma credentials``."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import click

from tachikoma.cli import words
from tachikoma.cli.door import Door
from tachikoma.cli.encode import Data
from tachikoma.cli.table import Column
from tachikoma.cli.verb import Verb
from tachikoma.credentials.port import Credential, Finding, Kind
from tachikoma.credentials.provider import remote_gateway
from tachikoma.runtime import Runtime

_COLUMNS = (
    Column("SOURCE", least=16, keep_end=True),
    Column("STATE"),
    Column("KIND"),
    Column("EXPIRES"),
    Column("SAYS", least=12),
)


@dataclass(frozen=True, slots=True)
class _Seen:
    """What was found, in the order of asking; ``unasked`` are the sources after the first match."""

    findings: Sequence[Finding]
    unasked: Sequence[str]
    upstream: str
    unknown: Sequence[str]
    gateway: str | None

    @property
    def credential(self) -> Credential | None:
        return self.findings[-1].credential if self.findings else None


_EXAMPLES = """\b
Examples:
  tachikoma credentials
  tachikoma credentials --json
"""


@click.command("credentials", cls=Verb, epilog=_EXAMPLES)
@click.pass_obj
def command(door: Door) -> int:
    """Show where the credential comes from that the proxy adds, and never what it is.

    The sources are asked in this order, as a proxy started from this shell asks them; the first
    that has one wins, and those after it are left alone. Exit status 1 if none has one.
    """
    seen = door.run(_look)
    door.screen.give(_data(seen), _lines(door, seen))
    for warning in _warnings(seen):
        door.screen.note(f"warning: {warning}")
    return 0 if seen.credential is not None else 1


async def _look(runtime: Runtime) -> _Seen:
    upstream = runtime.proxy_plan().upstream
    findings = await runtime.credential_findings()
    names = [source.name for source in runtime.credential_sources]
    unknown = runtime.unknown_to_the_proxy()
    return _Seen(
        findings, names[len(findings) :], upstream, unknown, remote_gateway(runtime.environ)
    )


def _warnings(seen: _Seen) -> list[str]:
    """Say which sources do not work, and where a credential goes that may not be meant to."""
    told = [f"{finding.source}: {finding.why}" for finding in seen.findings if finding.warning]
    used = seen.credential
    if seen.gateway and used is not None and used.kind is Kind.OAUTH:
        told.append(
            f"your sign-in with Anthropic goes to {seen.gateway}, as ANTHROPIC_BASE_URL says; "
            "with ANTHROPIC_AUTH_TOKEN set, that goes there instead"
        )
    if seen.gateway and used is not None and used.secret and seen.upstream.startswith("http:"):
        told.append(f"the credential goes to {seen.gateway} in clear text: it is an http URL")
    if seen.unknown:
        names = " and ".join(seen.unknown)
        told.append(
            f"the running proxy was started without this shell's {names}; "
            "`tachikoma proxy stop` ends it, and the next spawn starts another"
        )
    return told


def _data(seen: _Seen) -> Data:
    asked = [_source(finding) for finding in seen.findings]
    rest = [_source(Finding(name, None)) | {"state": "not asked"} for name in seen.unasked]
    used = seen.credential
    return {
        "upstream": seen.upstream,
        "credential": None if used is None else _credential(used),
        "sources": [*asked, *rest],
        "warnings": _warnings(seen),
    }


def _source(finding: Finding) -> Data:
    return {
        "source": finding.source,
        "state": _state(finding),
        "why": finding.why,
        "credential": None if finding.credential is None else _credential(finding.credential),
    }


def _credential(credential: Credential) -> Data:
    return {
        "kind": credential.kind.value,
        "source": credential.source,
        "expires": credential.expires,
    }


def _state(finding: Finding) -> str:
    if finding.credential is not None:
        return "in use"
    return "failing" if finding.warning else "none"


def _lines(door: Door, seen: _Seen) -> list[str]:
    home, now = str(door.runtime.paths.home), door.runtime.clock.now()
    rows = []
    for finding in seen.findings:
        used = finding.credential
        kind = words.kind(used.kind) if used else "-"
        expires = words.left(used.expires, now) if used else "-"
        says = used.source if used and used.source != finding.source else finding.why
        rows.append([finding.source, _state(finding), kind, expires, says])
    rows += [[name, "not asked", "-", "-", ""] for name in seen.unasked]
    for row in rows:
        row[0] = row[0].replace(f"{home}/", "~/", 1) if row[0].startswith(f"{home}/") else row[0]
    return [*door.screen.table(_COLUMNS, rows), "", f"requests go to {seen.upstream}"]
