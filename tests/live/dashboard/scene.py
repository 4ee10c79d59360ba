"""A team at work: a server with the dashboard, daemons, and tasks that stand in every way."""

from __future__ import annotations

import contextlib
import json
import sqlite3
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

from tachikoma.host.clock import SystemClock
from tachikoma.makima.dashboard.memory import MemoryHost
from tachikoma.makima.dashboard.pages import dashboard
from tachikoma.makima.dashboard.port import HostProxy, HostRequest, HostVm, VmUsage
from tachikoma.makima.messages import CompletionActionResult, Message, TaskProgress
from tachikoma.makima.server.app import ServerPlan, serving
from tests.unit.makima.server.stage import FakeDaemon, Team, team

RETRY = "Retry failed requests with backoff"
REPO = "https://github.com/acme/web-shop"
CWD = "/srv/web-shop"


def event(kind: str, **more: object) -> str:
    return json.dumps({"type": kind, **more})


def says(*blocks: dict[str, Any]) -> str:
    return event("assistant", message={"role": "assistant", "content": list(blocks)})


def text(words: str) -> str:
    return says({"type": "text", "text": words})


def uses(call: str, name: str, **given: object) -> str:
    return says({"type": "tool_use", "id": call, "name": name, "input": given})


def came(call: str, result: str, *, is_error: bool = False, patch: object = None) -> str:
    block = {
        "type": "tool_result",
        "tool_use_id": call,
        "content": result,
        "is_error": is_error,
    }
    told = {} if patch is None else {"tool_use_result": {"structuredPatch": patch}}
    return event("user", message={"role": "user", "content": [block]}, **told)


START = event(
    "system",
    subtype="init",
    cwd=CWD,
    session_id="s1",
    model="claude-opus-4-8",
    claude_code_version="2.1.197",
)
TURN = event(
    "result",
    subtype="success",
    is_error=False,
    num_turns=6,
    duration_ms=184_000,
    result="Done: retries are in.",
    total_cost_usd=0.8421,
    usage={"input_tokens": 1200, "output_tokens": 3400, "cache_read_input_tokens": 84_000},
    modelUsage={
        "claude-opus-4-8": {
            "inputTokens": 1200,
            "outputTokens": 3400,
            "cacheReadInputTokens": 84_000,
            "cacheCreationInputTokens": 9100,
            "costUSD": 0.8421,
        }
    },
)
GIT_DIFF = """diff --git a/src/http.py b/src/http.py
index 1b2c3d4..5e6f708 100644
--- a/src/http.py
+++ b/src/http.py
@@ -10,4 +10,5 @@ class Client:
     def get(self, url):
-        return self._send(url)
+        with retries(self.policy):
+            return self._send(url)

"""
WORK = (
    event("command_lifecycle", command_uuid="c1", state="started", uuid="u1", session_id="s1"),
    START,
    text(
        "I'll look at how the client sends requests, then add **retries with backoff** around it.\n"
        "\nThe plan:\n- read `src/http.py`\n- wrap `_send`\n- cover it with tests"
    ),
    uses("t1", "Read", file_path=f"{CWD}/src/http.py"),
    came("t1", "     1\timport socket\n     2\t\n     3\tclass Client:\n     4\t    ..."),
    says({"type": "thinking", "thinking": "The policy belongs to the client, not to the call."}),
    uses(
        "t2",
        "Edit",
        file_path=f"{CWD}/src/http.py",
        old_string="    def get(self, url):\n        return self._send(url)\n",
        new_string="    def get(self, url):\n        with retries(self.policy):\n"
        "            return self._send(url)\n",
    ),
    came("t2", "The file has been updated."),
    uses("t3", "Bash", command="python -m pytest -q", description="Run the tests"),
    came(
        "t3",
        "\x1b[31mF\x1b[0m..\n=== 1 failed, 2 passed in 0.31s ===\nE  NameError: retries",
        is_error=True,
    ),
    text("The import is missing. See https://docs.python.org/3/library/functools.html for why."),
    uses(
        "t4",
        "Write",
        file_path=f"{CWD}/src/retries.py",
        content="import time\n\n\ndef retries(p):\n    ...\n",
    ),
    came("t4", "File created."),
    event(
        "system",
        subtype="api_retry",
        attempt=1,
        max_retries=10,
        error="overloaded",
        error_status=529,
    ),
    uses(
        "t5", "Bash", command="git add -A && git commit -m 'Retry with backoff' && git diff HEAD~1"
    ),
    came("t5", f"[feature/retries 3f2a91c] Retry with backoff\n 2 files changed\n{GIT_DIFF}"),
    "warning: this line came from standard error",
    uses(
        "t6",
        "TodoWrite",
        todos=[
            {"content": "Wrap _send", "status": "completed"},
            {"content": "Tests for the backoff", "status": "in_progress"},
            {"content": "Changelog", "status": "pending"},
        ],
    ),
    came("t6", "Todos have been modified."),
    uses("t7", "Bash", command="python -m pytest -q tests/test_http.py"),
)


def machine(now: datetime) -> MemoryHost:
    def vm(name: str, branch: str, state: str | None, **more: Any) -> HostVm:
        given: dict[str, Any] = {
            "worktree": f"/home/ada/web-shop-{branch.replace('/', '-')}",
            "cpus": 4,
            "memory_mib": 4096,
            "disk_bytes": 3_400_000_000,
            "usage": VmUsage(calls=214, tokens=1_840_000, cost_usd=6.41),
        } | more
        return HostVm(
            name=name,
            branch=branch,
            repository="web-shop",
            engine="qemu",
            image="debian",
            state=state,
            created_at=now - timedelta(days=2),
            last_used_at=now - timedelta(hours=3),
            **given,
        )

    def asked(number: int, method: str, host: str, path: str, **more: Any) -> HostRequest:
        given: dict[str, Any] = {
            "status": 200,
            "verdict": "forwarded",
            "why": "",
            "tokens": None,
            "model": "",
        } | more
        return HostRequest(
            id=number,
            at=now - timedelta(seconds=40 - number),
            vm="tachikoma-web-shop-feature-retries",
            branch="feature/retries",
            method=method,
            host=host,
            path=path,
            duration_s=1.4,
            received=7600,
            sent=18_300,
            **given,
        )

    denied: dict[str, Any] = {"status": 403, "verdict": "denied", "why": "this host is not allowed"}
    recorded = [
        asked(1, "POST", "", "/v1/messages", tokens=96_400, model="claude-opus-4-8"),
        asked(2, "CONNECT", "tracker.example.net:443", "", **denied),
        asked(3, "CONNECT", "cdn.example.org:443", "", **denied),
        asked(4, "CONNECT", "tracker.example.net:443", "", **denied),
        asked(5, "CONNECT", "github.com:443", ""),
        asked(
            6, "POST", "", "/v1/messages", status=529, verdict="broken", why="the answer broke off"
        ),
        asked(7, "POST", "", "/v1/messages", tokens=12_800, model="claude-opus-4-8"),
    ]
    return MemoryHost(
        hostname="workshop",
        machines=(
            vm("tachikoma-web-shop-feature-retries", "feature/retries", "running"),
            vm("tachikoma-web-shop-fix-login", "fix/login", "stopped", usage=None),
            vm(
                "tachikoma-web-shop-old",
                "old",
                None,
                cpus=0,
                memory_mib=0,
                disk_bytes=0,
                usage=None,
            ),
        ),
        recorded=tuple(recorded),
        proxy=HostProxy(running=True, endpoint="127.0.0.1:19280", since=now - timedelta(hours=5)),
    )


@dataclass
class Scene:
    """The team with its tasks by name."""

    crew: Team
    host: MemoryHost
    daemon: FakeDaemon
    tasks: dict[str, str]
    ids: dict[str, str]

    def url(self, path: str) -> str:
        return f"{self.crew.base}{path}"

    @asynccontextmanager
    async def again(self) -> AsyncIterator[None]:
        """Run the server once more at the same place, after it was stopped."""
        crew = self.crew
        port = int(crew.base.rpartition(":")[2])
        plan = ServerPlan(bind="127.0.0.1", port=port, database=crew.database)
        async with serving(plan, clock=SystemClock(), add_routes=dashboard(self.host)):
            yield


@asynccontextmanager
async def scene(directory: Path) -> AsyncIterator[Scene]:
    """Run it while the block runs."""
    host = machine(datetime.now(UTC))
    async with team(directory, clock=SystemClock(), add_routes=dashboard(host)) as crew:
        daemon = await crew.daemon(machine="m1", most=24)
        made = Scene(crew, host, daemon, {}, {})
        await _fill(made)
        _remember_load(made)
        yield made


def _remember_load(made: Scene) -> None:
    """Have the daemon been busy between 22 and 2 hours ago."""
    now = SystemClock().now()
    loads = (0, 3, 9, 15, 21, 18, 12, 6)
    rows = [
        (str(made.daemon.id), now - 22 * 3600 + at * 300, loads[at // 15 % 8], 24)
        for at in range(240)
    ]
    with contextlib.closing(sqlite3.connect(made.crew.database)) as database, database:
        database.executemany("INSERT INTO load VALUES (?, ?, ?, ?)", rows)


async def start(made: Scene, name: str, plan: str, **more: Any) -> str:
    """Have a task begin; gives its id. What the daemon calls it is in ``ids``."""
    count = len(made.daemon.wire.of("spawnTask"))
    task = await made.crew.create(plan, name=name, repo=REPO, **more)
    frame = await made.daemon.spawned(count + 1)
    made.tasks[name], made.ids[task["id"]] = task["id"], frame["taskId"]
    await made.daemon.runs(frame["taskId"])
    return str(task["id"])


async def _fill(made: Scene) -> None:
    crew, daemon = made.crew, made.daemon

    def agent(task: str) -> str:
        return made.ids[task]

    running = await start(
        made,
        "Retry failed requests with backoff",
        "Requests that fail with 5xx or a broken connection should be tried again.\n\n"
        "Use exponential backoff with jitter, three attempts at most, and cover it with tests.",
        baseBranch="main",
        action="merge",
        targetBranch="main",
    )
    await daemon.say(
        TaskProgress(
            task_id=agent_id(agent(running)), summary="Bash: python -m pytest -q tests/test_http.py"
        )
    )
    await daemon.prints(agent(running), *WORK)
    await daemon.prints(agent(running), "collecting tests, 3 of ", partial=True)

    done = await start(made, "Dark mode for the checkout", "Make the checkout dark.", action="pr")
    await daemon.prints(agent(done), START, text("All pages follow the system's scheme now."), TURN)
    await daemon.ends(agent(done))
    await daemon.say(
        CompletionActionResult(
            task_id=agent_id(agent(done)),
            success=True,
            message="opened a pull request",
            pr_url="https://github.com/acme/web-shop/pull/41",
        )
    )

    failed = await start(made, "Upgrade the payment SDK", "Upgrade it to 4.x.")
    await daemon.prints(
        agent(failed),
        START,
        "npm ERR! peer dep missing",
        event(
            "result",
            subtype="success",
            is_error=True,
            api_error_status=529,
            result="API Error: Repeated 529 Overloaded errors",
            num_turns=1,
        ),
    )
    await daemon.ends(
        agent(failed), success=False, error="API Error: Repeated 529 Overloaded errors"
    )

    paused = await start(made, "Delete accounts on request", "GDPR: delete accounts on request.")
    await daemon.status(agent(paused), "running", "paused")

    lead = await start(
        made, "Ship release 4.2", "Split the release into subtasks.", orchestrator=True
    )
    for name, ends in (
        ("Changelog for 4.2", True),
        ("Migrate the database", None),
        ("Translate new strings", None),
    ):
        child = await start(made, name, f"{name}.", parent=lead)
        if ends:
            await daemon.prints(agent(child), START, TURN)
            await daemon.ends(agent(child))
    waiting = await crew.create(
        "Write the release notes.",
        name="Release notes",
        repo=REPO,
        parent=lead,
        dependencies=[made.tasks["Migrate the database"]],
    )
    made.tasks["Release notes"] = waiting["id"]
    stopped = await start(made, "Try a new cache", "Try another cache.")
    await crew.post(f"/tasks/{stopped}/interrupt")
    await daemon.ends(agent(stopped), success=False, error="interrupted")
    await daemon.wire.settled()


def agent_id(text: str) -> UUID:
    return UUID(text)


async def answers(shop: Scene, kind: str, made: Message, *, count: int = 1) -> dict[str, Any]:
    """Wait for a command, and let the daemon answer."""
    frame = (await shop.daemon.wire.heard(kind, count))[-1]
    await shop.daemon.say(made)
    return frame
