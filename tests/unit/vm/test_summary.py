from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tachikoma.git.port import Commit
from tachikoma.model.names import VmName
from tachikoma.model.vm import Endpoint
from tachikoma.ssh.memory import Answer, MemoryShell
from tachikoma.vm.summary import as_message, last_summary, last_words, shortened, slug_of

VM, AT = VmName("tachikoma-app-x"), Endpoint("127.0.0.1", 22)


def line(text: str, **more: object) -> bytes:
    entry = {"type": "assistant", "message": {"content": [{"type": "text", "text": text}]}}
    return json.dumps({**entry, **more}).encode() + b"\n"


def test_the_last_text_of_the_agent_itself_counts() -> None:
    tool = {"type": "assistant", "message": {"content": [{"type": "tool_use", "id": "1"}]}}
    transcript = b"".join(
        (
            b'cut off"}\n',
            line("first"),
            line("last"),
            json.dumps(tool).encode() + b"\n",
            line("a helper", isSidechain=True),
            b'{"type":"user","message":{"content":"thanks"}}\n',
        )
    )
    assert last_words(transcript) == "last"


@pytest.mark.parametrize(
    "raw", [b"", b"\xff", b"[]\n", b'{"type":"assistant"}\n', b'{"type":"assistant","message":1}\n']
)
def test_a_transcript_without_words_gives_none(raw: bytes) -> None:
    assert last_words(raw) == ""


@given(raw=st.binary(max_size=80))
def test_whatever_a_guest_wrote_is_read(raw: bytes) -> None:
    assert isinstance(last_words(raw), str)


def test_the_first_line_is_the_subject_and_all_of_it_the_body() -> None:
    assert as_message("\n## Added `--dry-run`\n\nIt only looks.\n") == Commit(
        "Added `--dry-run", "## Added `--dry-run`\n\nIt only looks."
    )
    assert as_message("Done.") == Commit("Done.", "")
    assert as_message(" \n***\n") is None


@given(text=st.text(max_size=300))
def test_a_subject_is_one_short_line_without_control_characters(text: str) -> None:
    message = as_message(text)
    if message is not None:
        assert 0 < len(message.subject) <= 72
        assert "\x1b" not in message.subject + message.body
        assert "\0" not in message.subject + message.body


def test_a_long_line_is_cut_at_a_word() -> None:
    assert shortened("one two three four", 12) == "one two…"
    assert shortened("x" * 20, 10) == "x" * 9 + "…"
    assert shortened("short", 10) == "short"


def test_a_directory_has_the_name_that_claude_code_gives_it() -> None:
    assert slug_of(Path("/src/my.app-x")) == "-src-my-app-x"


async def test_a_vm_that_cannot_be_reached_has_said_nothing() -> None:
    shell = MemoryShell()
    assert await last_summary(shell, shell.login(VM, AT, "admin"), Path("/src")) is None


async def test_the_words_of_a_vm_are_asked_for() -> None:
    shell = MemoryShell(respond=lambda _: Answer(stdout=line("Done it")), listening={AT})
    shell.pin(VM, [f"ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAI{'A' * 43}"])
    login = shell.login(VM, AT, "admin")
    assert await last_summary(shell, login, Path("/src/app")) == Commit("Done it", "")
