"""The places where the user's credential may be, in the order in which they are asked."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from tachikoma.credentials.claude_file import (
    ClaudeFileSource,
    ConsoleKeySource,
    credentials_file,
    state_file,
)
from tachikoma.credentials.keychain import KeychainSource, services
from tachikoma.credentials.os_keychain import login_name
from tachikoma.credentials.port import Credential, Finding, Keychain, Kind, Source
from tachikoma.credentials.provider import AUTH_TOKEN, ProviderSource, for_gateway
from tachikoma.credentials.sign_in import one_word
from tachikoma.host import process
from tachikoma.host.clock import Clock
from tachikoma.model.errors import CommandFailed, HostError

_COMMAND_DEADLINE_S = 60.0
"""Long enough for a password manager that asks for a fingerprint first."""
_LONGEST_WHY = 160
_LEAST_SECRET = 6
_TAKEN_FOR = {
    "sk-ant-api": (
        Kind.OAUTH,
        "holds an API key: set ANTHROPIC_API_KEY or api_key_command to it instead",
    ),
    "sk-ant-oat": (
        Kind.API_KEY,
        "holds an OAuth token: set CLAUDE_CODE_OAUTH_TOKEN or credential_command to it instead",
    ),
}
"""What begins like this and was given as that kind, which the API would only refuse."""


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What the sources look at: the user's environment, home, commands and keychain."""

    environment: Mapping[str, str] = field(repr=False)
    home: Path
    credential_command: str | None
    api_key_command: str | None
    keychain: Keychain


def in_order(place: Surroundings, clock: Clock) -> tuple[Source, ...]:
    """Give the waterfall's sources, the one that is asked first at the front."""
    environment = place.environment
    keychain = KeychainSource(
        keychain=place.keychain,
        services=services(environment),
        account=login_name(environment),
        clock=clock,
    )
    own: tuple[Source, ...] = (
        keychain,
        EnvironmentSource("CLAUDE_CODE_OAUTH_TOKEN", Kind.OAUTH, environment),
        CommandSource("credential_command", Kind.OAUTH, place.credential_command, environment),
        ClaudeFileSource(credentials_file(environment, place.home), clock),
        EnvironmentSource("ANTHROPIC_API_KEY", Kind.API_KEY, environment),
        CommandSource("api_key_command", Kind.API_KEY, place.api_key_command, environment),
        ConsoleKeySource(state_file(environment, place.home)),
    )
    return (
        *for_gateway(environment, own),
        EnvironmentSource(AUTH_TOKEN, Kind.BEARER, environment),
        ProviderSource(environment),
    )


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
            return _fault(self.name, f"took longer than {self.deadline_s:g} s")
        except HostError as error:
            return _fault(self.name, error.message)
        if done.status != 0:
            return _fault(self.name, _how_it_ended(done))
        text = done.stdout.decode("utf-8", "replace").strip()
        if not text:
            return _fault(self.name, "the command printed nothing")
        return _found(self.name, self.kind, text)


def _found(source: str, kind: Kind, text: str) -> Finding:
    """Give the credential in ``text``; it must fit into a header and nothing else."""
    try:
        word = one_word(text)
    except ValueError as error:
        return _fault(source, str(error))
    for prefix, (other, why) in _TAKEN_FOR.items():
        if kind is other and word.startswith(prefix):
            return _fault(source, why)
    return Finding(source, Credential(kind, word, source))


def _fault(source: str, why: str) -> Finding:
    return Finding(source, None, why, warning=True)


def _how_it_ended(done: process.Completed) -> str:
    """Say how a command ended and the last line of its standard error, never of its output.

    Not even where the one quotes the other, as with ``set -x``.
    """
    how = f"ended with status {done.status}"
    said = process.redacted(done.stderr.decode("utf-8", "replace"))
    for word in done.stdout.decode("utf-8", "replace").split():
        if len(word) >= _LEAST_SECRET:
            said = said.replace(word, "[redacted]")
    lines = said.strip().splitlines()
    return f"{how}: {lines[-1][:_LONGEST_WHY]}" if lines else how
