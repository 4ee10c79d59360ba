from __future__ import annotations

import json
from pathlib import Path

import pytest

from tachikoma.host.clock import FakeClock
from tachikoma.hypervisor.qemu.images_store import DISK, INITRD, KERNEL, ImageStore, seal
from tachikoma.model.errors import ImageError
from tachikoma.model.vm import ImageInfo


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return tmp_path / "my data"


@pytest.fixture
def store(data: Path) -> ImageStore:
    (data / "images").mkdir(parents=True, mode=0o700)
    return ImageStore(data=data, clock=FakeClock())


def publish(store: ImageStore, name: str, disk: bytes) -> ImageInfo:
    directory = store.new_directory()
    for part, content in ((DISK, disk), (KERNEL, b"kernel"), (INITRD, b"initrd")):
        (directory / part).write_bytes(content)
    about = {"created": 5.0, "digest": seal(directory), "contents": {"git": "2.39"}}
    return store.publish(name, directory, about)


def stand_on(data: Path, vm: str, info: ImageInfo) -> None:
    base = (data / "images" / info.name).resolve()
    (data / "vms" / vm).mkdir(parents=True)
    (data / "vms" / vm / "machine.json").write_text(json.dumps({"base": str(base)}))


def entries(data: Path) -> list[str]:
    return sorted(path.name for path in (data / "images" / ".store").iterdir())


def digest_of(info: ImageInfo) -> str:
    return info.digest.removeprefix("sha256:")


def test_a_published_image_is_found_by_its_name(store: ImageStore, data: Path) -> None:
    info = publish(store, "debian", b"disk")
    assert info == ImageInfo("debian", info.size_bytes, 5.0, info.digest, {"git": "2.39"})
    assert info.size_bytes > 0
    assert store.find("debian") == info
    assert store.all() == [info]
    base = (data / "images" / "debian").resolve()
    assert base == data.resolve() / "images" / ".store" / digest_of(info)
    assert json.loads((base / "image.json").read_text())["digest"] == info.digest
    assert store.leftovers() == []


def test_the_digest_tells_contents_apart(store: ImageStore) -> None:
    assert publish(store, "a", b"one").digest == publish(store, "b", b"one").digest
    assert publish(store, "a", b"two").digest != publish(store, "b", b"one").digest


def test_without_images_the_list_is_empty(tmp_path: Path) -> None:
    store = ImageStore(data=tmp_path / "none", clock=FakeClock())
    assert store.all() == []
    assert store.find("debian") is None
    store.collect()


@pytest.mark.parametrize("name", ["", ".store", "../vms", "a/b", "-x", "Ä", "a" * 64])
def test_a_name_that_could_be_a_path_is_refused(store: ImageStore, name: str) -> None:
    with pytest.raises(ImageError, match="is no name for an image"):
        store.find(name)


def test_what_is_no_image_is_not_listed(store: ImageStore, data: Path) -> None:
    info = publish(store, "whole", b"disk")
    (data / "images" / "dangling").symlink_to(".store/gone")
    (data / "images" / "empty").mkdir()
    (data / "images" / "broken").mkdir()
    (data / "images" / "broken" / "image.json").write_text("{")
    store.new_directory()
    assert store.all() == [info]


def test_a_replaced_image_goes_when_no_vm_stands_on_it(store: ImageStore, data: Path) -> None:
    old = publish(store, "debian", b"old")
    new = publish(store, "debian", b"new")
    assert entries(data) == sorted([digest_of(old), digest_of(new)])
    store.collect()
    assert entries(data) == [digest_of(new)]
    assert store.find("debian") == new


def test_a_replaced_image_stays_while_a_vm_stands_on_it(store: ImageStore, data: Path) -> None:
    old = publish(store, "debian", b"old")
    stand_on(data, "tachikoma-app-main", old)
    publish(store, "debian", b"new")
    store.collect()
    assert digest_of(old) in entries(data)
    assert store.users(old.digest) == ["tachikoma-app-main"]
    (data / "vms" / "tachikoma-app-main" / "machine.json").unlink()
    store.collect()
    assert digest_of(old) not in entries(data)


def test_an_image_under_two_names_stays_until_both_are_gone(store: ImageStore, data: Path) -> None:
    info = publish(store, "a", b"disk")
    publish(store, "b", b"disk")
    store.unlink("a")
    store.collect()
    assert [found.name for found in store.all()] == ["b"]
    store.unlink("b")
    store.collect()
    assert entries(data) == []
    assert not (data / "images" / ".store" / digest_of(info)).exists()


async def test_only_one_changes_images_at_a_time(store: ImageStore) -> None:
    said: list[str] = []

    def waiting() -> None:
        said.append("waiting")

    async with store.locked(deadline_s=1, waiting=waiting):
        assert said == []
        with pytest.raises(ImageError, match="another command"):
            async with store.locked(deadline_s=5, waiting=waiting):
                raise AssertionError("two hold the lock")
    assert said == ["waiting"]
    async with store.locked(deadline_s=1, waiting=waiting):
        assert said == ["waiting"]
