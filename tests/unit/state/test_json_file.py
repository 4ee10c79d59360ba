from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tachikoma.host.clock import FakeClock
from tachikoma.host.files import locked
from tachikoma.model.errors import HostError, StateCorruptError, StateTooNewError
from tachikoma.model.names import VmName, vm_name
from tachikoma.state.json_file import JsonFileStore, decode, encode
from tachikoma.state.port import Ledger, VmRecord


def store_at(directory: Path) -> JsonFileStore:
    return JsonFileStore(
        file=directory / "state.json", locks=directory / "locks", clock=FakeClock()
    )


def record(branch: str = "main", **others: object) -> VmRecord:
    fields: dict[str, object] = {
        "name": vm_name("repo", branch),
        "repository": Path("/src/repo/.git"),
        "repository_name": "repo",
        "branch": branch,
        "worktree": Path("/src") / branch,
        "engine": "synthetic",
        "image": "synthetic",
        "created": 1.0,
        "last_used": 2.0,
    }
    return VmRecord(**{**fields, **others})  # type: ignore[arg-type]  # one name a field


TEXT = st.text(st.characters(exclude_characters="\0"), min_size=1)
PATHS = TEXT.map(lambda text: Path("/" + text))


@given(
    st.builds(
        record,
        branch=TEXT,
        repository=PATHS,
        worktree=PATHS,
        created=st.floats(allow_nan=False, allow_infinity=False),
        token_hashes=st.lists(st.from_regex("[0-9a-f]{64}", fullmatch=True)).map(tuple),
        mounts=st.lists(st.tuples(TEXT, PATHS)).map(tuple),
        remote=TEXT,
    )
)
def test_any_record_survives_the_file(each: VmRecord) -> None:
    assert decode(encode(Ledger({each.name: each}))) == Ledger({each.name: each})


def test_paths_that_are_not_utf8_survive_the_file() -> None:
    odd = record(worktree=Path("/src/caf\udce9"))
    raw = encode(Ledger({odd.name: odd}))
    assert raw.isascii()
    assert decode(raw).vms[odd.name].worktree == Path("/src/caf\udce9")


def test_the_file_names_its_version_and_is_the_users_alone(tmp_path: Path) -> None:
    with store_at(tmp_path / "config").edit() as ledger:
        ledger.put(record())
    file = tmp_path / "config" / "state.json"
    assert json.loads(file.read_text())["version"] == 1
    assert file.stat().st_mode & 0o777 == 0o600
    assert file.parent.stat().st_mode & 0o777 == 0o700


def test_reading_needs_no_lock_and_makes_no_file(tmp_path: Path) -> None:
    store = store_at(tmp_path)
    assert store.read() == Ledger()
    assert list(tmp_path.iterdir()) == []
    with store.edit() as ledger:
        ledger.put(record())
    with locked(tmp_path / "state.json.lock", deadline_s=0):
        assert list(store.read().vms) == [record().name]


def test_an_edit_that_changes_nothing_leaves_the_very_same_file(tmp_path: Path) -> None:
    store = store_at(tmp_path)
    with store.edit() as ledger:
        ledger.put(record())
    before = (tmp_path / "state.json").stat()
    with store.edit() as ledger:
        ledger.put(record())
        ledger.drop(VmName("tachikoma-of-nobody"))
    after = (tmp_path / "state.json").stat()
    assert (after.st_ino, after.st_mtime_ns) == (before.st_ino, before.st_mtime_ns)


def test_what_a_killed_writer_left_is_swept_away(tmp_path: Path) -> None:
    (tmp_path / ".state.json.0badcafe.tmp").write_text("half")
    with store_at(tmp_path).edit() as ledger:
        ledger.put(record())
    assert sorted(each.name for each in tmp_path.iterdir()) == ["state.json", "state.json.lock"]


GOOD = json.loads(encode(Ledger({record().name: record()})))
NAME = record().name
DAMAGED = {
    "empty": b"",
    "cut short": b'{"version": 1, "vm',
    "no JSON": b"hello",
    "no UTF-8": b'{"version": 1, "vms": {"\xff": {}}}',
    "a list": b"[]",
    "no version": b'{"vms": {}}',
    "no vms": b'{"version": 1}',
    "vms a list": b'{"version": 1, "vms": []}',
    "too deep": b"[" * 200_000,
    "name of a path": json.dumps({"version": 1, "vms": {"../x": GOOD["vms"][NAME]}}).encode(),
    "a number too long": b'{"version": 1' + b"0" * 5000 + b"}",
}
DAMAGED |= {
    f"{key} is {bad!r}": json.dumps(
        {"version": 1, "vms": {NAME: {**GOOD["vms"][NAME], key: bad}}}
    ).encode()
    for key, bad in {
        "repository": 7,
        "branch": None,
        "worktree": ["x"],
        "created": "yesterday",
        "last_used": True,
        "token_hashes": "ab",
        "mounts": [["tag"]],
    }.items()
}


@pytest.mark.parametrize("raw", DAMAGED.values(), ids=DAMAGED.keys())
def test_a_damaged_file_is_refused_with_a_hint_and_left_alone(tmp_path: Path, raw: bytes) -> None:
    file = tmp_path / "state.json"
    file.write_bytes(raw)
    store = store_at(tmp_path)
    with pytest.raises(StateCorruptError, match="cannot be understood") as caught:
        store.read()
    assert str(file) in caught.value.message
    assert "tachikoma list" in caught.value.hint
    with pytest.raises(StateCorruptError), store.edit() as ledger:
        ledger.put(record())
    assert file.read_bytes() == raw


def test_a_file_of_the_future_is_refused_and_left_alone(tmp_path: Path) -> None:
    file = tmp_path / "state.json"
    file.write_text('{"version": 2, "vms": {"tachikoma-a-b": "in a new form"}}')
    with pytest.raises(StateTooNewError, match="newer tachikoma"):
        store_at(tmp_path).read()
    with pytest.raises(StateTooNewError), store_at(tmp_path).edit() as ledger:
        ledger.put(record())
    assert '"in a new form"' in file.read_text()


def test_a_file_that_cannot_be_read_is_an_error_that_names_it(tmp_path: Path) -> None:
    (tmp_path / "state.json").mkdir()
    with pytest.raises(HostError, match=r"state\.json: Is a directory"):
        store_at(tmp_path).read()
