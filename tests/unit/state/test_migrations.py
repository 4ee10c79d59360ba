from __future__ import annotations

import json
from pathlib import Path

import pytest

from tachikoma.model.names import VmName
from tachikoma.state.json_file import decode, encode
from tachikoma.state.migrations import MIGRATIONS, VERSION, NotOursError, TooNewError, migrated
from tachikoma.state.port import Ledger, VmRecord

SAMPLES = Path(__file__).parent / "samples"
STEPS = {
    1: lambda old: {"renamed": old["first"]},
    2: lambda old: {**old, "added": True},
}


def test_every_version_has_a_stored_sample_and_every_old_one_a_step() -> None:
    versions = range(1, VERSION + 1)
    assert sorted(each.name for each in SAMPLES.iterdir()) == [f"v{n}.json" for n in versions]
    assert sorted(MIGRATIONS) == list(range(1, VERSION))


@pytest.mark.parametrize("sample", sorted(SAMPLES.iterdir()), ids=lambda path: path.stem)
def test_a_stored_sample_of_any_version_reads_as_the_same_ledger(sample: Path) -> None:
    name = VmName("tachikoma-widget-feature-x")
    expected = VmRecord(
        name=name,
        repository=Path("/home/ada/my 'widget'/.git"),
        repository_name="widget",
        branch="feature/ünï-\udce9",
        worktree=Path("/home/ada/feature x"),
        engine="qemu",
        image="debian",
        created=1700000000.25,
        last_used=1700000060.0,
        token_hashes=("ab12", "cd34"),
        mounts=(("worktree", Path("/home/ada/feature x")),),
    )
    assert decode(sample.read_bytes()) == Ledger({name: expected})


def test_what_is_written_now_is_of_the_current_version() -> None:
    assert json.loads(encode(Ledger())) == {"version": VERSION, "vms": {}}


def test_steps_run_one_after_the_other_and_set_the_version() -> None:
    document: dict[str, object] = {"version": 1, "first": "x"}
    assert migrated(document, steps=STEPS, to=3) == {"version": 3, "renamed": "x", "added": True}
    assert document == {"version": 1, "first": "x"}


def test_a_document_half_way_takes_only_the_steps_left() -> None:
    document: dict[str, object] = {"version": 2, "renamed": "x"}
    assert migrated(document, steps=STEPS, to=3) == {"version": 3, "renamed": "x", "added": True}


def test_the_current_version_is_left_as_it_is() -> None:
    document: dict[str, object] = {"version": 3, "renamed": "x"}
    assert migrated(document, steps=STEPS, to=3) == document


def test_a_later_version_is_refused() -> None:
    with pytest.raises(TooNewError, match="version 4, and this tachikoma knows 3"):
        migrated({"version": 4}, steps=STEPS, to=3)


@pytest.mark.parametrize("version", [None, "1", 1.0, True, [1]])
def test_a_version_that_is_no_number_is_refused(version: object) -> None:
    with pytest.raises(NotOursError, match="it has no version"):
        migrated({"version": version}, steps=STEPS, to=3)


@pytest.mark.parametrize("version", [0, -1])
def test_a_version_that_never_was_is_refused(version: int) -> None:
    with pytest.raises(NotOursError, match=f"never was a version {version}"):
        migrated({"version": version}, steps=STEPS, to=3)
