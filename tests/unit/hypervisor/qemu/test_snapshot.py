from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tachikoma.hypervisor.qemu.snapshot import Saved, Snapshots, extents, save_memory
from tachikoma.model.errors import HostError

KEY = "0123abcd"
GRAIN = 1 << 14
BLOCK = 4096
SIZE = 1 << 20


def write(saved: Saved, *, disk: bool = True) -> Saved:
    """Write what a saved machine consists of, not sealed yet."""
    saved.path.mkdir(parents=True)
    with saved.memory.open("wb") as file:
        file.truncate(SIZE)
        file.seek(SIZE // 2)
        file.write(b"memory")
    saved.state.write_bytes(b"state of the devices")
    if disk:
        saved.disk.write_bytes(b"disk")
    return saved


@pytest.fixture
def saved(tmp_path: Path) -> Saved:
    made = write(Saved(tmp_path / "saved"))
    made.seal(KEY)
    return made


@pytest.fixture
def snapshots(tmp_path: Path) -> Snapshots:
    made = Snapshots(tmp_path / "image")
    made.path.mkdir(parents=True)
    return made


def publish(snapshots: Snapshots, key: str = KEY, *, age_s: int = 0) -> Saved:
    made = snapshots.publish(write(Saved(snapshots.path / ".made")).path, key)
    os.utime(made.path, (1_700_000_000 - age_s,) * 2)
    return made


def test_what_was_sealed_is_whole_for_its_key_alone(saved: Saved) -> None:
    assert saved.whole(KEY)
    assert not saved.whole("another key")


def test_it_is_no_snapshot_before_it_is_sealed(tmp_path: Path) -> None:
    assert not Saved(tmp_path / "absent").whole(KEY)
    assert not write(Saved(tmp_path / "made")).whole(KEY)


def cut_memory(saved: Saved) -> None:
    os.truncate(saved.memory, SIZE - BLOCK)


def write_to_memory(saved: Saved) -> None:
    with saved.memory.open("r+b") as file:
        file.seek(SIZE // 2)
        file.write(b"nemory")


def punch_memory(saved: Saved) -> None:
    """What a file system check may leave: a hole, with the times of before."""
    seen = saved.memory.stat()
    saved.memory.write_bytes(b"")
    os.truncate(saved.memory, SIZE)
    os.utime(saved.memory, ns=(seen.st_atime_ns, seen.st_mtime_ns))


def lose_memory(saved: Saved) -> None:
    saved.memory.unlink()


def change_state(saved: Saved) -> None:
    """Change it in a way that neither size nor time tells."""
    seen = saved.state.stat()
    saved.state.write_bytes(b"state of the devils?")
    os.utime(saved.state, ns=(seen.st_atime_ns, seen.st_mtime_ns))


def lose_state(saved: Saved) -> None:
    saved.state.unlink()


def lose_disk(saved: Saved) -> None:
    saved.disk.unlink()


def change_disk(saved: Saved) -> None:
    saved.disk.write_bytes(b"disk, written to by somebody")


def break_about(saved: Saved) -> None:
    saved.about.write_text('{"version": 1, "key"')


def empty_about(saved: Saved) -> None:
    saved.about.write_text("[]")


def come_from_the_future(saved: Saved) -> None:
    about = json.loads(saved.about.read_bytes())
    saved.about.write_text(json.dumps(about | {"version": 2}))


@pytest.mark.parametrize(
    "harm",
    [
        cut_memory,
        write_to_memory,
        punch_memory,
        lose_memory,
        change_state,
        lose_state,
        lose_disk,
        change_disk,
        break_about,
        empty_about,
        come_from_the_future,
        Saved.spend,
        Saved.remove,
    ],
)
def test_what_was_changed_in_any_way_is_no_snapshot_any_more(
    saved: Saved, harm: Callable[[Saved], None]
) -> None:
    harm(saved)
    assert not saved.whole(KEY)


def test_a_suspended_vm_has_no_disk_of_its_own_here(tmp_path: Path) -> None:
    made = write(Saved(tmp_path / "saved"), disk=False)
    made.seal(KEY)
    assert made.whole(KEY)
    made.disk.write_bytes(b"whose is this?")
    assert not made.whole(KEY)


def test_spending_and_removing_take_what_is_there_or_nothing(saved: Saved) -> None:
    for _ in range(2):
        saved.spend()
        assert saved.memory.exists()
        assert not saved.about.exists()
    for _ in range(2):
        saved.remove()
        assert not saved.path.exists()


def test_its_size_is_what_it_takes_and_not_what_it_spans(saved: Saved) -> None:
    assert 0 < saved.size_bytes < SIZE // 2


def test_an_image_without_snapshots_has_none(tmp_path: Path) -> None:
    snapshots = Snapshots(tmp_path / "image")
    assert (snapshots.find(KEY), snapshots.all(), snapshots.size_bytes) == (None, [], 0)


def test_a_published_snapshot_is_found_by_its_key(snapshots: Snapshots) -> None:
    made = publish(snapshots)
    assert snapshots.find(KEY) == made
    assert snapshots.find("another") is None
    assert snapshots.all() == [made]
    assert snapshots.size_bytes == made.size_bytes > 0
    assert not (snapshots.path / ".made").exists()


def test_a_snapshot_takes_the_place_of_a_broken_one(snapshots: Snapshots) -> None:
    other = publish(snapshots, "another")
    cut_memory(publish(snapshots))
    assert snapshots.find(KEY) is None
    made = publish(snapshots)
    assert snapshots.find(KEY) == made
    assert sorted(path.name for path in snapshots.path.iterdir()) == sorted(
        saved.path.name for saved in (made, other)
    )


def test_what_is_being_made_is_no_snapshot(snapshots: Snapshots) -> None:
    (snapshots.path / ".making").mkdir()
    assert snapshots.all() == []


def test_a_discarded_snapshot_is_gone(snapshots: Snapshots) -> None:
    snapshots.discard(publish(snapshots), used=[])
    assert list(snapshots.path.iterdir()) == []


def test_the_disk_of_a_discarded_snapshot_stays_while_vms_stand_on_it(
    snapshots: Snapshots,
) -> None:
    made = publish(snapshots)
    for _ in range(2):
        snapshots.discard(made, used=[made.path])
        assert snapshots.find(KEY) is None
        assert [path.name for path in made.path.iterdir()] == ["disk.qcow2"]


def test_a_new_snapshot_leaves_the_disk_of_vms_that_stand_on_the_broken_one(
    snapshots: Snapshots,
) -> None:
    made = publish(snapshots)
    disk = made.disk.read_bytes()
    snapshots.discard(made, used=[made.path])
    write(Saved(snapshots.path / ".made")).disk.write_bytes(b"another disk")
    new = snapshots.publish(snapshots.path / ".made", KEY, used=[made.path])
    assert snapshots.find(KEY) == new
    assert made.disk.read_bytes() == disk
    assert new.disk.read_bytes() == b"another disk"


def test_the_newest_few_are_kept_and_the_disks_that_are_in_use(snapshots: Snapshots) -> None:
    made = [publish(snapshots, f"k{age}", age_s=age) for age in range(6)]
    used = made[4].path
    snapshots.thin_out(used=[used])
    assert [snapshots.find(f"k{age}") for age in range(6)] == [*made[:3], None, None, None]
    assert set(snapshots.path.iterdir()) == {made[age].path for age in (0, 1, 2, 4)}
    assert [path.name for path in used.iterdir()] == ["disk.qcow2"]


@given(
    st.lists(
        st.tuples(
            st.integers(0, 3 * GRAIN // 512),
            st.sampled_from([b"", b"\1", b"\0" * GRAIN, b"x" * GRAIN, b"\0" * 99 + b"y" * BLOCK]),
        ),
        max_size=6,
    ),
    st.integers(0, 5),
)
def test_memory_is_copied_exactly_and_zeros_take_no_space(
    pieces: list[tuple[int, bytes]], tail: int
) -> None:
    content = bytearray(b"".join(b"\0" * (gap * 512) + data for gap, data in pieces) + b"\0" * tail)
    with_holes = Path("/dev/shm") if Path("/dev/shm").is_dir() else Path("/tmp")
    source, into = (with_holes / f"tk-{os.getpid()}-{name}" for name in ("source", "into"))
    try:
        source.write_bytes(content)
        into.unlink(missing_ok=True)
        save_memory(source, into)
        assert into.read_bytes() == content
        grains = sum(any(content[at : at + GRAIN]) for at in range(0, len(content), GRAIN))
        assert into.stat().st_blocks * 512 <= grains * GRAIN
        assert into.stat().st_mode & 0o777 == 0o600
    finally:
        source.unlink(missing_ok=True)
        into.unlink(missing_ok=True)


def test_memory_larger_than_what_is_read_at_once_is_copied_exactly(tmp_path: Path) -> None:
    content = os.urandom((2 << 20) + 777) + bytes(1 << 20) + b"end"
    (tmp_path / "source").write_bytes(content)
    save_memory(tmp_path / "source", tmp_path / "into")
    assert (tmp_path / "into").read_bytes() == content


def test_memory_is_never_written_over_what_is_there(tmp_path: Path) -> None:
    (tmp_path / "source").write_bytes(b"new")
    (tmp_path / "into").write_bytes(b"old")
    with pytest.raises(HostError):
        save_memory(tmp_path / "source", tmp_path / "into")
    assert (tmp_path / "into").read_bytes() == b"old"


def test_the_data_of_a_sparse_file_is_found_between_its_holes(tmp_path: Path) -> None:
    with (tmp_path / "sparse").open("w+b") as file:
        file.truncate(1 << 20)
        for start in (1 << 16, 1 << 18):
            file.seek(start)
            file.write(b"x" * BLOCK)
        file.flush()
        found = list(extents(file.fileno(), 1 << 20))
        assert found in (
            [(1 << 16, (1 << 16) + BLOCK), (1 << 18, (1 << 18) + BLOCK)],
            [(0, 1 << 20)],
        )
        assert list(extents(file.fileno(), 0)) == []
