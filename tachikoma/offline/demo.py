"""The demo's errand: what Claude Code is asked, and how the stand-in has it done."""

from __future__ import annotations

from tachikoma.offline.script import Answer, Scenario, ToolUse

FILE = "NOTES.md"
LINE = "A coding agent wrote this line inside its own virtual machine."
SUBJECT = "Add a note from inside the VM"
PROMPT = f"Add this line to {FILE}: {LINE!r} Then commit it with the subject {SUBJECT!r}."

ERRAND = Scenario(
    when=PROMPT,
    turns=(
        Answer(
            f"I add the line to {FILE} and commit it.",
            ToolUse(
                "Bash",
                {
                    "command": f"printf '%s\\n' '{LINE}' >> {FILE}"
                    f" && git add -- {FILE} && git commit -q -m '{SUBJECT}'",
                    "description": f"Add a line to {FILE} and commit it",
                },
            ),
        ),
        Answer(
            "I look at the commit.",
            ToolUse(
                "Bash",
                {"command": "git log -1 --oneline", "description": "Show the last commit"},
            ),
        ),
    ),
    closing="Done. The last commit is:\n{output}",
)
