from __future__ import annotations

from tests.unit.cli.stand import CommandLine


def put(line: CommandLine, text: str) -> str:
    file = line.home / ".config" / "makima-daemon" / "config.toml"
    file.parent.mkdir(parents=True)
    file.write_text(text)
    file.chmod(0o600)
    return str(file)


def test_every_key_is_shown_with_value_and_source(line: CommandLine) -> None:
    put(
        line,
        "[server]\nurl = 'ws://localhost'\napi_key = 'geheim-1'\n"
        "[process.env_vars]\nA = 'geheim-2'\n",
    )
    line.columns = 120
    ran = line("makima", "config", tty=True, env={"MAKIMA_DAEMON_LOGGING_LEVEL": "debug"})
    rows = {row.split()[0]: row.split()[1:] for row in ran.out.splitlines()}
    assert rows["server.url"] == ["ws://localhost/ws/daemon", "~/.config/makima-daemon/config.toml"]
    assert rows["server.api_key"][0] == "[redacted]"
    assert rows["process.env_vars"][:2] == ['{"A":', '"[redacted]"}']
    assert rows["logging.level"] == ["debug", "MAKIMA_DAEMON_LOGGING_LEVEL"]
    assert rows["worktree.base_dir"] == ["~/.makima/worktrees", "default"]
    assert rows["worktree.default_target_repo"] == ["-", "default"]
    assert "geheim" not in ran.out


def test_json_has_the_variables_too(line: CommandLine) -> None:
    file = put(line, "[repos]\nauto_clone = ['github:a/b']\n")
    data = line("makima", "config", "--json").data
    assert data["files"] == [file]
    found = {each["key"]: each for each in data["settings"]}
    assert found["repos.auto_clone"]["value"] == [
        {"url": "https://github.com/a/b.git", "name": "b", "branch": None, "shallow": False}
    ]
    assert found["local_db.path"]["variables"] == [
        "MAKIMA_DAEMON_LOCALDB_PATH",
        "MAKIMA_DAEMON_LOCAL_DB__PATH",
    ]
    assert found["server.api_key"]["value"] is None


def test_clones_are_shown_by_their_urls(line: CommandLine) -> None:
    put(line, "[repos]\nauto_clone = ['github:a/b', { url = 'github:a/c', name = 'd' }]\n")
    assert (
        "  https://github.com/a/b.git https://github.com/a/c.git  " in line("makima", "config").out
    )


def test_warnings_are_told(line: CommandLine) -> None:
    ran = line("makima", "config", env={"MAKIMA_DAEMON_NONSENSE": "1"})
    assert "MAKIMA_DAEMON_NONSENSE is not applied" in ran.err


def test_what_cannot_be_used_is_an_error(line: CommandLine) -> None:
    file = put(line, "[server]\nurll = 3\n")
    ran = line("makima", "config")
    assert ran.status == 78
    assert f"error: {file}, line 2: there is no key server.urll" in ran.err
    assert "hint: did you mean server.url?" in ran.err
