from __future__ import annotations

import io
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tachikoma.model.errors import CopyError
from tachikoma.ssh.landing import Landing

Members = list[tuple[tarfile.TarInfo, bytes]]


def member(name: str, kind: bytes = tarfile.REGTYPE, data: bytes = b"", **more: object) -> Members:
    info = tarfile.TarInfo(name)
    info.type, info.size, info.mode, info.mtime = kind, len(data), 0o640, 1_600_000_000
    for key, value in more.items():
        setattr(info, key, value)
    return [(info, data)]


def land(place: Path, *members: Members, name: str = "x") -> Landing:
    with Landing(place, name) as landing:
        for info, data in (each for one in members for each in one):
            landing.take(info, io.BytesIO(data) if info.isreg() else None)
    return landing


@pytest.fixture
def place(tmp_path: Path) -> Path:
    (tmp_path / "place").mkdir()
    (tmp_path / "outside").mkdir()
    return tmp_path / "place"


def outside(place: Path) -> list[Path]:
    return list((place.parent / "outside").iterdir())


def test_a_tree_comes_down_with_its_modes_and_times(place: Path) -> None:
    landed = land(
        place,
        member("guest", tarfile.DIRTYPE, mode=0o550),
        member("guest/run", data=b"#!", mode=0o755),
        member("guest/link", tarfile.SYMTYPE, linkname="run"),
        member("guest/pipe", tarfile.FIFOTYPE),
    )
    made = place / "x"
    assert made.stat().st_mode & 0o7777 == 0o550
    assert (made / "run").stat().st_mode & 0o7777 == 0o755
    assert (made / "run").stat().st_mtime == made.stat().st_mtime == 1_600_000_000
    assert ((made / "run").read_bytes(), (made / "link").readlink()) == (b"#!", Path("run"))
    assert (landed.copied.files, landed.copied.size) == (2, 2)
    assert landed.copied.skipped == ["guest/pipe"]


def test_set_user_id_is_not_taken_from_a_guest(place: Path) -> None:
    land(place, member("guest", mode=0o6755))
    assert (place / "x").stat().st_mode & 0o7777 == 0o755


def test_a_file_that_is_there_is_replaced_and_not_written_through_a_link(place: Path) -> None:
    victim = place.parent / "outside" / "victim"
    victim.write_text("mine")
    (place / "x").symlink_to(victim)
    land(place, member("guest", data=b"theirs"))
    assert (victim.read_text(), (place / "x").read_text()) == ("mine", "theirs")
    assert not (place / "x").is_symlink()


@pytest.mark.parametrize(
    "name", ["../x", "guest/../../x", "/etc/x", "guest//x", "guest/./x", "", "guest/.."]
)
def test_a_name_that_leads_outside_is_refused(place: Path, name: str) -> None:
    with pytest.raises(CopyError, match="leads outside"):
        land(place, member("guest", tarfile.DIRTYPE), member(name, data=b"!"))
    assert not outside(place)


def test_nothing_is_made_below_a_link_that_the_guest_sent_before(place: Path) -> None:
    away = str(place.parent / "outside")
    with pytest.raises(CopyError):
        land(
            place,
            member("guest", tarfile.DIRTYPE),
            member("guest/way", tarfile.SYMTYPE, linkname=away),
            member("guest/way/out", data=b"!"),
        )
    with pytest.raises(CopyError):
        land(
            place,
            member("guest", tarfile.DIRTYPE),
            member("guest/way", tarfile.SYMTYPE, linkname=away),
            member("guest/way", tarfile.DIRTYPE),
        )
    assert not outside(place)


def test_a_directory_of_the_users_that_is_a_link_is_not_entered(place: Path) -> None:
    (place / "x").symlink_to(place.parent / "outside")
    with pytest.raises(CopyError):
        land(place, member("guest", tarfile.DIRTYPE), member("guest/a", data=b"!"))
    assert not outside(place)


def test_a_file_in_the_place_of_a_directory_is_told(place: Path) -> None:
    (place / "x").mkdir()
    with pytest.raises(CopyError, match="Is a directory"):
        land(place, member("guest", data=b"!"))
    assert [path.name for path in place.iterdir()] == ["x"]


NAMES = st.lists(
    st.sampled_from(["guest", "a", "b", "..", ".", "", "way"]), min_size=1, max_size=4
).map("/".join)
KINDS: dict[bytes, Callable[[str], Members]] = {
    tarfile.DIRTYPE: lambda name: member(name, tarfile.DIRTYPE, mode=0o755),
    tarfile.REGTYPE: lambda name: member(name, data=b"!"),
    tarfile.SYMTYPE: lambda name: member(name, tarfile.SYMTYPE, linkname="../../outside"),
}


@given(sent=st.lists(st.tuples(NAMES, st.sampled_from(sorted(KINDS))), max_size=6))
def test_whatever_a_guest_sends_nothing_comes_down_elsewhere(
    tmp_path_factory: pytest.TempPathFactory, sent: list[tuple[str, bytes]]
) -> None:
    base = tmp_path_factory.mktemp("landing")
    place = base / "place"
    for path in (place, base / "outside"):
        path.mkdir()
    try:
        land(place, *(KINDS[kind](name) for name, kind in sent))
    except CopyError as error:
        assert error.hint  # noqa: PT017 - whether it is raised is not the point
    assert {path.name for path in base.iterdir()} == {"place", "outside"}
    assert not outside(place)
    assert {path.name for path in place.iterdir()} <= {"x"}
