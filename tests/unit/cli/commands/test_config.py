from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path

from tachikoma.model.settings import Settings
from tests.unit.cli.stand import CommandLine


def _values(line: CommandLine) -> dict[str, tuple[object, str]]:
    data = line("config", "--json").data
    return {one["key"]: (one["value"], one["source"]) for one in data["values"]}


def test_every_key_is_shown_with_its_source(line: CommandLine) -> None:
    values = _values(line)
    assert set(values) == {field.name for field in fields(Settings)} - {"explicit"}
    assert values["vm_cpus"] == (4, "default")


def test_a_default_of_the_engine_is_shown_as_one(line: CommandLine) -> None:
    values = _values(line)
    assert values["base_image"] == ("synthetic", "default of synthetic")
    assert values["credential_proxy_bind"] == ("127.0.0.1", "default of synthetic")
    assert values["network"] == ("proxy", "default of synthetic")


def test_a_value_names_the_file_that_sets_it(line: CommandLine) -> None:
    file = line.home / ".config/tachikoma/config.toml"
    file.parent.mkdir(parents=True)
    file.write_text('base_image = "own"\nvm_cpus = 2\n')
    values = _values(line)
    assert values["base_image"] == ("own", str(file))
    assert values["vm_cpus"] == (2, str(file))
    assert "vm_cpus                    2" in line("config").out
    assert "  ~/.config/tachikoma/config.toml\n" in line("config").out


def test_a_mistyped_key_is_an_error_that_names_the_nearest(line: CommandLine) -> None:
    file = line.home / ".config/tachikoma/config.toml"
    file.parent.mkdir(parents=True)
    file.write_text("vm_cpu = 2\n")
    ran = line("config")
    assert (ran.status, ran.out) == (1, "")
    assert ran.err.endswith("hint: did you mean vm_cpus?\n")


def test_what_is_not_applied_is_a_warning(line: CommandLine) -> None:
    line.cwd = line.home / "repo"
    line.cwd.mkdir()
    line.git.add_repository(line.cwd)
    (line.cwd / ".tachikoma.toml").write_text('credential_command = "cat key"\n')
    assert "warning: " in line("config").err
    assert len(line("config", "--json").data["warnings"]) == 1


def test_a_value_is_set_read_and_taken_out_again(line: CommandLine) -> None:
    file = line.home / ".config/tachikoma/config.toml"
    ran = line("config", "set", "vm_cpus", "8")
    assert (ran.status, ran.out) == (0, "vm_cpus = 8  (~/.config/tachikoma/config.toml)\n")
    assert line("config", "get", "vm_cpus").out == "8\n"
    line("config", "set", "claude_flags", "--", "--model", "opus")
    assert line("config", "get", "claude_flags").out == '["--model", "opus"]\n'
    assert line("config", "set", "--json", "ssh_user", "ada").data == {
        "key": "ssh_user",
        "value": "ada",
        "file": str(file),
    }
    assert line("config", "get", "ssh_user").out == "ada\n"
    assert "is not set in" in line("config", "unset", "ssh_user").out
    assert "was not set in" in line("config", "unset", "ssh_user").out
    assert file.read_text() == 'vm_cpus = 8\nclaude_flags = ["--model", "opus"]\n'


def test_what_no_key_accepts_is_not_written(line: CommandLine) -> None:
    ran = line("config", "set", "vm_cpus", "many", "--json")
    assert ran.error["code"] == "config.bad_value"
    assert line("config", "set", "vm_cpu", "1", "--json").error["hint"] == "did you mean vm_cpus?"
    assert line("config", "get", "vm_cpu", "--json").error["code"] == "config.unknown_key"
    assert not (line.home / ".config/tachikoma/config.toml").exists()


def test_a_file_of_the_repository_is_set_and_what_is_not_applied_is_told(
    line: CommandLine, tmp_path: Path
) -> None:
    line.cwd = tmp_path / "box"
    line.cwd.mkdir()
    line.git.add_repository(line.cwd)
    ran = line("config", "set", "--repo", "api_key_command", "pass show x")
    assert (line.cwd / ".tachikoma.toml").read_text() == 'api_key_command = "pass show x"\n'
    assert "api_key_command is not applied" in ran.err
    line("config", "set", "--local", "vm_cpus", "2")
    assert line("config", "path", "--local").out == f"{line.cwd}/.tachikoma.local.toml\n"
    assert line("config", "get", "vm_cpus", "--json").data["source"].endswith("local.toml")


def test_the_path_of_a_file_is_told_whether_it_is_there_or_not(line: CommandLine) -> None:
    file = line.home / ".config/tachikoma/config.toml"
    assert line("config", "path").out == f"{file}\n"
    assert line("config", "path", "--json").data == {"file": str(file), "exists": False}
    assert line("config", "path", "--repo", "--local").status == 2
    line.cwd = Path("/elsewhere")
    assert line("config", "path", "--repo", "--json").error["code"] == "config.invalid"


def test_files_are_validated(line: CommandLine) -> None:
    assert line("config", "validate").out == "ok: no file sets anything\n"
    line("config", "set", "vm_cpus", "2")
    assert line("config", "validate").out == "ok: ~/.config/tachikoma/config.toml\n"
    (line.home / ".config/tachikoma/config.toml").write_text("vm_cpus = 0\n")
    ran = line("config", "validate")
    assert (ran.status, "vm_cpus is 0, and should be" in ran.err) == (1, True)


def test_a_broken_file_can_be_mended_by_setting_the_key(line: CommandLine) -> None:
    file = line.home / ".config/tachikoma/config.toml"
    file.parent.mkdir(parents=True)
    file.write_text("vm_cpus = 0\n")
    assert line("config", "set", "vm_cpus", "2").status == 0
    assert file.read_text() == "vm_cpus = 2\n"


def test_an_editor_gets_a_file_that_explains_every_key(line: CommandLine) -> None:
    file = line.home / ".config/tachikoma/config.toml"
    ran = line("config", "--edit", tty=True, env={"EDITOR": "code -w", "VISUAL": ""})
    assert line.called == [("code", "-w", str(file))]
    assert (ran.status, "# vm_cpus = 4" in file.read_text()) == (0, True)


def test_what_was_edited_is_checked_and_kept(line: CommandLine) -> None:
    file = line.home / ".config/tachikoma/config.toml"

    def spoil(_argv: Sequence[str]) -> int:
        file.write_text("vm_cpus = none\n")
        return 0

    line.on_call = spoil
    ran = line("config", "--edit", tty=True)
    assert ran.status == 1
    assert "it is saved as you left it" in ran.err
    line.on_call = lambda _argv: 3
    assert "ended with exit status 3" in line("config", "--edit", tty=True).err
    assert line("config", "--edit").status == 2
    assert line("config", "--repo").status == 2
