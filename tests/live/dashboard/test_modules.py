"""What the dashboard's modules decide without a page, by node's own runner of tests."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from tests.conftest import ROOT

pytestmark = pytest.mark.live

STATIC = ROOT / "tachikoma" / "makima" / "dashboard" / "static"
TESTS = ROOT / "tests" / "js"
_DEADLINE_S = 60


@pytest.mark.timeout(90)
def test_the_modules_decide_as_their_tests_say(
    tmp_path: Path, real_environ: dict[str, str]
) -> None:
    node = shutil.which("node")
    if node is None:
        if real_environ.get("CI") == "true":
            pytest.fail("node must be installed")
        pytest.skip("not installed: node")
    # Node takes a .js file for a module only below a package.json that says so.
    shutil.copytree(STATIC, tmp_path / "static")
    (tmp_path / "package.json").write_text('{"type": "module"}\n', encoding="ascii")
    for test in TESTS.glob("*.test.mjs"):
        shutil.copy(test, tmp_path)
    done = subprocess.run(
        [node, "--test"],
        cwd=tmp_path,
        capture_output=True,
        timeout=_DEADLINE_S,
        check=False,
    )
    said = done.stdout.decode()
    assert done.returncode == 0, said
    assert "# pass 0" not in said
