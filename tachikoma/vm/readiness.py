"""What "booted" means: requirements, waited for one after the other under one deadline."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from tachikoma.host.clock import Clock, attempts
from tachikoma.model.errors import BootTimeoutError
from tachikoma.model.events import Report, StepProgress
from tachikoma.model.names import VmName


@dataclass(frozen=True, slots=True)
class Requirement:
    """Something that must become true. ``met`` asks once and never raises for "not yet"."""

    text: str
    hint: str
    met: Callable[[], Awaitable[bool]]


async def wait_for(
    requirements: tuple[Requirement, ...],
    *,
    vm: VmName,
    deadline_s: float,
    clock: Clock,
    report: Report,
) -> None:
    """Wait until each of ``requirements`` has been met, in their order.

    Raises:
        BootTimeoutError: the deadline passed; names the requirement and what to look at.
    """
    end = clock.monotonic() + deadline_s
    for requirement in requirements:
        report(StepProgress(requirement.text))
        async for _ in attempts(clock, deadline_s=end - clock.monotonic(), most_s=0.25):
            if await requirement.met():
                break
        else:
            raise BootTimeoutError(
                f"{vm}: not within {deadline_s:g} s: {requirement.text}", hint=requirement.hint
            )
