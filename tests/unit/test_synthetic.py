from __future__ import annotations

from tachikoma.model.events import Event
from tachikoma.model.names import VmName
from tachikoma.model.vm import Endpoint
from tachikoma.synthetic import SyntheticGateway, SyntheticShell

VM = VmName("tachikoma-box-main")
ENDPOINT = Endpoint("127.0.0.1", 20022)


async def test_every_synthetic_vm_answers() -> None:
    assert await SyntheticShell().answers(ENDPOINT, deadline_s=0.0)


async def test_who_logs_in_can_run_anything_without_a_spawn_in_this_process() -> None:
    shell = SyntheticShell()
    login = shell.login(VM, ENDPOINT, "ada")
    said: list[bytes] = []
    status = await shell.run(
        login, ["make"], directory="/src", stdin=None, on_stdout=said.append, on_stderr=said.append
    )
    assert (status, said) == (0, [])
    assert [(run.vm, run.user, run.argv) for run in shell.runs] == [(VM, "ada", ("make",))]


def test_going_in_says_that_there_is_nothing_inside() -> None:
    shell = SyntheticShell()
    argv = shell.attach_argv(shell.login(VM, ENDPOINT, "ada"), command=("vi",), directory="/src")
    assert argv == ["echo", f"{VM} is synthetic: there is nothing to go into"]


async def test_the_proxy_is_there_without_being_started() -> None:
    said: list[Event] = []
    gateway = SyntheticGateway(endpoint=ENDPOINT)
    await gateway.ensure(said.append)
    assert (gateway.endpoint, said) == (ENDPOINT, [])
