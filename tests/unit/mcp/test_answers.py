from __future__ import annotations

import pytest
from mcp.shared.exceptions import MCPError

from tachikoma.mcp.answers import as_protocol_errors, broken, failed, succeeded
from tachikoma.mcp.shapes import Halted, Ran
from tachikoma.model.errors import ConfigError, VmNotFoundError
from tests.unit.mcp.stand import text_of


def ran(*, timed_out: bool) -> Ran:
    return Ran(
        vm_name="vm",
        status=None if timed_out else 1,
        timed_out=timed_out,
        seconds=2.0,
        stdout="so far",
        stderr="",
        stdout_bytes=6,
        stderr_bytes=0,
        stdout_cut=False,
        stderr_cut=False,
        stdout_resource=None,
        stderr_resource=None,
    )


def test_a_result_is_structured_and_the_same_as_text() -> None:
    answer = succeeded(Halted(name="vm", branch="main", was_running=True))
    assert answer.is_error is False
    assert answer.structured_content == {"name": "vm", "branch": "main", "was_running": True}
    assert text_of(answer) == '{"name":"vm","branch":"main","was_running":true}'


def test_a_command_that_fails_is_no_error_of_the_tool() -> None:
    assert succeeded(ran(timed_out=False)).is_error is False


def test_a_command_at_its_deadline_is_an_error_that_keeps_what_was_said() -> None:
    answer = succeeded(ran(timed_out=True))
    assert answer.is_error is True
    assert answer.structured_content is not None
    assert answer.structured_content["stdout"] == "so far"
    assert "code: mcp.deadline" in text_of(answer)
    assert answer.meta == {
        "tachikoma/error": {
            "code": "mcp.deadline",
            "message": "the command in vm took longer than 2 s and was ended",
            "hint": "give a larger deadline_s, or leave it running in the background with nohup",
            "details": "",
        }
    }


def test_an_error_has_no_structured_content_that_a_client_would_check() -> None:
    answer = failed(ConfigError("bad", hint="mend it", details="line 3"))
    assert (answer.is_error, answer.structured_content) == (True, None)
    assert text_of(answer) == "bad\nline 3\nhint: mend it\ncode: config.invalid"


def test_a_bug_is_told_without_secrets() -> None:
    answer = broken(KeyError("sk-ant-api03-verysecret"))
    assert "this is a bug in tachikoma: KeyError" in text_of(answer)
    assert "verysecret" not in text_of(answer)


@pytest.mark.parametrize(
    ("error", "code"), [(VmNotFoundError("x", hint="y"), -32002), (ConfigError("x"), -32603)]
)
def test_where_there_is_no_tool_our_errors_become_the_protocols(
    error: VmNotFoundError | ConfigError, code: int
) -> None:
    with pytest.raises(MCPError) as caught, as_protocol_errors():
        raise error
    assert caught.value.error.code == code
    assert caught.value.error.data == {"code": error.code, "hint": error.hint}
