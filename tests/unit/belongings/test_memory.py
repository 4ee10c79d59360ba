from __future__ import annotations

from pathlib import Path

import pytest

from tachikoma.belongings.memory import MemoryBelongings
from tachikoma.belongings.port import ClaudeFiles, Script
from tachikoma.model.errors import ConfigError, MissingToolError


async def test_somebody_new_has_nothing() -> None:
    belongings = MemoryBelongings()
    assert await belongings.directories(["skills"]) == ()
    assert await belongings.memory(Path("/src/app")) is None
    assert await belongings.claude_files() == ClaudeFiles()
    assert belongings.environment == {}
    with pytest.raises(MissingToolError):
        await belongings.github_token()
    with pytest.raises(ConfigError):
        await belongings.script(Path("/x.sh"))


async def test_what_is_given_is_there() -> None:
    belongings = MemoryBelongings()
    belongings.shared = {"skills"}
    belongings.token = "gho_x"
    belongings.scripts = {Path("/x.sh"): b"true"}
    assert await belongings.directories(["rules", "skills"]) == (Path("/home/ada/.claude/skills"),)
    assert await belongings.github_token() == "gho_x"
    assert await belongings.script(Path("/x.sh")) == Script("x.sh", b"true")
