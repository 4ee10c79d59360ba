"""Pull requests on GitHub by its program ``gh``, called from no repository."""

from __future__ import annotations

import json
import re
import urllib.parse
from collections.abc import Mapping
from pathlib import Path

from tachikoma.git.port import PullRequest, Remote
from tachikoma.git.remotes import shown, slug_of
from tachikoma.host import process
from tachikoma.model.errors import PullRequestFailed

_GH_S = 60.0
_HANDED_ON = ("GH_", "GITHUB_TOKEN", "HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy")
_LINK = re.compile(r"https?://[^\s\x00-\x1f\"'<>]+")


class GitHub:
    """Implements the port ``Forge``. ``environ`` is the user's environment.

    ``gh`` gets the repository by name and stands in ``/``: in a worktree it would believe what
    the configuration there says, and run git with it.
    """

    def __init__(self, *, environ: Mapping[str, str]) -> None:
        self._environment = {
            name: value for name, value in environ.items() if name.startswith(_HANDED_ON)
        } | {"GH_PROMPT_DISABLED": "1", "GH_NO_UPDATE_NOTIFIER": "1", "NO_COLOR": "1"}

    def by_hand(self, remote: Remote, branch: str, base: str) -> str:
        """Say how a person opens the pull request."""
        slug = slug_of(remote)
        if slug is None:
            return f"open it where {shown(remote.url)} is looked at: from {branch} to {base}"
        places = "...".join(urllib.parse.quote(name, safe="/") for name in (base, branch))
        return f"open https://{slug.host}/{slug.owner}/{slug.name}/compare/{places}?expand=1"

    async def existing(self, remote: Remote, branch: str) -> str:
        """Give the URL of the open pull request of ``branch``; "" if nobody knows of one."""
        slug = slug_of(remote)
        if slug is None or process.which("gh") is None:
            return ""
        which = ["--repo", str(slug), f"--head={branch}", "--state", "open", "--json", "url"]
        done = await self._gh(["gh", "pr", "list", *which])
        return decode_urls(done.stdout) if done.status == 0 else ""

    async def open(self, remote: Remote, request: PullRequest) -> str:
        """Open a pull request and give its URL; "" if ``gh`` is not here or not for that remote."""
        slug = slug_of(remote)
        if slug is None or process.which("gh") is None:
            return ""
        which = ["--repo", str(slug), f"--head={request.branch}", f"--base={request.base}"]
        what = [f"--title={request.title}", "--body-file=-"]
        argv = ["gh", "pr", "create", *which, *what]
        done = await self._gh(argv, stdin=request.body.encode("utf-8", "replace"))
        said = done.stdout.decode("utf-8", "replace")
        found = _LINK.findall(said)
        if done.status != 0 or not found:
            complaint = process.redacted(done.stderr.decode("utf-8", "replace")).strip()
            raise PullRequestFailed(
                f"{request.branch} is pushed, but `gh` could not open the pull request",
                hint=self.by_hand(remote, request.branch, request.base),
                details=complaint or said.strip(),
            )
        return str(found[-1])

    async def _gh(self, argv: list[str], *, stdin: bytes = b"") -> process.Completed:
        return await process.run(
            argv,
            deadline_s=_GH_S,
            stdin=stdin,
            env=self._environment,
            cwd=Path("/"),
            check=False,
        )


def decode_urls(raw: bytes) -> str:
    """Read what ``gh pr list --json url`` says: the first URL, "" if there is none."""
    try:
        listed = json.loads(raw)
        return str(listed[0]["url"]) if listed else ""
    except (ValueError, KeyError, IndexError, TypeError):
        return ""
