from __future__ import annotations

from tachikoma.model.names import VmName
from tachikoma.model.vm import Endpoint
from tachikoma.ssh.memory import Asked, MemoryShell

VM = VmName("tachikoma-repo-x")
HERE = Endpoint("127.0.0.1", 22)


async def test_what_was_asked_is_kept() -> None:
    shell = MemoryShell(listening={HERE})
    shell.pin(VM, [shell.ensure_key()])
    login = shell.login(VM, HERE, "admin")
    status = await shell.run(
        login, ["make", "a b"], directory="/w", stdin=None, on_stdout=print, on_stderr=print
    )
    assert status == 0
    assert shell.runs == [Asked(VM, "admin", ("make", "a b"), "/w", b"")]


def test_attaching_says_what_is_wanted() -> None:
    shell = MemoryShell()
    argv = shell.attach_argv(shell.login(VM, HERE, "admin"), command=["top"], directory="/w")
    assert argv == ["ssh", "-t", VM, "/w", "top"]
