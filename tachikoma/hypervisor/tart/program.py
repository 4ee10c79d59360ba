"""Running Tart: with its own settings handed on, and its failures in our words."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Protocol

from tachikoma.host import process
from tachikoma.host.process import Completed
from tachikoma.hypervisor.port import OnOutput
from tachikoma.hypervisor.tart import argv
from tachikoma.hypervisor.tart.output import LEAST_VERSION, decode_version
from tachikoma.hypervisor.tart.refusals import translated
from tachikoma.model.errors import (
    CommandFailed,
    HypervisorError,
    HypervisorMissingError,
    MissingToolError,
)
from tachikoma.model.vm import Stream

_QUICK_S = 30.0
_HANDED_ON = (
    *("TART_HOME", "CIRRUS_SENTRY_TAGS", "DOCKER_CONFIG"),
    *("TART_REGISTRY_USERNAME", "TART_REGISTRY_PASSWORD", "TART_REGISTRY_HOSTNAME"),
)
_FOR_REGISTRIES = frozenset({"pull", "push"})
_INSTALL = "install it: `brew install openai/tools/tart`"
_UPGRADE = "`brew upgrade tart` (a Tart from the tap cirruslabs/cli moves to openai/tools/tart)"


class Tool(Protocol):
    """What runs command lines; ``Processes`` does it for real."""

    async def run(
        self, command: Sequence[str], *, deadline_s: float, env: Mapping[str, str]
    ) -> Completed:
        """Run to the end, whatever its status."""
        ...

    async def listen(
        self,
        command: Sequence[str],
        *,
        on_output: OnOutput,
        deadline_s: float,
        stdin: bytes,
        env: Mapping[str, str],
    ) -> int:
        """Run to the end, hand on what comes, and give the exit status."""
        ...

    def detach(self, command: Sequence[str], *, log: Path, env: Mapping[str, str]) -> int:
        """Start what outlives us and give its process id."""
        ...


class Processes:
    """Command lines as processes of this machine."""

    async def run(
        self, command: Sequence[str], *, deadline_s: float, env: Mapping[str, str]
    ) -> Completed:
        """Run to the end, whatever its status."""
        return await process.run(command, deadline_s=deadline_s, env=env, check=False)

    async def listen(
        self,
        command: Sequence[str],
        *,
        on_output: OnOutput,
        deadline_s: float,
        stdin: bytes,
        env: Mapping[str, str],
    ) -> int:
        """Run to the end, hand on what comes, and give the exit status."""
        return await process.listen(
            command, on_output=on_output, deadline_s=deadline_s, stdin=stdin, env=env
        )

    def detach(self, command: Sequence[str], *, log: Path, env: Mapping[str, str]) -> int:
        """Start what outlives us and give its process id."""
        return process.detach(command, log=log, env=env)


class Program:
    """Tart as this user runs it; ``environ`` is the user's environment."""

    def __init__(self, *, environ: Mapping[str, str], tool: Tool) -> None:
        self._environ = environ
        self._tool = tool
        self._proven = False

    @property
    def home(self) -> Path:
        """Where Tart keeps its files."""
        own = self._environ.get("TART_HOME", "")
        return Path(own) if own.startswith("/") else Path(self._environ["HOME"]) / ".tart"

    async def prove(self) -> None:
        """See that Tart is there and new enough; asked once.

        Raises:
            HypervisorMissingError: it is not installed.
            HypervisorError: it is too old.
        """
        if self._proven:
            return
        version = decode_version(await self.text(argv.version_argv()))
        if version is not None and version < LEAST_VERSION:
            raise HypervisorError(
                f"Tart {_dotted(version)} is too old; tachikoma takes {_dotted(LEAST_VERSION)} "
                "or newer",
                hint=_UPGRADE,
            )
        self._proven = True

    async def text(self, command: Sequence[str], *, deadline_s: float = _QUICK_S) -> str:
        """Run a command that is to succeed and give its standard output.

        Raises:
            HypervisorMissingError: Tart is not installed.
            TachikomaError: what Tart's words stand for.
        """
        try:
            done = await self._tool.run(command, deadline_s=deadline_s, env=self._env(command))
        except MissingToolError as error:
            raise _missing() from error
        except CommandFailed as error:
            raise too_slow(command, error) from error
        if done.status != 0:
            said = (done.stderr or done.stdout).decode("utf-8", "replace")
            raise translated(command[1], done.status, said)
        return done.text

    async def listen(
        self, command: Sequence[str], on_output: OnOutput, *, deadline_s: float, stdin: bytes = b""
    ) -> int:
        """Run a command, hand on what comes and give its exit status.

        Raises:
            HypervisorMissingError: Tart is not installed.
            CommandFailed: it took too long.
        """
        try:
            return await self._tool.listen(
                command,
                on_output=on_output,
                deadline_s=deadline_s,
                stdin=stdin,
                env=self._env(command),
            )
        except MissingToolError as error:
            raise _missing() from error

    async def follow(
        self, command: Sequence[str], on_line: Callable[[str], None], *, deadline_s: float
    ) -> None:
        """Run a command that is to succeed and hand on its lines as they come.

        Raises:
            HypervisorMissingError: Tart is not installed.
            TachikomaError: what Tart's words stand for.
        """
        said: list[str] = []
        rest: dict[Stream, bytes] = {"stdout": b"", "stderr": b""}

        def hear(stream: Stream, piece: bytes) -> None:
            *lines, rest[stream] = (rest[stream] + piece).split(b"\n")
            for line in lines:
                text = line.decode("utf-8", "replace")
                said.append(text)
                on_line(text)

        try:
            status = await self.listen(command, hear, deadline_s=deadline_s)
        except CommandFailed as error:
            raise too_slow(command, error) from error
        if status != 0:
            raise translated(
                command[1], status, "\n".join([*said, rest["stderr"].decode("utf-8", "replace")])
            )

    def detach(self, command: Sequence[str], log: Path) -> int:
        """Start a command that outlives us and give its process id.

        Raises:
            HypervisorMissingError: Tart is not installed.
        """
        try:
            return self._tool.detach(command, log=log, env=self._env(command))
        except MissingToolError as error:
            raise _missing() from error

    def _env(self, command: Sequence[str]) -> dict[str, str]:
        """Give what Tart is told: not to delete images by itself, and to write no cursor moves."""
        kept = {name: self._environ[name] for name in _HANDED_ON if self._environ.get(name)}
        if command[1] not in _FOR_REGISTRIES:
            kept = {name: text for name, text in kept.items() if "REGISTRY" not in name}
        return kept | {"TART_NO_AUTO_PRUNE": "1", "CI": "1"}


def too_slow(command: Sequence[str], error: CommandFailed) -> HypervisorError:
    """Give the error for a command that did not end in time."""
    return HypervisorError(
        f"`tart {command[1]}` did not end in time",
        hint="another tart may hold its locks: see `ps aux | grep tart`",
        details=error.details,
    )


def _dotted(version: tuple[int, ...]) -> str:
    return ".".join(str(part) for part in version)


def _missing() -> HypervisorMissingError:
    return HypervisorMissingError("Tart is not installed", hint=_INSTALL)
