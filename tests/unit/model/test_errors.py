from __future__ import annotations

import inspect
import re

import pytest

from tachikoma.model import errors, errors_fleet
from tachikoma.model.errors import CommandFailed, TachikomaError

CLASSES = [
    each
    for module in (errors, errors_fleet)
    for _, each in inspect.getmembers(module, inspect.isclass)
    if issubclass(each, TachikomaError) and each.__module__ == module.__name__
]
LINE = re.compile(r"^( +)([A-Za-z]+)(?: +([a-z_.]+))?(?: +\(exit status (\d+)\))?$", re.MULTILINE)


def drawn() -> list[tuple[str, str, str, int]]:
    """Give (class, parent, code, exit status) as the docstring draws them."""
    above: list[tuple[int, str]] = []
    found = []
    trees = f"{errors.__doc__}{errors_fleet.__doc__}"
    for spaces, name, code, status in LINE.findall(trees):
        depth = len(spaces)
        above = [each for each in above if each[0] < depth]
        if above:
            found.append((name, above[-1][1], code, int(status or 1)))
        above.append((depth, name))
    return found


def test_the_tree_in_the_docstring_is_the_tree_of_the_classes() -> None:
    real = [
        (each.__name__, each.__base__.__name__, each.code, each.exit_status)
        for each in CLASSES
        if each is not TachikomaError and each.__base__ is not None
    ]
    assert sorted(drawn()) == sorted(real)


def test_codes_are_unique() -> None:
    codes = [each.code for each in CLASSES]
    assert sorted(set(codes)) == sorted(codes)


@pytest.mark.parametrize("each", CLASSES, ids=lambda each: each.__name__)
def test_a_code_is_an_area_and_a_reason_and_a_class_says_what_it_means(
    each: type[TachikomaError],
) -> None:
    assert re.fullmatch(r"[a-z]+\.[a-z_]+", each.code)
    assert each.__doc__
    assert each.__name__.endswith(("Error", "Failed", "Interrupted"))


def test_an_error_keeps_message_hint_and_details() -> None:
    error = TachikomaError("it broke", hint="mend it", details="line 7")
    assert (str(error), error.message, error.hint, error.details) == (
        "it broke",
        "it broke",
        "mend it",
        "line 7",
    )
    assert (TachikomaError("x").hint, TachikomaError("x").details) == ("", "")


def test_a_failed_command_also_keeps_its_status_and_standard_error() -> None:
    error = CommandFailed("it broke", status=-9, stderr="oh", hint="h", details="d")
    assert (error.status, error.stderr, error.hint, error.details) == (-9, "oh", "h", "d")
