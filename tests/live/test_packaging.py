"""The project as somebody gets it: set up from a clone, or installed as a package."""

from __future__ import annotations

import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

from tachikoma.model.version import VERSION

pytestmark = [pytest.mark.live, pytest.mark.timeout(120)]

ROOT = Path(__file__).resolve().parents[2]
_DEADLINE_S = 60


def _run(*argv: str | Path, cwd: Path = ROOT) -> str:
    done = subprocess.run(
        argv,
        cwd=cwd,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=_DEADLINE_S,
        check=False,
    )
    assert done.returncode == 0, done.stdout.decode() + done.stderr.decode()
    return done.stdout.decode()


def _tracked(*under: str) -> list[str]:
    listed = _run("git", "ls-files", "-z", "-co", "--exclude-standard", *under)
    return [name for name in listed.split("\0") if name and (ROOT / name).is_file()]


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A new virtual environment, in a path with a space, with the package built from a copy.

    Its dependencies are those of the environment of the tests: they need no network.
    """
    base = tmp_path_factory.mktemp("an install")
    copy = base / "copy"
    for name in _tracked():
        (copy / name).parent.mkdir(parents=True, exist_ok=True)
        (copy / name).write_bytes((ROOT / name).read_bytes())
    pip = (sys.executable, "-m", "pip")
    flags = ("--quiet", "--no-deps", "--no-index")
    _run(*pip, "wheel", *flags, "--no-build-isolation", "-w", base, ".", cwd=copy)
    (wheel,) = base.glob("*.whl")
    venv = base / "venv"
    _run(sys.executable, "-m", "venv", venv)
    _run(venv / "bin" / "python", "-m", "pip", "install", *flags, wheel)
    (packages,) = venv.glob("lib/python*/site-packages")
    (packages / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return venv


def test_an_installed_package_has_a_working_command(installed: Path, tmp_path: Path) -> None:
    told = _run(installed / "bin" / "tachikoma", "--version", cwd=tmp_path)
    assert told == f"tachikoma {VERSION}\n"


def test_an_installed_package_holds_every_file_of_the_source(installed: Path) -> None:
    (packages,) = installed.glob("lib/python*/site-packages")
    missing = [name for name in _tracked("tachikoma") if not (packages / name).is_file()]
    assert missing == []


def test_an_installed_package_says_its_licence(installed: Path) -> None:
    (told,) = installed.glob("lib/python*/site-packages/tachikoma-*.dist-info")
    assert "License-Expression: Apache-2.0" in (told / "METADATA").read_text()
    assert (told / "licenses" / "LICENSE").is_file()


def test_pinned_requirements_name_no_index() -> None:
    for path in (ROOT / "requirements").iterdir():
        text = path.read_text(encoding="utf-8")
        assert not [
            word for word in ("--index", "--extra-index", "find-links", "://") if word in text
        ], path


def test_every_requirement_is_pinned_with_hashes() -> None:
    for path in (ROOT / "requirements").glob("*.txt"):
        blocks = path.read_text(encoding="utf-8").replace("\\\n", " ").splitlines()
        pins = [line for line in blocks if line and not line.startswith("#")]
        assert pins
        assert [line for line in pins if "==" not in line or "--hash=sha256:" not in line] == []
