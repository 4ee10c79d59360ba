from __future__ import annotations

import pytest

from tachikoma.model.errors import DiskFullError, HypervisorError, TachikomaError
from tachikoma.model.events import Report
from tachikoma.model.settings import Settings
from tests.unit.cli.stand import CommandLine


def test_the_images_are_listed_with_their_contents(line: CommandLine) -> None:
    assert line("image", "list").out == (
        "NAME          SIZE  SNAPSHOT  BUILT  CONTENTS\n"
        "synthetic  1.0 MiB         -  now    engine synthetic\n"
    )


def test_no_images_is_said_with_what_makes_one(line: CommandLine) -> None:
    line("image", "delete", "synthetic", "--yes")
    ran = line("image", "list")
    assert (ran.status, ran.out) == (0, "")
    assert ran.err.startswith("no images yet; `tachikoma image build` makes one")


def test_build_makes_the_image_that_spawn_uses_unless_another_is_named(line: CommandLine) -> None:
    line("image", "delete", "synthetic", "--yes")
    assert line("image", "build", "--json").data["name"] == "synthetic"
    assert line("image", "build", "other", "--json").data["name"] == "other"
    names = [one["name"] for one in line("image", "list", "--json").data["images"]]
    assert names == ["other", "synthetic"]


def test_warm_is_told_with_the_size_of_the_snapshots(line: CommandLine) -> None:
    asked = _asked_to_warm(line)
    ran = line("image", "warm")
    assert (ran.status, ran.out) == (0, "synthetic  snapshots of 0\n")
    assert asked == [("synthetic", Settings().vm_cpus, Settings().vm_memory)]


def test_an_image_that_is_not_there_cannot_be_warmed(line: CommandLine) -> None:
    ran = line("image", "warm", "nope", "--json")
    assert (ran.status, ran.error["code"]) == (1, "image.not_found")


def test_build_ends_with_the_snapshot_unless_the_settings_do_without(line: CommandLine) -> None:
    asked = _asked_to_warm(line)
    line("image", "build")
    assert [name for name, *_ in asked] == ["synthetic"]
    config = line.home / ".config/tachikoma/config.toml"
    config.parent.mkdir(parents=True)
    config.write_text("instant_spawn = false\n")
    line("image", "build")
    assert len(asked) == 1


@pytest.mark.parametrize("error", [HypervisorError("no golden machine"), DiskFullError("full")])
def test_an_image_without_a_snapshot_is_built_all_the_same(
    line: CommandLine, error: TachikomaError
) -> None:
    line.engine.fail_next("warm", error)
    ran = line("image", "build")
    assert ran.status == 0
    assert ran.out.startswith("synthetic  1.0 MiB")
    assert f"new VMs start by booting: {error.message}" in ran.err


def _asked_to_warm(line: CommandLine) -> list[tuple[str, int, int]]:
    """Note what the engine of ``line`` is asked to warm from now on."""
    asked: list[tuple[str, int, int]] = []
    warm = line.engine.warm

    async def listening(image: str, *, cpus: int, memory_mib: int, report: Report) -> None:
        asked.append((image, cpus, memory_mib))
        await warm(image, cpus=cpus, memory_mib=memory_mib, report=report)

    line.engine.warm = listening  # type: ignore[method-assign]  # to see what it is told
    return asked


def test_an_image_that_vms_stand_on_stays(line: CommandLine) -> None:
    line("spawn")
    ran = line("image", "delete", "synthetic", "--yes", "--json")
    assert ran.status == 1
    assert ran.error["code"] == "image.in_use"


def test_an_image_that_does_not_exist_is_told_before_vms_are(line: CommandLine) -> None:
    assert line("image", "delete", "nope", "--yes", "--json").error["code"] == "image.not_found"


def test_delete_asks_on_a_terminal_and_refuses_without_one(line: CommandLine) -> None:
    assert line("image", "delete", "synthetic").status == 2
    line.answer = "n\n"
    assert line("image", "delete", "synthetic", tty=True).status == 1
    line.answer = "yes\n"
    assert line("image", "delete", "synthetic", tty=True).out == "synthetic deleted\n"


def test_pull_fetches_the_image_that_spawn_uses_unless_another_is_named(line: CommandLine) -> None:
    assert line("image", "pull", "--json").data["name"] == "synthetic"
    assert line("image", "pull", "other").out == "other  1.0 MiB\n"


def test_push_sends_an_image_to_where_it_is_told(line: CommandLine) -> None:
    ran = line("image", "push", "synthetic", "ghcr.io/me/image:1")
    assert (ran.status, ran.out) == (0, "synthetic is at ghcr.io/me/image:1\n")
    assert line("image", "push", "synthetic", "ghcr.io/me/image:1", "--json").data == {
        "name": "synthetic",
        "target": "ghcr.io/me/image:1",
    }
    assert line("image", "push", "nope", "h/x:1", "--json").error["code"] == "image.not_found"
    assert line("image", "push", "synthetic").status == 2
