"""Many new VMs, one after the other: each begins warm, works, and leaves nothing behind.

Not named as a test, so that only who names it runs it (`make soak`; SOAK_ROUNDS says how many).
"""

from __future__ import annotations

import json
import statistics
import sys
from collections.abc import Mapping
from typing import Any

import pytest

from tests.live.conftest import User
from tests.live.test_crash import Place

pytestmark = [pytest.mark.live_qemu, pytest.mark.timeout(3600, func_only=True)]

ROUNDS = 30
TURN_S = 180.0


@pytest.fixture
def rounds(real_environ: Mapping[str, str]) -> int:
    return int(real_environ.get("SOAK_ROUNDS", ROUNDS))


@pytest.fixture
def place(live_user: User) -> Place:
    """A repository, and the snapshot that its VMs begin from."""
    code = live_user.repository()
    live_user.run("image", "warm", deadline_s=TURN_S)
    return Place(live_user, code)


def test_every_spawn_is_warm_and_works_and_is_gone_without_a_trace(
    place: Place, rounds: int, capsys: pytest.CaptureFixture[str]
) -> None:
    took: list[tuple[float, float]] = []
    with capsys.disabled():
        for number in range(rounds):
            spawn, turn = one_round(place, f"soak-{number}")
            took.append((spawn, turn))
            sys.stdout.write(f"\n{number + 1}/{rounds}: spawn {spawn:.2f} s, turn {turn:.2f} s")
        for what, all_of_it in zip(("spawn", "turn"), zip(*took, strict=True), strict=True):
            median, least, most = statistics.median(all_of_it), min(all_of_it), max(all_of_it)
            sys.stdout.write(f"\n{what}: {median:.2f} s (median), {least:.2f} to {most:.2f} s")


def one_round(place: Place, branch: str) -> tuple[float, float]:
    """Spawn, work, destroy; gives the seconds to the VM and those of a turn of Claude Code."""
    user, code = place.user, place.code
    spawn = user.run("spawn", branch, "--no-interactive", "--json", cwd=code)
    data = spawn.json["data"]
    assert data["how"] == "created"
    machine = machine_of(place, data["name"])
    assert (machine["fresh"], machine["snapshot"] is None) == (False, False), "it began cold"
    place.git_works(branch)
    turn = user.run(
        "exec", branch, "--", "claude", "--dangerously-skip-permissions", "-p",
        f"run: echo {branch} > agent.txt && git add agent.txt && git commit -q -m {branch}",
        cwd=code, deadline_s=TURN_S,
    )  # fmt: skip
    assert place.git("show", f"{branch}:agent.txt") == branch
    user.run("destroy", branch, "--force", cwd=code)
    place.is_empty()
    return spawn.seconds, turn.seconds


def machine_of(place: Place, vm: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((place.data / "vms" / vm / "machine.json").read_bytes())
    return found
