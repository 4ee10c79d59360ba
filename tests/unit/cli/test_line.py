from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tachikoma.cli.line import ALIASES, VERBS, Line, arrange, check_guess
from tachikoma.model.errors import UsageError


def test_an_empty_line_spawns_the_current_branch() -> None:
    assert arrange([]) == Line(argv=("spawn",), command="spawn", guessed=True)


def test_a_line_without_a_verb_spawns_that_branch() -> None:
    assert arrange(["feature/x"]) == Line(
        argv=("spawn", "feature/x"), command="spawn", guessed=True
    )


def test_options_before_the_branch_belong_to_spawn() -> None:
    line = arrange(["--no-interactive", "feature/x"])
    assert line.argv == ("spawn", "--no-interactive", "feature/x")


def test_behind_two_hyphens_even_a_verb_is_a_branch() -> None:
    assert arrange(["--", "list"]).argv == ("spawn", "--", "list")


@pytest.mark.parametrize(
    "argv", [["--json", "list"], ["list", "--json"], ["--json", "list", "--json"]]
)
def test_json_may_stand_before_and_behind_the_verb(argv: list[str]) -> None:
    assert arrange(argv) == Line(argv=("list",), command="list", as_json=True)


@pytest.mark.parametrize("option", [["--hypervisor", "qemu"], ["--hypervisor=qemu"]])
def test_the_hypervisor_may_be_named_anywhere(option: list[str]) -> None:
    assert arrange([*option, "list", "-v"]) == Line(
        argv=("list",), command="list", hypervisor="qemu", verbose=True
    )


def test_what_stands_behind_two_hyphens_is_left_alone() -> None:
    argv = ["exec", "--json", "box", "--", "tool", "--json", "-v", "--hypervisor", "x"]
    line = arrange(argv)
    assert line.argv == ("exec", "box", "--", "tool", "--json", "-v", "--hypervisor", "x")
    assert (line.as_json, line.verbose, line.hypervisor) == (True, False, None)


def test_an_alias_is_called_by_its_verb_in_the_envelope() -> None:
    assert {alias: arrange([alias]).command for alias in ALIASES} == {
        "stop": "halt",
        "delete": "destroy",
        "ls": "list",
    }


def test_the_verbs_of_a_group_are_part_of_the_command_name() -> None:
    assert arrange(["--json", "image", "build", "x"]).command == "image build"
    assert arrange(["proxy"]).command == "proxy"


@pytest.mark.parametrize("argv", [["--help"], ["-h"], ["-V"], ["--version", "--json"]])
def test_asking_for_help_or_the_version_spawns_nothing(argv: list[str]) -> None:
    assert arrange(argv).argv[0] == argv[0]


@pytest.mark.parametrize(
    ("word", "meant"), [("lst", "list"), ("haltt", "halt"), ("shell", "enter"), ("help", "--help")]
)
def test_a_mistyped_verb_is_not_taken_for_a_branch(word: str, meant: str) -> None:
    with pytest.raises(UsageError, match=f"did you mean `tachikoma {meant}`") as caught:
        check_guess(arrange([word]))
    assert caught.value.hint == f"for a branch of that name: `tachikoma spawn {word}`"


@pytest.mark.parametrize("branch", ["main", "feature/list", "fix-the-proxy", "dev", "wip"])
def test_an_ordinary_branch_name_is_a_branch(branch: str) -> None:
    check_guess(arrange([branch]))


def test_a_branch_named_after_spawn_is_never_doubted() -> None:
    check_guess(arrange(["spawn", "lst"]))


@given(st.lists(st.text(max_size=8) | st.sampled_from([*VERBS, "--json", "--", "-v"]), max_size=6))
def test_no_word_is_lost_or_moved(argv: list[str]) -> None:
    line = arrange(argv)
    common = {"--json", "-v", "--verbose"}
    end = argv.index("--") if "--" in argv else len(argv)
    kept = [word for word in argv[:end] if word not in common] + argv[end:]
    if line.hypervisor is None:
        assert list(line.argv) == (["spawn", *kept] if line.guessed else kept)
