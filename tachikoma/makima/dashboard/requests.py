"""Lines of the proxy's request log as the pages show them (pure)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime

from tachikoma.makima.dashboard.port import DeniedHost, HostRequest

_MOST_HOSTS = 20


def shown(number: int, line: Mapping[str, object]) -> HostRequest | None:
    """Show a line of the log; None if it is none of the proxy's."""
    try:
        at = datetime.fromisoformat(str(line.get("time")))
    except ValueError:
        return None
    status, tokens = line.get("status"), line.get("tokens")
    return HostRequest(
        id=number,
        at=at if at.tzinfo else at.replace(tzinfo=UTC),
        vm=_text(line.get("vm")) or None,
        branch=_text(line.get("branch")) or None,
        method=_text(line.get("method")),
        host=_text(line.get("host")),
        path=_text(line.get("path")),
        status=status if isinstance(status, int) else None,
        verdict=_text(line.get("verdict")),
        why=_text(line.get("why")),
        duration_s=_number(line.get("duration_s")),
        received=int(_number(line.get("received"))),
        sent=int(_number(line.get("sent"))),
        model=_text(line.get("model")),
        tokens=int(sum(map(_number, tokens.values()))) if isinstance(tokens, dict) else None,
    )


def denied_hosts(requests: Iterable[HostRequest]) -> tuple[DeniedHost, ...]:
    """Count the hosts that were refused, the most wanted first."""
    found = Counter(
        each.host for each in requests if each.verdict == "denied" and each.host
    ).most_common(_MOST_HOSTS)
    return tuple(DeniedHost(host=host, count=count) for host, count in found)


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""


def _number(value: object) -> float:
    return float(value) if isinstance(value, int | float) and value >= 0 else 0.0
