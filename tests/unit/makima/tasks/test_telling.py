from __future__ import annotations

from uuid import UUID

from tachikoma.makima.commands import InjectSiblingContext
from tachikoma.makima.tasks.telling import sibling_notice, task_environment

TOLD = InjectSiblingContext(
    task_id=UUID(int=1),
    sibling_task_id=UUID(int=2),
    sibling_name="Parser",
    sibling_status="running",
    changed_files=(),
)


def test_a_notice_names_the_sibling_and_how_it_stands() -> None:
    first, last = sibling_notice(TOLD).splitlines()
    assert first == (
        "Notice: the task “Parser” (00000000-0000-0000-0000-000000000002), which runs beside "
        "yours, is running."
    )
    assert last.startswith("Take it into account")


def test_a_notice_lists_progress_and_files_and_counts_those_too_many() -> None:
    told = TOLD.model_copy(
        update={"progress_summary": "half", "changed_files": tuple(f"f{n}" for n in range(53))}
    )
    lines = sibling_notice(told).splitlines()
    assert lines[1] == "What it has done: half"
    assert lines[3:5] == ["- f0", "- f1"]
    assert lines[-2] == "- and 3 more"


def test_only_an_orchestrator_is_told_how_to_lead_others() -> None:
    assert task_environment("t", tool_key="", api_url="http://s") == {"MAKIMA_TASK_ID": "t"}
    assert task_environment("t", tool_key="k", api_url="http://s") == {
        "MAKIMA_TASK_ID": "t",
        "MAKIMA_API_KEY": "k",
        "MAKIMA_API_URL": "http://s",
    }
