from __future__ import annotations

import logging
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tachikoma.host.files import translated
from tachikoma.makima.autoclone import clone_missing
from tachikoma.makima.settings import AutoClone, ReposSettings
from tachikoma.model.errors import GitError


@dataclass(slots=True)
class Clones:
    """Clones by making a directory with one file; what is in ``broken`` fails."""

    broken: set[str] = field(default_factory=set)
    asked: list[tuple[str, str | None, bool]] = field(default_factory=list)

    async def __call__(self, url: str, target: Path, *, branch: str | None, shallow: bool) -> None:
        self.asked.append((url, branch, shallow))
        if url in self.broken:
            raise GitError(f"{url} is not there", hint="look at it")
        with translated(target):
            target.mkdir(parents=True, exist_ok=True)
        (target / "file").touch()


def settings(home: Path, *names: str) -> ReposSettings:
    clones = tuple(AutoClone(url=f"https://h/{name}", name=name) for name in names)
    return ReposSettings(home_dir=home, auto_clone=clones)


def names(home: Path) -> list[str]:
    return sorted(each.name for each in home.iterdir())


async def test_what_is_missing_is_cloned_with_its_branch_and_depth(tmp_path: Path) -> None:
    home, clone = tmp_path / "a" / "home", Clones()
    wanted = (
        AutoClone(url="https://h/one", name="one"),
        AutoClone(url="https://h/two", name="second", branch="dev", shallow=True),
    )
    await clone_missing(ReposSettings(home_dir=home, auto_clone=wanted), clone)
    assert clone.asked == [("https://h/one", None, False), ("https://h/two", "dev", True)]
    assert names(home) == ["one", "second"]


async def test_what_is_there_is_left_alone_but_an_empty_directory(tmp_path: Path) -> None:
    (tmp_path / "one").mkdir()
    (tmp_path / "one" / "mine").touch()
    (tmp_path / "two").mkdir()
    (tmp_path / "three").symlink_to("/nowhere")
    (tmp_path / "four").touch()
    clone = Clones()
    await clone_missing(settings(tmp_path, "one", "two", "three", "four"), clone)
    assert [url for url, _, _ in clone.asked] == ["https://h/two"]
    assert names(tmp_path / "one") == ["mine"]


async def test_one_that_fails_is_told_and_does_not_stop_the_others(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    clone = Clones(broken={"https://h/one"})
    with caplog.at_level(logging.INFO):
        await clone_missing(settings(tmp_path, "one", "two"), clone)
    assert names(tmp_path) == ["two"]
    assert "https://h/one was not cloned: https://h/one is not there" in caplog.messages


async def test_a_home_that_is_no_place_to_put_anything_is_told(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "loop").symlink_to("loop")
    await clone_missing(settings(tmp_path / "loop", "one"), Clones())
    (message,) = [each for each in caplog.messages if "was not cloned" in each]
    assert message.startswith("https://h/one was not cloned: ")
