"""How git goes to a remote: only the user's own configuration holds, and his ways of logging in."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from tachikoma.git import invocation, remotes
from tachikoma.git.port import Remote
from tachikoma.host import process
from tachikoma.model.errors import GitError

NETWORK_S = 600.0
CLONE_S = 3600.0
"""A repository of many gigabytes over a slow line."""
_HANDED_ON = (
    *("GH_", "GITHUB_TOKEN", "SSH_"),
    *("HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy", "NO_PROXY", "no_proxy"),
)
_NO_PROGRAMS = (
    "core.hooksPath=/dev/null",
    "core.fsmonitor=false",
    "core.commitGraph=false",
    "gc.auto=0",
    "maintenance.auto=false",
    "push.followTags=false",
    "push.gpgSign=false",
    "push.recurseSubmodules=no",
    "submodule.recurse=false",
)


class Outward:
    """Runs git where no repository's configuration is read; ``environ`` is the user's.

    The user's own may put another address in the place of a remote's (``insteadOf``).
    """

    def __init__(self, *, environ: Mapping[str, str]) -> None:
        self._login = {
            name: value for name, value in environ.items() if name.startswith(_HANDED_ON)
        }

    async def git(
        self,
        arguments: Sequence[str],
        *,
        git_dir: Path | None = None,
        env: Mapping[str, str] | None = None,
        deadline_s: float = NETWORK_S,
    ) -> process.Completed:
        """Run git to its end, whatever its status; it asks for nothing."""
        where = [f"--git-dir={git_dir}"] if git_dir else []
        settings = [part for setting in _NO_PROGRAMS for part in ("-c", setting)]
        return await process.run(
            ["git", "--no-pager", *settings, *where, *arguments],
            deadline_s=deadline_s,
            env={
                **self._login,
                **(env or {}),
                "GIT_ALLOW_PROTOCOL": ":".join(remotes.PROTOCOLS),
                "GIT_NO_REPLACE_OBJECTS": "1",
                "GIT_TERMINAL_PROMPT": "0",
                "GIT_ASKPASS": "true",
                "SSH_ASKPASS": "true",
                "SSH_ASKPASS_REQUIRE": "never",
            },
            cwd=Path("/"),
            check=False,
        )


def unreachable(url: str, done: process.Completed) -> GitError:
    """Give the error for a remote from which nothing could be got."""
    told = f"{process.redacted(done.text)}\n{invocation.words_of(done)}".strip()
    said = remotes.shown(told.replace(url, remotes.shown(url)))
    return GitError(
        f"{remotes.shown(url)}: {invocation.worst(said) or 'git failed without a word'}",
        hint="nobody is asked for a password: log in by an SSH agent, or `gh auth setup-git`",
        details=said,
    )


def check(url: str) -> None:
    """Raise GitError unless ``url`` only carries data: ``ext::`` would run a program."""
    if not remotes.is_plain(Remote("", url)):
        raise GitError(
            f"tachikoma does not clone from {remotes.shown(url)!r}",
            hint="https, ssh and absolute local paths are known",
        )
