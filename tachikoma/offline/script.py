"""What the stand-in answers: pure functions of the conversation so far.

Nothing is remembered between requests. A client may ask the same thing again, break off, or ask
once more without streaming, and gets the same answer; a restarted stand-in goes on where the
conversation is.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from tachikoma.offline.conversation import Conversation


@dataclass(frozen=True, slots=True)
class ToolUse:
    """The model wants the client to run a tool."""

    name: str
    input: Mapping[str, object]


@dataclass(frozen=True, slots=True)
class Answer:
    """One turn of the model: some words, and possibly a tool to run before it goes on."""

    text: str
    tool: ToolUse | None = None

    @property
    def stop_reason(self) -> str:
        """Why the turn ends, as the API names it."""
        return "end_turn" if self.tool is None else "tool_use"


class Script(Protocol):
    """Decides what the model says."""

    def answer(self, conversation: Conversation) -> Answer | None:
        """Give the next turn, or None if this script has nothing to do with the conversation."""
        ...


@dataclass(frozen=True, slots=True)
class Scenario:
    """Some tools used one after the other for every prompt that contains ``when``.

    A tool that fails ends it: the model says so instead of pretending. ``closing`` is said at
    the end; ``{output}`` in it stands for what the last tool gave.
    """

    when: str
    turns: tuple[Answer, ...]
    closing: str

    def answer(self, conversation: Conversation) -> Answer | None:
        """Give the turn that comes after the tools used so far."""
        needed = {turn.tool.name for turn in self.turns if turn.tool is not None}
        if self.when not in conversation.prompt or not needed <= set(conversation.tools):
            return None
        return _go_on(conversation, self.turns, self.closing)


@dataclass(frozen=True, slots=True)
class RunsCommands:
    """A prompt of the form ``run: COMMAND`` makes the client run that command in its shell.

    The model then repeats the command's output, so that whoever asked can see it.
    """

    prefix: str = "run: "
    tool: str = "Bash"

    def answer(self, conversation: Conversation) -> Answer | None:
        """Give the tool use, or the output once there is one."""
        if not conversation.prompt.startswith(self.prefix) or self.tool not in conversation.tools:
            return None
        command = conversation.prompt.removeprefix(self.prefix)
        wanted = ToolUse(self.tool, {"command": command, "description": "Run what was asked"})
        return _go_on(conversation, (Answer("I run it.", wanted),), "{output}")


def decide(scripts: Sequence[Script], conversation: Conversation) -> Answer:
    """Give the answer of the first script that has one, else a short plain one."""
    for script in scripts:
        if (answer := script.answer(conversation)) is not None:
            return answer
    return Answer("OK")


def _go_on(conversation: Conversation, turns: tuple[Answer, ...], closing: str) -> Answer:
    done = conversation.outcomes
    if done and done[-1].failed:
        return Answer(f"I stop here, because the tool failed:\n{done[-1].text}")
    if len(done) < len(turns):
        return turns[len(done)]
    return Answer(closing.replace("{output}", done[-1].text if done else ""))
