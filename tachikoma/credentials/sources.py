"""The places where the user's credential may be, in the order in which they are asked."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from tachikoma.credentials.port import Credential, Finding, Kind, Source
from tachikoma.host import process
from tachikoma.host.clock import Clock
from tachikoma.model.errors import CommandFailed, HostError

_COMMAND_DEADLINE_S = 60.0
"""Long enough for a password manager that asks for a fingerprint first."""
_LARGEST_FILE = 1 << 20
_TOKEN = re.compile(r"[\x21-\x7e]+")
_MISSHAPEN = "what it holds is not one word of printable ASCII"
_LONGEST_WHY = 160


def in_order(
    *,
    environment: Mapping[str, str],
    home: Path,
    credential_command: str | None,
    api_key_command: str | None,
    clock: Clock,
) -> tuple[Source, ...]:
    """Give the waterfall's sources, the one that is asked first at the front.

    The operating system's keychain belongs before all of them, and the settings of other
    providers (Bedrock, Vertex) after them.
    """
    return (
        EnvironmentSource("CLAUDE_CODE_OAUTH_TOKEN", Kind.OAUTH, environment),
        CommandSource("credential_command", Kind.OAUTH, credential_command, environment),
        ClaudeFileSource(credentials_file(environment, home), clock),
        EnvironmentSource("ANTHROPIC_API_KEY", Kind.API_KEY, environment),
        CommandSource("api_key_command", Kind.API_KEY, api_key_command, environment),
    )


def credentials_file(environment: Mapping[str, str], home: Path) -> Path:
    """Give the path where the Claude Code of this host keeps its sign-in."""
    directory = environment.get("CLAUDE_CONFIG_DIR", "")
    return (Path(directory) if directory else home / ".claude") / ".credentials.json"


@dataclass(frozen=True, slots=True)
class EnvironmentSource:
    """A variable in the environment of the shell that started the proxy."""

    name: str
    kind: Kind
    environment: Mapping[str, str] = field(repr=False)

    def stamp(self) -> None:
        """Give nothing: the environment of a process stays as it is."""

    async def look(self) -> Finding:
        """Read the variable."""
        text = self.environment.get(self.name, "").strip()
        if not text:
            return Finding(self.name, None, "is not set")
        return _found(self.name, self.kind, text)


@dataclass(frozen=True, slots=True)
class CommandSource:
    """A shell command of the user's own configuration whose output is the credential.

    It runs with the user's whole environment, because password managers need their session
    variables; it is the only child of tachikoma that gets it.
    """

    name: str
    kind: Kind
    command: str | None
    environment: Mapping[str, str] = field(repr=False)
    deadline_s: float = _COMMAND_DEADLINE_S

    def stamp(self) -> None:
        """Give nothing: only running the command would tell."""

    async def look(self) -> Finding:
        """Run the command."""
        if not self.command:
            return Finding(self.name, None, "is not configured")
        argv = ["/bin/sh", "-c", self.command]
        try:
            done = await process.run(
                argv, deadline_s=self.deadline_s, env=self.environment, check=False
            )
        except CommandFailed:
            return Finding(self.name, None, f"took longer than {self.deadline_s:g} s")
        except HostError as error:
            return Finding(self.name, None, error.message)
        if done.status != 0:
            return Finding(self.name, None, _how_it_ended(done))
        text = done.stdout.decode("utf-8", "replace").strip()
        if not text:
            return Finding(self.name, None, "the command printed nothing")
        return _found(self.name, self.kind, text)


@dataclass(frozen=True, slots=True)
class ClaudeFileSource:
    """The file in which the host's Claude Code keeps its OAuth token.

    Only read: a refresh token works once, so refreshing is left to its owner, and the new
    token is seen because the file changes.
    """

    file: Path
    clock: Clock

    @property
    def name(self) -> str:
        """How the source is called in words and logs."""
        return str(self.file)

    def stamp(self) -> object:
        """Give what changes when Claude Code writes the file anew."""
        try:
            seen = self.file.stat()
        except OSError:
            return None
        return seen.st_mtime_ns, seen.st_size, seen.st_ino

    async def look(self) -> Finding:
        """Read the file."""
        try:
            text = await asyncio.to_thread(_read, self.file)
        except FileNotFoundError:
            return Finding(self.name, None, "does not exist")
        except OSError as error:
            return Finding(self.name, None, f"cannot be read: {error.strerror}")
        try:
            token, expires = _decode(text)
        except ValueError as error:
            return Finding(self.name, None, str(error))
        if expires is not None and expires <= self.clock.now():
            return Finding(
                self.name, None, "its token has expired; start `claude` on this host to renew it"
            )
        return _found(self.name, Kind.OAUTH, token, expires)


def _found(source: str, kind: Kind, text: str, expires: float | None = None) -> Finding:
    """Give the credential in ``text``; it must fit into a header and nothing else."""
    if _TOKEN.fullmatch(text) is None:
        return Finding(source, None, _MISSHAPEN)
    return Finding(source, Credential(kind, text, source, expires))


def _read(file: Path) -> bytes:
    with file.open("rb") as opened:
        return opened.read(_LARGEST_FILE)


def _decode(text: bytes) -> tuple[str, float | None]:
    """Give the access token and when it expires (seconds since the epoch, None if unsaid).

    Raises:
        ValueError: there is none; says so without quoting the file.
    """
    try:
        document = json.loads(text)
    except ValueError:
        # The decoder's own message may quote the file.
        raise ValueError("is not JSON") from None
    login = document.get("claudeAiOauth") if isinstance(document, dict) else None
    if not isinstance(login, dict):
        raise ValueError("holds no sign-in")  # noqa: TRY004 - one error for what the file lacks
    token, expires = login.get("accessToken"), login.get("expiresAt")
    if not isinstance(token, str) or not token.strip():
        raise ValueError("holds no access token")
    in_ms = expires if isinstance(expires, int | float) else None
    return token.strip(), None if in_ms is None else in_ms / 1000


def _how_it_ended(done: process.Completed) -> str:
    """Say how a command ended and the last line of its standard error, never of its output."""
    how = f"ended with status {done.status}"
    lines = process.redacted(done.stderr.decode("utf-8", "replace")).strip().splitlines()
    return f"{how}: {lines[-1][:_LONGEST_WHY]}" if lines else how
