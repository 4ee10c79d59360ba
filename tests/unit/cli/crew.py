"""A server with a scripted daemon, in a thread of its own, for commands that block."""

from __future__ import annotations

import asyncio
import contextlib
import json
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path
from uuid import UUID

from tachikoma.makima.messages import CompletionActionResult, TaskComplete, TaskOutput
from tests.doubles.makima_daemon import Frame
from tests.unit.makima.server.stage import FakeDaemon, Team, team

SAID = {"type": "assistant", "message": {"content": [{"type": "text", "text": "On \x1b[2J it."}]}}
RESULT = {"type": "result", "subtype": "success", "is_error": False, "result": "Fine.",
          "num_turns": 1, "total_cost_usd": 0.5,
          "usage": {"input_tokens": 900, "output_tokens": 100}}  # fmt: skip


class Scripted:
    """Does every task at once: one whose plan begins with `fail` fails, one with `wait` does not
    end until it is interrupted.
    """

    def __init__(self, daemon: FakeDaemon) -> None:
        self._daemon = daemon
        self._works: set[asyncio.Task[None]] = set()
        daemon.wire.heed = self._heed

    def _heed(self, frame: Frame) -> None:
        work = asyncio.get_running_loop().create_task(self._do(frame))
        self._works.add(work)
        work.add_done_callback(self._works.discard)

    async def _do(self, frame: Frame) -> None:
        daemon, task = self._daemon, frame.get("taskId", "")
        match frame["type"]:
            case "spawnTask":
                await daemon.runs(task)
                await daemon.prints(task, json.dumps(SAID))
                if not frame["plan"].startswith("wait"):
                    await self._end(task, frame["plan"])
            case "pauseTask":
                await daemon.status(task, "running", "paused")
            case "resumeTask":
                await daemon.status(task, "paused", "running")
            case "interruptTask":
                await daemon.status(task, "running", "interrupted")
                await daemon.say(TaskComplete(task_id=UUID(task), success=False, error="ended"))
            case "sendMessage":
                await daemon.say(
                    TaskOutput(task_id=UUID(task), output=frame["message"], is_partial=False)
                )
            case "retryCompletionAction":
                good = frame["targetBranch"] != "broken"
                told = f"{frame['action']} {frame['targetRepoPath']}"
                await daemon.say(
                    CompletionActionResult(task_id=UUID(task), success=good, message=told)
                )
            case _:
                pass

    async def _end(self, task: str, plan: str) -> None:
        await self._daemon.prints(task, json.dumps(RESULT))
        fails = plan.startswith("fail")
        await self._daemon.ends(task, success=not fails, error="it broke" if fails else None)


@contextlib.contextmanager
def at_work() -> Iterator[Team]:
    """Run a server with such a daemon in a thread."""
    ready: list[Team] = []
    there, over = threading.Event(), threading.Event()

    async def serve() -> None:
        with tempfile.TemporaryDirectory() as directory:
            async with team(Path(directory)) as made:
                ready.append(made)
                Scripted(await made.daemon(most=1000))
                there.set()
                await asyncio.to_thread(over.wait)

    thread = threading.Thread(target=lambda: asyncio.run(serve()))
    thread.start()
    with contextlib.ExitStack() as stack:
        stack.callback(thread.join, 10)
        stack.callback(over.set)
        assert there.wait(10)
        yield ready[0]
