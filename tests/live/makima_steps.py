"""Does one step of a task's git side, for a test that kills it in the middle. Takes the bench's
directory and the step's name, and says a word when it begins.
"""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

from tachikoma.git.memory_publishing import MemoryForge
from tachikoma.makima.record import Workspace
from tachikoma.makima.tasks.claims import Claims
from tachikoma.makima.tasks.merging import Merging
from tests.doubles.task_bench import FIRST, SECOND, Bench


def workspace(bench: Bench, task: object) -> Workspace:
    claim = Claims(bench.trees).claim(task)  # type: ignore[arg-type]  # one of the bench's ids
    assert claim.workspace is not None
    return claim.workspace


async def main(base: Path, step: str) -> None:
    bench = Bench(base, made=True)
    merging = Merging(identity=bench.workspaces.identity)
    sys.stdout.write("begun\n")
    sys.stdout.flush()
    match step:
        case "prepare":
            await bench.prepare(FIRST)
        case "start":
            await merging.start(workspace(bench, FIRST), workspace(bench, SECOND).branch)
        case "resolve":
            await merging.resolve(workspace(bench, FIRST), "code", "theirs")
        case "commit":
            await merging.commit(workspace(bench, FIRST), "Merged")
        case "act":
            await bench.completion(MemoryForge()).act(
                "merge",
                workspace(bench, FIRST),
                name="Do it",
                target_repo=base / "user",
                target_branch=None,
            )
        case _:
            raise AssertionError(step)


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]), sys.argv[2]))
