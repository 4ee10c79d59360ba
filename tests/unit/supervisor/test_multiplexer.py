from __future__ import annotations

import pytest

from tachikoma.supervisor import multiplexer
from tachikoma.supervisor.multiplexer import Frames, Seen, decode


def test_values_are_arguments_and_no_part_of_a_script() -> None:
    commands = {
        make("a name"): make("another")
        for make in (
            multiplexer.attach_command,
            multiplexer.show_command,
            multiplexer.follow_command,
            multiplexer.kill_command,
        )
    }
    for one, other in commands.items():
        assert one[:3] == other[:3]
        assert one[4:] == ("a name",)
    start = multiplexer.start_command("night", ("claude", "--", "it's $HOME"))
    assert start[3:] == ("start", "night", "claude", "--", "it's $HOME")
    assert "night" not in start[2]


@pytest.mark.parametrize(
    ("mode", "prompt", "argv"),
    [
        (None, "", ("claude", "--dangerously-skip-permissions")),
        (None, "-v is", ("claude", "--dangerously-skip-permissions", "--", "-v is")),
        ("plan", "think", ("claude", "--permission-mode", "plan", "--", "think")),
    ],
)
def test_claude_code_is_called_with_its_mode_and_first_message(
    mode: str | None, prompt: str, argv: tuple[str, ...]
) -> None:
    assert multiplexer.claude(permission_mode=mode, prompt=prompt) == argv


def test_what_tmux_lists_is_read() -> None:
    said = (
        "night 1700000000 0 2 \n"
        "day 1700000001 1 0 3\n"
        "killed 1700000002 1 0 \n"
        "two-panes 1700000003 1 0 0\n"
        "two-panes 1700000003 0 0 \n"
        "no server running on /tmp/tmux-1000/tachikoma\n"
        "\x1b[31m x 0 0\n"
        "Night 1700000000 0 0 \n"
        "endless 99999999999999999999 0 0 \n"
        "\n"
    )
    assert decode(said) == {
        "night": Seen("night", 1_700_000_000, 2, None),
        "day": Seen("day", 1_700_000_001, 0, 3),
        "killed": Seen("killed", 1_700_000_002, 0, -1),
        "two-panes": Seen("two-panes", 1_700_000_003, 0, None),
    }


def test_frames_are_cut_at_their_marks_however_the_lines_come() -> None:
    frames = Frames()
    assert frames.take(["one", "two"]) == []
    assert frames.take(["\x1e", "\x1e", "three"]) == [["one", "two"], None]
    assert frames.take(["\x1e"]) == [["three"]]


def test_no_guest_can_list_without_end() -> None:
    said = "".join(f"n{number} 1 0 0 \n" for number in range(9999))
    assert len(decode(said)) == 500
