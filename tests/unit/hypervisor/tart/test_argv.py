from __future__ import annotations

from pathlib import Path

import pytest

from tachikoma.hypervisor.tart import argv
from tachikoma.hypervisor.tart.argv import Resolver
from tachikoma.model.errors import UnsupportedError
from tachikoma.model.names import VmName
from tachikoma.model.vm import Launch, Mount, Network

VM = VmName("tachikoma-app-main")


def test_a_vm_runs_without_a_window_with_its_shares_and_softnet_around_it() -> None:
    launch = Launch(
        mounts=(
            Mount("code", Path("/Users/a b/app")),
            Mount("claude-rules", Path("/Users/a/.claude/rules"), read_only=True),
        ),
        network=Network.PROXY,
    )
    assert argv.run_argv(VM, launch) == [
        "tart",
        "run",
        "--no-graphics",
        "--no-audio",
        "--no-clipboard",
        "--dir=share:/Users/a b/app:tag=code",
        "--dir=share:/Users/a/.claude/rules:ro,tag=claude-rules",
        "--net-softnet-block",
        "0.0.0.0/0",
        "--net-softnet-allow",
        "192.168.64.1/32",
        VM,
    ]


def test_a_display_opens_a_window_and_an_open_network_is_tarts_own() -> None:
    launch = Launch(network=Network.OPEN, display="1024x768")
    assert argv.run_argv(VM, launch) == ["tart", "run", "--no-audio", "--no-clipboard", VM]


@pytest.mark.parametrize("path", ["/a:b", "/a,ro", "/a\nb"])
def test_a_path_that_tart_would_take_apart_is_refused(path: str) -> None:
    with pytest.raises(UnsupportedError, match="cannot share") as refused:
        argv.run_argv(VM, Launch(mounts=(Mount("code", Path(path)),)))
    assert "worktree_dir" in refused.value.hint


def test_the_guests_command_comes_after_the_name_and_is_passed_on_as_it_is() -> None:
    assert argv.exec_argv(VM, ("ls", "--", "-i"), stdin=False) == [
        *("tart", "exec", "--", VM, "ls", "--", "-i")
    ]
    assert argv.exec_argv(VM, ("cat",), stdin=True)[:4] == ["tart", "exec", "-i", "--"]


def test_dhcp_is_tarts_own_choice_and_others_are_named() -> None:
    assert argv.ip_argv(VM, wait_s=2, resolver=Resolver.DHCP) == ["tart", "ip", "--wait", "2", VM]
    asked = argv.ip_argv(VM, wait_s=0, resolver=Resolver.AGENT)
    assert asked == ["tart", "ip", "--wait", "0", "--resolver", "agent", VM]


def test_every_other_command_is_one_plain_line() -> None:
    assert [
        argv.version_argv(),
        argv.list_argv(),
        argv.get_argv(VM),
        argv.clone_argv("ubuntu", VM),
        argv.renew_mac_argv(VM),
        argv.resources_argv(VM, cpus=2, memory_mib=1024),
        argv.stop_argv(VM, timeout_s=5),
        argv.delete_argv(VM),
        argv.pull_argv("h/i:t"),
        argv.push_argv("ubuntu", "h/i:t"),
        argv.fqn_argv("h/i:t"),
    ] == [
        ["tart", *line.split()]
        for line in (
            "--version",
            "list --format json",
            f"get --format json {VM}",
            f"clone ubuntu {VM}",
            f"set {VM} --random-mac",
            f"set {VM} --cpu 2 --memory 1024",
            f"stop --timeout 5 {VM}",
            f"delete {VM}",
            "pull h/i:t",
            "push ubuntu h/i:t",
            "fqn h/i:t",
        )
    ]
