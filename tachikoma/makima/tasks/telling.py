"""What the daemon says to an agent in its own words (pure)."""

from __future__ import annotations

from collections.abc import Mapping

from tachikoma.makima.commands import InjectSiblingContext

_MOST_FILES = 50


def sibling_notice(told: InjectSiblingContext) -> str:
    """Tell an agent how a task beside it stands."""
    who = f"“{told.sibling_name}” ({told.sibling_task_id})"
    lines = [f"Notice: the task {who}, which runs beside yours, is {told.sibling_status}."]
    if told.progress_summary:
        lines.append(f"What it has done: {told.progress_summary}")
    if told.changed_files:
        shown = told.changed_files[:_MOST_FILES]
        lines.append("Files that it has changed:")
        lines += [f"- {file}" for file in shown]
        if left := len(told.changed_files) - len(shown):
            lines.append(f"- and {left} more")
    lines.append("Take it into account where it touches your work; there is no need to answer.")
    return "\n".join(lines)


def task_environment(task_id: str, *, tool_key: str, api_url: str) -> Mapping[str, str]:
    """Give the variables that tell an agent who it is, and an orchestrator how to lead others."""
    named = {"MAKIMA_TASK_ID": task_id}
    return named | ({"MAKIMA_API_KEY": tool_key, "MAKIMA_API_URL": api_url} if tool_key else {})
