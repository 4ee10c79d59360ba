"""The programs that set this project up and watch over its tree."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.live

ROOT = Path(__file__).resolve().parents[2]
_DEADLINE_S = 15


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A small tree without a breach."""
    for name in ("tachikoma/a", "tools"):
        (tmp_path / name).mkdir(parents=True)
    shutil.copy(ROOT / "tools" / "check_tree.py", tmp_path / "tools")
    (tmp_path / "tachikoma" / "a" / "port.py").write_text("x = 1  # noqa: E501 - a reason\n")
    subprocess.run(["git", "init", "-q", tmp_path], check=True, timeout=_DEADLINE_S)
    return tmp_path


def _check(tree: Path) -> tuple[int, str]:
    done = subprocess.run(
        [sys.executable, tree / "tools" / "check_tree.py"],
        capture_output=True,
        text=True,
        timeout=_DEADLINE_S,
        check=False,
    )
    assert done.stderr == ""
    return done.returncode, done.stdout


def test_a_clean_tree_passes_in_silence(tree: Path) -> None:
    assert _check(tree) == (0, "")


@pytest.mark.parametrize(
    ("name", "text", "told"),
    [
        ("README.md", "see pypi" + ".org\n", "README.md:1: names a package registry"),
        ("x.toml", 'at = "deb.' + 'debian.org"\n', "x.toml:1: names a package registry"),
        (
            "tachikoma/a/b.py",
            "x = 1  # no" + "qa: E501\n",
            "tachikoma/a/b.py:1: a suppression needs its code and a reason (`noqa: CODE - why`)",
        ),
        (
            "tachikoma/a/b.py",
            "x = 1  # type: " + "ignore\n",
            "tachikoma/a/b.py:1: a suppression needs its code and a reason (`noqa: CODE - why`)",
        ),
        ("tachikoma/utils.py", "", "tachikoma/utils.py: a file is named for a thing"),
    ],
)
def test_a_breach_is_told_with_its_place(tree: Path, name: str, text: str, told: str) -> None:
    (tree / name).write_text(text)
    assert _check(tree) == (1, f"{told}\n")


def test_a_place_on_this_machine_is_a_breach(tree: Path) -> None:
    (tree / "notes.md").write_text(f"see {tree}/tachikoma\n")
    assert _check(tree) == (1, "notes.md:1: names a place on this machine\n")


def test_a_file_that_git_ignores_is_nobodys_breach(tree: Path) -> None:
    (tree / ".gitignore").write_text("/build/\n")
    (tree / "build").mkdir()
    (tree / "build" / "log").write_text(f"{tree}/x\n")
    assert _check(tree) == (0, "")


def test_setting_up_again_does_nothing_and_takes_no_time() -> None:
    first, again = (
        subprocess.run(
            [ROOT / "tools" / "setup", "python"],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=_DEADLINE_S * 8,
            check=True,
        )
        for _ in range(2)
    )
    del first
    assert again.stdout + again.stderr == b""


def test_setup_says_what_to_do_where_there_is_no_python(tmp_path: Path) -> None:
    programs = tmp_path / "bin"
    programs.mkdir()
    for name in ("bash", "dirname", "mkdir", "cat", "cksum", "grep", "env"):
        found = shutil.which(name)
        assert found
        (programs / name).symlink_to(found)
    copy = tmp_path / "copy"
    for name in ("tools/setup", "requirements/dev.txt", "pyproject.toml"):
        (copy / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, copy / name)
    done = subprocess.run(
        [copy / "tools" / "setup"],
        env={"PATH": str(programs), "HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=_DEADLINE_S,
        check=False,
    )
    assert done.returncode == 1
    assert "Python 3.11 or later is needed" in done.stderr
