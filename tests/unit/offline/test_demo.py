from __future__ import annotations

from tachikoma.offline.conversation import Conversation, ToolOutcome
from tachikoma.offline.demo import ERRAND, FILE, LINE, PROMPT, SUBJECT


def _asked(*outcomes: ToolOutcome) -> Conversation:
    return Conversation("m", True, ("Bash",), 1, f"{PROMPT}\n", outcomes)


def test_the_errand_writes_the_line_and_commits_then_shows_the_commit() -> None:
    first = ERRAND.answer(_asked())
    assert first is not None
    assert first.tool is not None
    assert first.tool.input["command"] == (
        f"printf '%s\\n' '{LINE}' >> {FILE} && git add -- {FILE} && git commit -q -m '{SUBJECT}'"
    )
    second = ERRAND.answer(_asked(ToolOutcome("a", "", failed=False)))
    assert second is not None
    assert second.tool is not None
    assert second.tool.input["command"] == "git log -1 --oneline"


def test_the_line_and_the_subject_need_no_quoting_within_single_quotes() -> None:
    assert "'" not in LINE + SUBJECT
