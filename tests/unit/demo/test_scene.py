from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest

from tachikoma.config.load import load
from tachikoma.demo import scene
from tachikoma.demo.scene import BRANCH, Stage
from tachikoma.host.paths import paths_from
from tachikoma.model.errors import HostError
from tachikoma.model.events import Event, Notice, silent
from tachikoma.vm.requests import SpawnRequest, SurveyRequest
from tests.doubles.real_git import git, new_repository


@pytest.fixture
def environ(own_home: Path) -> Mapping[str, str]:
    """Give a user whose VMs are synthetic, with a credential and settings of their own."""
    config = own_home / ".config" / "tachikoma"
    config.mkdir(parents=True)
    (config / "config.toml").write_text('hypervisor = "synthetic"\n')
    return {
        "HOME": str(own_home),
        "PATH": "/usr/bin:/bin",
        "ANTHROPIC_API_KEY": "sk-ant-api03-of-the-user",
        "GIT_AUTHOR_NAME": "Somebody",
    }


def root(environ: Mapping[str, str]) -> Path:
    return paths_from(environ).cache / "demo"


async def test_the_stage_is_empty_and_private_when_it_is_given(environ: Mapping[str, str]) -> None:
    async with scene.held(environ, silent) as stage:
        assert stage == Stage(root(environ), environ)
        assert list(stage.root.iterdir()) == []
        assert stage.root.stat().st_mode & 0o777 == 0o700


async def test_two_demos_do_not_share_a_stage(environ: Mapping[str, str]) -> None:
    async with scene.held(environ, silent):
        with pytest.raises(HostError, match="another demo of this user is under way"):
            async with scene.held(environ, silent):
                pytest.fail("two demos at once")


def test_an_offline_demo_has_nothing_of_the_users_but_the_cache(
    environ: Mapping[str, str],
) -> None:
    stage = Stage(root(environ), environ)
    runtime = stage.offline({"ANTHROPIC_API_KEY": "made up"})
    home = stage.root / "home"
    assert runtime.environ == {
        "PATH": "/usr/bin:/bin",
        "HOME": str(home),
        "XDG_CONFIG_HOME": str(home / "config"),
        "XDG_DATA_HOME": str(home / "data"),
        "XDG_CACHE_HOME": str(paths_from(environ).cache.parent),
        "CLAUDE_CONFIG_DIR": str(home / "claude"),
        "ANTHROPIC_API_KEY": "made up",
    }
    assert runtime.cwd == stage.repository
    assert runtime.paths.cache == paths_from(environ).cache
    assert home in runtime.paths.data.parents


def test_an_online_demo_has_all_that_the_user_has(environ: Mapping[str, str]) -> None:
    stage = Stage(root(environ), environ)
    assert stage.online().environ == environ
    assert stage.online().cwd == stage.repository


@pytest.mark.live
async def test_the_scratch_repository_is_the_same_whatever_the_users_git_is_told(
    environ: Mapping[str, str], own_home: Path
) -> None:
    (own_home / ".gitconfig").write_text("[commit]\n\tgpgsign = true\n[user]\n\tname = Other\n")
    async with scene.held(environ, silent) as stage:
        await scene.furnish(stage, paths_from(environ))
        place = stage.repository
        assert git(place, "log", "--format=%an %s") == "tachikoma demo First commit"
        assert git(place, "branch", "--show-current") == "main"
        assert git(place, "status", "--porcelain") == ""


@pytest.mark.live
async def test_the_home_of_a_demo_shares_the_images_and_has_settings_of_its_own(
    environ: Mapping[str, str],
) -> None:
    async with scene.held(environ, silent) as stage:
        await scene.furnish(stage, paths_from(environ))
        runtime = stage.offline({})
        assert (runtime.paths.data / "images").resolve() == paths_from(environ).data / "images"
        settings = load(
            global_file=runtime.paths.config / "config.toml", repository=None, home=stage.home
        ).settings
        assert (settings.hypervisor, settings.vm_cpus, settings.vm_memory) == ("auto", 2, 2048)
        assert settings.credential_proxy_port != 19280


@pytest.mark.live
async def test_what_a_killed_demo_left_is_removed_and_nothing_else(
    environ: Mapping[str, str], own_home: Path
) -> None:
    async with scene.held(environ, silent) as left:
        await scene.furnish(left, paths_from(environ))
        runtime = left.online()
        await runtime.load_settings()
        await runtime.orchestrator.spawn(SpawnRequest(left.repository, BRANCH), silent)
        own = new_repository(own_home / "own")
        kept = await runtime.orchestrator.spawn(SpawnRequest(own), silent)
    said: list[Event] = []
    async with scene.held(environ, said.append) as stage:
        assert said[0] == Notice("a demo was broken off: removing what it left")
        assert list(stage.root.iterdir()) == []
    runtime = stage.online()
    await runtime.load_settings()
    survey = await runtime.orchestrator.survey(SurveyRequest(), silent)
    assert [vm.name for vm in survey.vms] == [kept.name]
    assert git(own, "status", "--porcelain") == ""


@pytest.mark.live
async def test_striking_a_stage_twice_is_striking_it_once(environ: Mapping[str, str]) -> None:
    async with scene.held(environ, silent) as stage:
        await scene.furnish(stage, paths_from(environ))
        for _ in range(2):
            await scene.strike(stage, silent)
            assert not stage.root.exists()
        assert (paths_from(environ).data / "images").is_dir()
