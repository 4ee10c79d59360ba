from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from uuid import UUID

import pytest

from tachikoma.makima.record import Workspace
from tachikoma.makima.tasks.claims import CLAIMS, Claim, Claims, decode_claim, encode_claim
from tachikoma.model.errors_fleet import WorkspaceError

ONE = UUID("12345678-aaaa-4000-8000-000000000001")
OTHER = UUID("12345678-bbbb-4000-8000-000000000002")
CLAIM = Claim(
    ONE, "12345678", Workspace(Path("/r"), Path("/w/task-12345678"), "b", "c" * 40), "t", ready=True
)


def test_a_task_keeps_its_name(tmp_path: Path) -> None:
    claims = Claims(tmp_path)
    assert claims.claim(ONE) == Claim(ONE, "12345678")
    claims.write(CLAIM)
    assert Claims(tmp_path).claim(ONE) == CLAIM
    assert claims.of_worktree(Path("/w/task-12345678")) == CLAIM
    assert claims.of_worktree(Path("/w/task-9")) is None


def test_two_tasks_whose_ids_begin_alike_get_two_names(tmp_path: Path) -> None:
    claims = Claims(tmp_path)
    assert claims.claim(ONE).name == "12345678"
    assert claims.claim(OTHER).name == "12345678bbbb"
    assert claims.claim(OTHER).name == "12345678bbbb"
    assert claims.claim(ONE, longer_than="12345678").name == "12345678aaaa"


def test_a_claim_is_read_as_it_was_written() -> None:
    assert decode_claim(encode_claim(CLAIM)) == CLAIM
    bare = replace(CLAIM, workspace=None, ready=False)
    assert decode_claim(encode_claim(bare)) == bare


@pytest.mark.parametrize("raw", [b"", b"{}", b"[]", b'{"task": 1, "workspace": null}', b"\xff"])
def test_a_damaged_claim_is_told_as_such(raw: bytes, tmp_path: Path) -> None:
    (tmp_path / CLAIMS).mkdir()
    (tmp_path / CLAIMS / "12345678.json").write_bytes(raw)
    with pytest.raises(WorkspaceError, match="cannot be read"):
        Claims(tmp_path).claim(ONE)
