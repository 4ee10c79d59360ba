"""The command line put in order before click sees it (pure).

Three options hold for every command and may stand anywhere before ``--``; they are taken out
here, so that no command has to declare them. A line that names no verb means ``spawn``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from tachikoma.model.errors import UsageError

VERBS: dict[str, str] = {
    "spawn": "Give a branch its VM and go into it (the default verb).",
    "enter": "Go into a running VM.",
    "exec": "Run a command in a running VM.",
    "list": "List the VMs.",
    "status": "Look closely at a VM and at this host.",
    "cd": "Print the path of a branch's worktree.",
    "cp": "Copy files into a VM or out of it.",
    "ports": "Forward ports of a VM to this host's loopback.",
    "logs": "Show what was said about a VM: console, setup, proxy.",
    "pr": "Commit, push and open a pull request for a branch.",
    "halt": "Stop a VM and keep its disk.",
    "suspend": "Put a VM to rest with its memory.",
    "checkpoint": "Save, list and restore states of a VM's disk.",
    "destroy": "Remove a VM; its worktree and branch stay.",
    "prune": "Remove the VMs that nobody has used for long.",
    "image": "Build, warm, list and delete base images.",
    "proxy": "Start, stop and look at the credential proxy.",
    "egress": "Say which hosts a VM may reach.",
    "usage": "Show what the model calls took.",
    "credentials": "Show where the proxy's credential comes from.",
    "mcp": "Serve an agent (MCP); set clients up for it.",
    "task": "Have tasks done by agents, and look at them.",
    "makima": "Run a makima server, or the tasks of one.",
    "daemon": "Keep workers running; start and rejoin background sessions.",
    "ssh": "Let plain `ssh` find the VMs.",
    "config": "Show and change the settings.",
    "trust": "Trust the settings files of this repository.",
    "completions": "Let your shell complete branches, VMs and commands.",
    "doctor": "Check that this machine has what it takes.",
    "demo": "Show the whole thing at work, and clean up.",
}
ALIASES = {"stop": "halt", "delete": "destroy", "ls": "list"}
_GROUPS = (
    *("checkpoint", "image", "proxy", "egress", "config", "ports", "ssh", "mcp"),
    *("makima", "daemon", "task"),
)
_ASKS_ONLY = ("-h", "--help", "-V", "--version")
_MEANT_ELSEWHERE = {
    "help": "--help",
    "version": "--version",
    "shell": "enter",
    "attach": "enter",
    "run": "exec",
    "start": "spawn",
    "up": "spawn",
    "create": "spawn",
    "ps": "list",
    "down": "halt",
    "kill": "halt --force",
    "rm": "destroy",
    "remove": "destroy",
    "scp": "cp",
    "gc": "prune",
}
_CLOSE = 0.75


@dataclass(frozen=True, slots=True)
class Line:
    """A command line in order: what click parses, and what holds for every command.

    ``command`` is the verb as it stands in an envelope (``image build``, never an alias).
    ``guessed`` marks a line without a verb, whose first word is taken for a branch.
    """

    argv: tuple[str, ...]
    command: str
    as_json: bool = False
    verbose: bool = False
    hypervisor: str | None = None
    guessed: bool = False


def arrange(argv: Sequence[str]) -> Line:
    """Take the common options out of ``argv`` and put the verb first."""
    own, common, hypervisor = _without_common(argv)
    words = [word for word in own[: _end_of_options(own)] if not word.startswith("-")]
    first = words[0] if words else ""
    asks_only = any(word in _ASKS_ONLY for word in own[: _end_of_options(own)])
    guessed = not (first in VERBS or first in ALIASES or (asks_only and not words))
    verb = "spawn" if guessed else ALIASES.get(first, first)
    command = f"{verb} {words[1]}" if verb in _GROUPS and words[1:] and own[1] == words[1] else verb
    return Line(
        argv=("spawn", *own) if guessed else tuple(own),
        command=command,
        as_json="--json" in common,
        verbose=bool({"-v", "--verbose"} & common),
        hypervisor=hypervisor,
        guessed=guessed,
    )


def check_guess(line: Line) -> None:
    """Raise UsageError if the branch of a line without a verb looks like a mistyped verb.

    Taking ``lst`` for a branch would make a branch, a worktree and a VM.
    """
    branch = line.argv[1] if line.guessed and len(line.argv) > 1 else ""
    if not branch or branch.startswith("-"):
        return
    if (meant := _MEANT_ELSEWHERE.get(branch) or _nearest(branch)) is None:
        return
    raise UsageError(
        f"there is no command {branch!r}; did you mean `tachikoma {meant}`?",
        hint=f"for a branch of that name: `tachikoma spawn {branch}`",
    )


def _nearest(word: str) -> str | None:
    import difflib  # only a line without a verb needs it

    found = difflib.get_close_matches(word, [*VERBS, *ALIASES], n=1, cutoff=_CLOSE)
    return found[0] if found else None


def _without_common(argv: Sequence[str]) -> tuple[list[str], set[str], str | None]:
    own: list[str] = []
    common: set[str] = set()
    hypervisor: str | None = None
    end = _end_of_options(argv)
    words = iter(argv[:end])
    for word in words:
        if word in ("--json", "-v", "--verbose"):
            common.add(word)
        elif word.startswith("--hypervisor="):
            hypervisor = word.partition("=")[2]
        elif word == "--hypervisor":
            hypervisor = next(words, "")
        else:
            own.append(word)
    return [*own, *argv[end:]], common, hypervisor


def _end_of_options(argv: Sequence[str]) -> int:
    return list(argv).index("--") if "--" in argv else len(argv)
