from __future__ import annotations

from pathlib import Path

import pytest

from tests.unit.cli.stand import CommandLine


@pytest.fixture
def shared(line: CommandLine, tmp_path: Path) -> Path:
    """A repository on the disk whose file asks for more than a repository may."""
    line.cwd = tmp_path / "box"
    line.cwd.mkdir()
    line.git.add_repository(line.cwd)
    file = line.cwd / ".tachikoma.toml"
    file.write_text('vm_cpus = 2\ncredential_command = "pass show ü"\n')
    return file


def applied(line: CommandLine) -> str | None:
    value: str | None = line("config", "get", "credential_command", "--json").data["value"]
    return value


def test_it_shows_what_it_would_allow_and_asks(line: CommandLine, shared: Path) -> None:
    line.answer, line.columns = "y", 300
    ran = line("trust", tty=True)
    assert ran.status == 0
    assert f"{shared} (not trusted)\n" in ran.err
    assert 'credential_command = "pass show ü"\n' in ran.err
    assert "it would run a command on this host" in ran.err
    assert "vm_cpus" not in ran.err
    assert ran.out == f"trusted: {shared}\n"
    assert applied(line) == "pass show ü"


def test_a_no_changes_nothing(line: CommandLine, shared: Path) -> None:
    line.answer = "n"
    assert line("trust", tty=True).status == 1
    assert applied(line) is None
    assert shared.exists()


def test_without_a_terminal_it_takes_a_yes(line: CommandLine, shared: Path) -> None:
    assert line("trust").status == 2
    assert applied(line) is None
    data = line("trust", "--yes", "--json").data
    (file,) = data["files"]
    assert (file["file"], file["trusted"]) == (str(shared), True)
    assert file["takes_trust"][0]["key"] == "credential_command"
    assert applied(line) is not None


def test_another_content_is_another_file(line: CommandLine, shared: Path) -> None:
    line("trust", "--yes")
    shared.write_text(shared.read_text() + "\n")
    assert applied(line) is None
    assert "tachikoma trust" in line("config").err


def test_showing_changes_nothing(line: CommandLine, shared: Path) -> None:
    ran = line("trust", "--show")
    assert (ran.status, ran.out.splitlines()[0]) == (0, f"{shared} (not trusted)")
    assert applied(line) is None


def test_trust_is_revoked(line: CommandLine, shared: Path) -> None:
    line("trust", "--yes")
    assert line("trust", "--revoke").out == f"not trusted any more: {shared}\n"
    assert line("trust", "--revoke").out == "nothing was trusted here\n"
    assert applied(line) is None


def test_where_nothing_takes_trust_nothing_is_asked(line: CommandLine, shared: Path) -> None:
    shared.write_text("vm_cpus = 2\n")
    assert line("trust").out == "there is nothing that takes trust here\n"


def test_what_is_trusted_already_is_said(line: CommandLine, shared: Path) -> None:
    line("trust", "--yes")
    ran = line("trust")
    assert ran.err == "nothing to do: all of this is trusted already\n"
    assert f"{shared} (trusted)" in ran.out


def test_outside_of_a_repository_there_is_nothing_to_trust(line: CommandLine) -> None:
    line.cwd = Path("/elsewhere")
    assert line("trust", "--json").error["code"] == "config.invalid"


def test_the_file_of_a_makima_daemon_takes_trust_too(line: CommandLine, shared: Path) -> None:
    (line.cwd / ".git").mkdir()
    file = line.cwd / "makima-daemon.toml"
    file.write_text(
        "[server]\nurl = 'ws://localhost'\napi_key = 'geheim'\n"
        "[process.env_vars]\nLD_PRELOAD = '/tmp/x.so'\n"
    )
    file.chmod(0o600)
    ran = line("trust", "--show")
    assert f"{file} (not trusted)\n" in ran.out
    assert 'server.url = "ws://localhost/ws/daemon"\n' in ran.out
    assert 'process.env_vars = ["LD_PRELOAD=/tmp/x.so"]\n' in ran.out
    assert "geheim" not in ran.out
    assert line("trust", "--yes").status == 0
    found = {each["key"]: each for each in line("makima", "config", "--json").data["settings"]}
    assert found["server.url"]["source"] == str(file)
    assert line("trust", "--revoke").status == 0
    found = {each["key"]: each for each in line("makima", "config", "--json").data["settings"]}
    assert found["server.url"]["source"] == "default"
