from __future__ import annotations

import sys
from pathlib import Path

import pytest

from tachikoma.git.memory import MemoryGit
from tachikoma.model.errors import ConfigError, UsageError
from tachikoma.model.names import VmName
from tachikoma.model.vm import Endpoint
from tachikoma.runtime import Runtime
from tachikoma.state.port import VmRecord

_RECORD = VmRecord(
    name=VmName("tachikoma-box-main"),
    repository=Path("/src/box/.git"),
    repository_name="box",
    branch="main",
    worktree=Path("/src/box"),
    engine="synthetic",
    image="synthetic",
    created=1.0,
    last_used=1.0,
)


def _runtime(home: Path, *, hypervisor: str | None = "synthetic", **environ: str) -> Runtime:
    runtime = Runtime(environ={"HOME": str(home), **environ}, cwd=home, hypervisor=hypervisor)
    git = MemoryGit()
    git.add_repository(home)
    runtime.__dict__["git"] = git
    return runtime


def _write(home: Path, text: str, *, name: str = ".config/tachikoma/config.toml") -> None:
    file = home / name
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)


def test_an_engine_that_does_not_exist_is_refused_at_once(own_home: Path) -> None:
    with pytest.raises(UsageError, match="bochs"):
        Runtime(environ={}, cwd=own_home, hypervisor="bochs")


async def test_settings_are_layered_from_user_and_repository(own_home: Path) -> None:
    _write(own_home, "vm_cpus = 3\nvm_memory = 4096\n")
    _write(own_home, "vm_memory = 2048\n", name=".tachikoma.toml")
    runtime = _runtime(own_home)
    settings = await runtime.load_settings()
    assert (settings.vm_cpus, settings.vm_memory) == (3, 2048)
    assert runtime.loaded.sources["vm_memory"] == str(own_home / ".tachikoma.toml")


async def test_what_a_repository_may_not_set_is_a_warning(own_home: Path) -> None:
    _write(own_home, 'credential_command = "cat /etc/passwd"\n', name=".tachikoma.toml")
    runtime = _runtime(own_home)
    settings = await runtime.load_settings()
    assert settings.credential_command is None
    assert len(runtime.warnings) == 1
    assert "credential_command is not applied" in runtime.warnings[0]


async def test_a_broken_settings_file_is_told(own_home: Path) -> None:
    _write(own_home, "vm_cpus = \n")
    with pytest.raises(ConfigError, match=r"config\.toml"):
        await _runtime(own_home).load_settings()


async def test_outside_of_a_repository_the_users_settings_hold(own_home: Path) -> None:
    runtime = _runtime(own_home)
    runtime.__dict__["git"] = MemoryGit()
    assert (await runtime.load_settings()).vm_cpus == 4


async def test_nothing_can_be_made_before_the_settings_are_known(own_home: Path) -> None:
    with pytest.raises(RuntimeError, match="settings are loaded before"):
        _ = _runtime(own_home).settings


async def test_the_engine_of_the_command_line_beats_that_of_the_settings(own_home: Path) -> None:
    _write(own_home, 'hypervisor = "tart"\n')
    runtime = _runtime(own_home)
    await runtime.load_settings()
    assert runtime.engine_name == "synthetic"
    assert runtime.hypervisor.features.engine == "synthetic"
    assert [image.name for image in await runtime.images.images()] == ["synthetic"]


@pytest.mark.parametrize(
    ("named", "platform", "engine"),
    [
        ("auto", "darwin", "tart"),
        ("auto", "linux", "qemu"),
        ("tart", "linux", "tart"),
        ("qemu", "darwin", "qemu"),
    ],
)
async def test_macs_run_tart_and_others_qemu_unless_one_is_named(
    own_home: Path, named: str, platform: str, engine: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "platform", platform)
    runtime = _runtime(own_home, hypervisor=named)
    await runtime.load_settings()
    assert runtime.hypervisor.features.engine == engine
    assert type(runtime.images).__name__ == {"tart": "TartImages", "qemu": "DebianImages"}[engine]


async def test_with_tart_the_proxy_listens_where_its_guests_look(own_home: Path) -> None:
    runtime = _runtime(own_home, hypervisor="tart")
    await runtime.load_settings()
    assert runtime.proxy_plan().endpoint == Endpoint("192.168.64.1", 19280)
    assert runtime.ports.image == "ubuntu"
    assert await runtime.checkpoints.checkpoints(VmName("tachikoma-app-main")) == []


@pytest.mark.live
async def test_a_missing_tart_is_found_by_its_checks(
    own_home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    runtime = _runtime(own_home, hypervisor="tart")
    await runtime.load_settings()
    tart = (await runtime.engine_checks())[0]
    assert (tart.name, tart.ok, tart.found) == ("tart", False, "Tart is not installed")


async def test_synthetic_vms_are_kept_apart_from_the_real_ones(own_home: Path) -> None:
    runtime = _runtime(own_home)
    await runtime.load_settings()
    with runtime.store.edit() as ledger:
        ledger.put(_RECORD)
    assert (own_home / ".config/tachikoma/synthetic/state.json").exists()
    assert not runtime.paths.state_file.exists()


async def test_the_proxy_listens_where_the_engine_needs_it(own_home: Path) -> None:
    runtime = _runtime(own_home, ANTHROPIC_API_KEY="k")
    await runtime.load_settings()
    plan = runtime.proxy_plan()
    assert plan.endpoint == Endpoint("127.0.0.1", 19280)
    assert plan.environment["ANTHROPIC_API_KEY"] == "k"
    assert not plan.any_address
    assert runtime.gateway.endpoint == plan.endpoint


async def test_the_proxy_listens_where_the_user_says(own_home: Path) -> None:
    _write(own_home, 'credential_proxy_bind = "10.1.2.3"\ncredential_proxy_port = 4000\n')
    runtime = _runtime(own_home)
    await runtime.load_settings()
    assert runtime.proxy_plan().endpoint == Endpoint("10.1.2.3", 4000)
    told = runtime.proxy_plan(bind="0.0.0.0", port=5000)
    assert told.endpoint == Endpoint("0.0.0.0", 5000)
    assert told.any_address


async def test_without_a_proxy_no_variable_is_unknown_to_it(own_home: Path) -> None:
    runtime = _runtime(own_home, ANTHROPIC_API_KEY="k")
    await runtime.load_settings()
    assert runtime.unknown_to_the_proxy() == ()


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere a keychain is always there")
async def test_a_credential_is_looked_for_where_the_proxy_would(own_home: Path) -> None:
    sign_in = own_home / "claude" / ".credentials.json"
    sign_in.parent.mkdir()
    sign_in.write_text('{"claudeAiOauth": {"accessToken": "sk-ant-oat01-x"}}')
    runtime = _runtime(own_home, CLAUDE_CONFIG_DIR=str(sign_in.parent))
    await runtime.load_settings()
    *without, last = await runtime.credential_findings()
    assert [(each.source, each.why) for each in without] == [
        (runtime.credential_sources[0].name, "no desktop session (D-Bus) here"),
        ("CLAUDE_CODE_OAUTH_TOKEN", "is not set"),
        ("credential_command", "is not configured"),
    ]
    assert last.source == str(sign_in)
    assert last.credential is not None
