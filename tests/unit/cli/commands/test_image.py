from __future__ import annotations

from tests.unit.cli.stand import CommandLine


def test_the_images_are_listed_with_their_contents(line: CommandLine) -> None:
    assert line("image", "list").out == (
        "NAME          SIZE  BUILT  CONTENTS\nsynthetic  1.0 MiB  now    engine synthetic\n"
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
