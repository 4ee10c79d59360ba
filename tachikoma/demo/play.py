"""The demo itself: spawn, an errand for the real Claude Code, the proof, and everything gone."""

from __future__ import annotations

import asyncio
import hashlib
import secrets
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass

import aiohttp

from tachikoma.demo import proof, scene
from tachikoma.demo.proof import Check
from tachikoma.demo.scene import BRANCH, Stage
from tachikoma.host.clock import Clock
from tachikoma.model.errors import VmError
from tachikoma.model.events import Report, StepEnded, StepStarted
from tachikoma.offline.demo import ERRAND, PROMPT
from tachikoma.offline.server import OfflineApi
from tachikoma.runtime import Runtime
from tachikoma.vm.requests import DestroyRequest, SpawnOutcome, SpawnRequest, Target

_ERRAND_S = 300.0
_ASK_S = 30.0


@dataclass(frozen=True, slots=True)
class DemoOutcome:
    """What was shown. ``said`` is the agent's last word."""

    online: bool
    said: str
    checks: tuple[Check, ...]

    @property
    def proved(self) -> bool:
        """Tell whether every claim holds."""
        return all(check.holds for check in self.checks)


async def demonstrate(
    environ: Mapping[str, str], *, online: bool, clock: Clock, report: Report
) -> DemoOutcome:
    """Run the main job to its end and prove it; leaves nothing behind, however it ends.

    Without ``online`` the API is a scripted stand-in on the loopback address, and neither the
    user's credential nor the user's settings are touched.

    Raises:
        HostError: another demo of this user is under way.
        VmError: the agent failed; details hold what it said.
    """
    async with scene.held(environ, report) as stage:
        try:
            await scene.furnish(stage, Runtime(environ=environ, cwd=stage.root).paths)
            if online:
                return await _Play(stage.online(), stage, clock, report).run(None, "")
            secret = f"sk-ant-api03-{secrets.token_urlsafe(48)}"
            digest = hashlib.sha256(secret.encode()).hexdigest()
            async with OfflineApi(scripts=(ERRAND,), secret_sha256=digest) as api:
                there = {"ANTHROPIC_API_KEY": secret, "ANTHROPIC_BASE_URL": api.url}
                play = _Play(stage.offline(there), stage, clock, report)
                return await play.run(api, digest)
        finally:
            await asyncio.shield(scene.strike(stage, report))


class _Play:
    """One performance."""

    def __init__(self, runtime: Runtime, stage: Stage, clock: Clock, report: Report) -> None:
        self._runtime = runtime
        self._stage = stage
        self._clock = clock
        self._report = report

    async def run(self, api: OfflineApi | None, secret_sha256: str) -> DemoOutcome:
        runtime, stage = self._runtime, self._stage
        await runtime.load_settings()
        vm = await runtime.orchestrator.spawn(SpawnRequest(stage.repository, BRANCH), self._report)
        before = await scene.git(vm.worktree, "rev-parse", "HEAD")
        async with self._step("agent", f"Claude Code: {PROMPT}"):
            said = await self._errand(vm)
        async with self._step("proof", "Looking for the proof"):
            token = await self._in_vm(vm, "printenv", "ANTHROPIC_API_KEY")
            checks = [
                await proof.committed(vm.worktree, before),
                proof.proxied(runtime.proxy_plan().requests_file, vm.name),
                await proof.no_credential_inside(runtime, vm),
            ]
            if api is not None:
                token_sha256 = hashlib.sha256(token.encode()).hexdigest()
                checks.insert(2, proof.credential_added(api.requests, secret_sha256, token_sha256))
        request = DestroyRequest(Target(stage.repository, BRANCH), force=True)
        await runtime.orchestrator.destroy(request, self._report)
        checks.append(await proof.nothing_left(runtime, vm, await self._ask_with(token)))
        return DemoOutcome(online=api is None, said=said, checks=tuple(checks))

    async def _errand(self, vm: SpawnOutcome) -> str:
        try:
            async with asyncio.timeout(_ERRAND_S):
                return await self._in_vm(
                    vm, "claude", "--dangerously-skip-permissions", "--print", PROMPT
                )
        except TimeoutError as error:
            raise VmError(
                f"Claude Code did not finish in {_ERRAND_S:g} s", hint="run the demo again"
            ) from error

    async def _in_vm(self, vm: SpawnOutcome, *command: str) -> str:
        said, complaints = bytearray(), bytearray()
        status = await self._runtime.shell.run(
            vm.login,
            command,
            directory=str(vm.worktree),
            stdin=None,
            on_stdout=said.extend,
            on_stderr=complaints.extend,
        )
        text = said.decode("utf-8", "replace").strip()
        if status != 0:
            raise VmError(
                f"`{command[0]}` in the VM ended with exit status {status}",
                hint="run the demo again; with --online, see `tachikoma doctor`",
                details="\n".join((text, complaints.decode("utf-8", "replace"))).strip(),
            )
        return text

    async def _ask_with(self, token: str) -> int:
        """Ask the proxy for a model call with the token of the destroyed VM."""
        url = f"http://{self._runtime.gateway.endpoint}/v1/messages"
        wait = aiohttp.ClientTimeout(total=_ASK_S)
        async with (
            aiohttp.ClientSession(timeout=wait) as session,
            session.post(url, json={}, headers={"x-api-key": token}) as answer,
        ):
            return answer.status

    @asynccontextmanager
    async def _step(self, name: str, text: str) -> AsyncIterator[None]:
        begun = self._clock.monotonic()
        self._report(StepStarted(name, text))
        yield
        self._report(StepEnded(name, self._clock.monotonic() - begun))
