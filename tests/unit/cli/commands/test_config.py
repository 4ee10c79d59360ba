from __future__ import annotations

from dataclasses import fields

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
