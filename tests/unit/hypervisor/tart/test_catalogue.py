from __future__ import annotations

import pytest

from tachikoma.hypervisor.tart.catalogue import called, is_reference, reference, source_of
from tachikoma.hypervisor.tart.output import Entry
from tachikoma.model.errors import ImageError
from tachikoma.model.vm import VmState

UBUNTU = "ghcr.io/cirruslabs/ubuntu:latest"


def entry(name: str) -> Entry:
    return Entry(name, "/" in name, 1, 0.0, VmState.STOPPED)


@pytest.mark.parametrize(
    ("name", "full"),
    [
        ("ubuntu", UBUNTU),
        ("ghcr.io/cirruslabs/ubuntu", UBUNTU),
        ("localhost:5000/a/b:1.2", "localhost:5000/a/b:1.2"),
        ("h/a@sha256:ab12", "h/a@sha256:ab12"),
    ],
)
def test_a_name_stands_for_one_image_in_one_registry(name: str, full: str) -> None:
    assert reference(name) == full
    assert is_reference(name)


@pytest.mark.parametrize("name", ["", "my-image", "/a", "h/", "h/a b", "--help", "h/a:", "h/../b"])
def test_what_is_no_reference_is_refused_with_how_to_write_one(name: str) -> None:
    assert not is_reference(name)
    with pytest.raises(ImageError) as refused:
        reference(name)
    assert "HOST/PATH:TAG" in refused.value.hint


def test_a_local_vm_comes_before_an_image_of_that_name() -> None:
    assert source_of("ubuntu", [entry(UBUNTU)]) == UBUNTU
    assert source_of("ubuntu", [entry("ubuntu"), entry(UBUNTU)]) == "ubuntu"
    assert source_of("ghcr.io/cirruslabs/ubuntu", [entry("ubuntu"), entry(UBUNTU)]) == UBUNTU
    assert source_of("ubuntu", []) is None
    assert source_of("mine", [entry(UBUNTU)]) is None


def test_the_vm_of_a_branch_is_no_image() -> None:
    assert source_of("tachikoma-app-main", [entry("tachikoma-app-main")]) is None


def test_an_image_is_called_by_its_short_name_where_that_is_free() -> None:
    image, local, other = entry(UBUNTU), entry("ubuntu"), entry("h/a:1")
    assert called(image, [image]) == "ubuntu"
    assert called(image, [image, local]) == UBUNTU
    assert [called(each, [image, local, other]) for each in (local, other)] == ["ubuntu", "h/a:1"]
