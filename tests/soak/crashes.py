"""The makima daemon, its agents, their VMs and its server's connection, killed at random.

Not named as a test, so that only who names it runs it (`make crashes`). CRASH_ROUNDS says how many
rounds there are, CRASH_SEED the seed of the first; every fifth is in a VM (CRASH_VMS=n: every n-th,
0: none). A round is done again by its seed with CRASH_ROUNDS=1.
"""

from __future__ import annotations

import statistics
import sys
from collections.abc import Mapping

import pytest

from tests.live import crash_findings
from tests.live.conftest import User
from tests.live.crash_plans import scenario
from tests.live.crash_rounds import Host, round_at

pytestmark = [pytest.mark.live_qemu, pytest.mark.timeout(4 * 3600, func_only=True)]

ROUNDS, SEED, VMS = 50, 1, 5


async def test_whatever_is_killed_every_task_ends_once_and_nothing_is_lost(
    live_user: User, real_environ: Mapping[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    rounds = int(real_environ.get("CRASH_ROUNDS", ROUNDS))
    first = int(real_environ.get("CRASH_SEED", SEED))
    every = int(real_environ.get("CRASH_VMS", VMS))
    host = Host(live_user.home, live_user.environ)
    for name, value in (("user.name", "A. User"), ("user.email", "user@example.org")):
        live_user.run_any("git", "config", "--global", name, value)
    took: dict[bool, list[float]] = {False: [], True: []}
    failures = []
    with capsys.disabled():
        for seed in range(first, first + rounds):
            planned = scenario(seed, vm=every > 0 and seed % every == 0)
            place = live_user.home / f"round-{seed}"
            async with round_at(host, place, planned) as one:
                kind = "VM" if planned.vm else "worktree"
                sys.stdout.write(f"\nseed {seed}, {kind}: ")
                try:
                    before = {job: crash_findings.picture(one.target(job)) for job in planned.jobs}
                    seconds = await one.play()
                    ends = await crash_findings.check(one, before)
                except (AssertionError, TimeoutError) as error:
                    failures.append(f"seed {seed}: {error!r}"[:1000])
                    log = one.log.read_text(encoding="utf-8", errors="replace")
                    sys.stdout.write(f"FAILED {error!r}\n{one.hits}\n{log}")
                    continue
                met = ", ".join(map(str, one.hits)) or "nothing"
                sys.stdout.write(f"met {met}; {', '.join(ends)}; {seconds:.1f} s")
                took[planned.vm].append(seconds)
        for vm, all_of_it in took.items():
            if all_of_it:
                kind, middle = "VM" if vm else "worktree", statistics.median(all_of_it)
                told = f"{middle:.1f} s (median), at most {max(all_of_it):.1f} s"
                sys.stdout.write(f"\n{len(all_of_it)} rounds in {kind}: {told}")
    assert not failures, "\n".join(failures)
