"""The shape of the tree: tests mirror the package, and files stay short."""

from __future__ import annotations

import ast
from pathlib import Path

from tests.conftest import ROOT

PACKAGE = ROOT / "tachikoma"
UNIT = ROOT / "tests" / "unit"
LONGEST = 500

WITHOUT_A_TEST_OF_THEIR_OWN: dict[str, str] = {
    "demo/play.py": "it takes a real VM from beginning to end: tests/live/test_demo.py drives it",
    "makima/peer.py": "it is one connection of downstream: its test drives it",
    "makima/connection.py": "it is one connection of a link: test_link.py drives it over real ones",
    **dict.fromkeys(
        ("makima/daemon.py", "makima/performing.py"),
        "tests/flows/test_{spawn_task,orchestrator}.py drive them over a real connection",
    ),
    **dict.fromkeys(
        (
            "proxy/api.py",
            "proxy/conversation.py",
            "proxy/download.py",
            "proxy/exchange.py",
            "proxy/outlets.py",
            "proxy/tunnel.py",
            "proxy/upload.py",
            "proxy/wire.py",
        ),
        "it is sockets from end to end: tests/flows/test_prox*.py drive it over real ones",
    ),
}
"""Modules with logic that no unit test mirrors, each with the reason."""

TESTS_OF_OTHER_FILES: dict[str, str] = {
    "vm/provision/test_guest_of_others.py": "guest.py in images that are not ours",
}
"""Unit tests below a package that mirror no module, each with the reason."""


def modules() -> list[Path]:
    return sorted(each for each in PACKAGE.rglob("*.py") if "__pycache__" not in each.parts)


def has_logic(module: Path) -> bool:
    """Tell whether a function in it does more than declare, or discard its argument."""
    tree = ast.parse(module.read_text(encoding="utf-8"))
    return any(
        not isinstance(statement, ast.Expr | ast.Pass | ast.Delete)
        or not isinstance(getattr(statement, "value", None), ast.Constant | None)
        for function in ast.walk(tree)
        if isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef)
        for statement in function.body
    )


def mirror(module: Path) -> Path:
    place = module.relative_to(PACKAGE)
    return UNIT / place.with_name(f"test_{place.name}")


def test_every_module_with_logic_has_a_test_at_the_same_place() -> None:
    missing = [
        str(mirror(each).relative_to(ROOT))
        for each in modules()
        if each.name not in ("__init__.py", "port.py", "ports.py")
        and str(each.relative_to(PACKAGE)) not in WITHOUT_A_TEST_OF_THEIR_OWN
        and has_logic(each)
        and not mirror(each).exists()
    ]
    assert missing == []


def test_every_test_of_a_module_has_that_module() -> None:
    tests = sorted(each for each in UNIT.rglob("test_*.py") if each.parent != UNIT)
    orphans = [
        str(each.relative_to(UNIT))
        for each in tests
        if not (PACKAGE / each.relative_to(UNIT).with_name(each.name[len("test_") :])).exists()
    ]
    assert orphans == sorted(TESTS_OF_OTHER_FILES)


def test_every_exemption_is_of_a_module_that_is_there() -> None:
    assert [each for each in WITHOUT_A_TEST_OF_THEIR_OWN if not (PACKAGE / each).exists()] == []


def test_no_package_holds_code_in_its_init() -> None:
    with_code = [
        str(each.relative_to(ROOT))
        for each in modules()
        if each.name == "__init__.py"
        and not all(isinstance(node, ast.Expr) for node in ast.parse(each.read_text()).body)
    ]
    assert with_code == []


def test_no_file_is_longer_than_it_may_be() -> None:
    places = [PACKAGE, ROOT / "tests", ROOT / "tools", ROOT / "bench"]
    long = [
        f"{each.relative_to(ROOT)}: {lines} lines"
        for place in places
        for each in sorted(place.rglob("*.py"))
        if (lines := len(each.read_text(encoding="utf-8").splitlines())) > LONGEST
    ]
    assert long == []
