from __future__ import annotations

import os
from pathlib import Path

import pytest

from tachikoma.host import process
from tachikoma.hypervisor.tart.records import Record, Records, Run
from tachikoma.model.errors import HypervisorError
from tachikoma.model.names import VmName

VM = VmName("tachikoma-app-main")


@pytest.fixture
def records(tmp_path: Path) -> Records:
    return Records(directory=tmp_path / "tart")


def test_what_was_written_is_known_until_it_is_forgotten(records: Records) -> None:
    assert records.load(VM) is None
    for record in (Record("ubuntu", made=False), Record("ubuntu", made=True)):
        records.save(VM, record)
        assert records.load(VM) == record
    records.forget(VM)
    records.forget(VM)
    assert records.load(VM) is None


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"image": "x"}'])
def test_a_broken_file_says_nothing(records: Records, text: str) -> None:
    records.save(VM, Record("ubuntu", made=True))
    (records.log(VM).parent / "vm.json").write_text(text)
    assert records.load(VM) is None


def test_a_run_is_believed_only_while_its_process_lives(records: Records) -> None:
    own = Run(os.getpid(), process.start_time(os.getpid()) or "")
    assert records.run(VM) is None
    records.save_run(VM, own)
    assert records.run(VM) == own
    records.save_run(VM, Run(own.pid, "another time"))
    assert records.run(VM) is None


def test_only_one_makes_a_vm(records: Records) -> None:
    with (
        records.making(VM),
        pytest.raises(HypervisorError, match="another process is making"),
        records.making(VM),
    ):
        pass
    with records.making(VM):
        pass
