from __future__ import annotations

from tachikoma.cli.door import Door
from tachikoma.cli.host_summary import HostSummary, summarise
from tests.unit.cli.stand import PROXY, CommandLine


def summary(door: Door) -> HostSummary:
    return door.run(lambda _: summarise(door))


def test_a_host_without_vms_takes_nothing(line: CommandLine, door: Door) -> None:
    line.proxy_runs = False
    found = summary(door)
    assert found == HostSummary(
        engine="synthetic",
        vms=0,
        running=0,
        memory_mib=0,
        disk_bytes=0,
        proxy=PROXY,
        proxy_running=False,
    )
    assert found.rows() == [
        ("engine", "synthetic"),
        ("VMs", "0 of 0 running, 0 MiB of memory, 0 on disk"),
        ("proxy", "not running, 127.0.0.1:19280"),
    ]


def test_memory_is_of_the_running_and_disk_of_all(line: CommandLine, door: Door) -> None:
    for branch in ("a", "b", "c"):
        line("spawn", branch)
    line("halt", "b")
    found = summary(door)
    assert found.data() == {
        "engine": "synthetic",
        "vms": 3,
        "running": 2,
        "memory_mib": 2 * 8192,
        "disk_bytes": 3 << 20,
        "proxy": {"endpoint": {"host": "127.0.0.1", "port": 19280}, "running": True},
    }
    assert found.rows()[1] == ("VMs", "2 of 3 running, 16 GiB of memory, 3.0 MiB on disk")
