from __future__ import annotations

import asyncio
import base64
import os
from collections.abc import Callable, Sequence

import mcp_types as types
import pytest

from tachikoma.git.port import Commit
from tachikoma.mcp.guest_files import READ, WRITE
from tachikoma.proxy.meter import Tokens
from tachikoma.proxy.usage import Call, UsageBook
from tests.unit.cli.stand import CommandLine
from tests.unit.mcp.stand import CWD, NAME, Agent, connected, says

Take = Callable[[bytes], None]


async def spawned(agent: Agent) -> Agent:
    await agent.use("spawn", cwd=CWD)
    return agent


async def test_a_line_runs_in_bash_in_the_worktree(line: CommandLine) -> None:
    line.shell.script = says(b"out\n", b"err\n", 3)
    async with connected(line) as agent:
        await spawned(agent)
        ran = await agent.use("exec", vm_name="main", command="make test | tail")
    assert (ran["status"], ran["stdout"], ran["stderr"]) == (3, "out\n", "err\n")
    assert (ran["timed_out"], ran["stdout_cut"], ran["stderr_cut"]) == (False, False, False)
    assert line.shell.ran == [(("bash", "-c", "make test | tail"), CWD, None)]


async def test_an_argv_an_environment_and_a_directory_arrive_as_given(line: CommandLine) -> None:
    async with connected(line) as agent:
        await spawned(agent)
        for workdir in ("sub", "/tmp", None):
            await agent.use(
                "exec",
                vm_name=NAME,
                command=["printf", "%s", "a=b c"],
                env={"A": "1 2", "B": ""},
                workdir=workdir,
            )
    argv = ("env", "A=1 2", "B=", "bash", "-c", 'exec "$@"', "bash", "printf", "%s", "a=b c")
    assert line.shell.ran == [(argv, f"{CWD}/sub", None), (argv, "/tmp", None), (argv, CWD, None)]


async def test_a_command_that_does_not_end_is_ended_at_its_deadline(line: CommandLine) -> None:
    line.shell.script = says(b"so far\n")
    line.shell.hangs = True
    async with connected(line) as agent:
        await spawned(agent)
        result = await agent.call("exec", vm_name=NAME, command="sleep inf", deadline_s=0.05)
    assert result.is_error is True
    assert result.meta is not None
    assert result.meta["tachikoma/error"]["code"] == "mcp.deadline"
    assert isinstance(result.structured_content, dict)
    assert result.structured_content["timed_out"] is True
    assert result.structured_content["status"] is None
    assert result.structured_content["stdout"] == "so far\n"
    assert line.shell.ended == ["CancelledError"]


async def test_a_command_that_prints_for_ever_is_shown_cut_with_its_length(
    line: CommandLine,
) -> None:
    def prints(_: Sequence[str], out: Take, __: Take) -> int:
        for _number in range(1000):
            out(b"y\n" * 16_384)
        return 0

    line.shell.script = prints
    line.shell.hangs = True
    async with connected(line) as agent:
        await spawned(agent)
        result = await agent.call("exec", vm_name=NAME, command="yes", deadline_s=0.05)
    assert isinstance(result.structured_content, dict)
    assert result.structured_content["stdout_bytes"] == 32_768_000
    assert result.structured_content["stdout_cut"] is True
    assert len(result.structured_content["stdout"]) < 17_000


async def test_binary_output_is_whole_in_a_resource(line: CommandLine) -> None:
    data = bytes(range(256))
    line.shell.script = says(data)
    async with connected(line) as agent:
        await spawned(agent)
        ran = await agent.use("exec", vm_name=NAME, command="cat x")
        assert (ran["stdout_bytes"], ran["stdout_cut"]) == (256, False)
        (blob,) = (await agent.client.read_resource(ran["stdout_resource"])).contents
    assert base64.b64decode(blob.model_dump()["blob"]) == data


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        ({"vm_name": NAME}, "command: Field required"),
        ({"vm_name": NAME, "command": 7}, "command"),
        ({"vm_name": 7, "command": "x"}, "vm_name: Input should be a valid string"),
        ({"vm_name": NAME, "command": "x", "deadline_s": 0}, "deadline_s"),
        ({"vm_name": NAME, "command": "x", "deadline_s": "soon"}, "deadline_s"),
        ({"vm_name": NAME, "command": "x", "env": {"A": []}}, "env.A"),
        ({"vm_name": NAME, "command": "x", "frob": 1}, "exec has no argument frob"),
        ({"vm_name": NAME, "command": "x", "env": {"A-B": ""}}, "name of a variable"),
        ({"vm_name": NAME, "command": ""}, "the command is empty"),
        ({"vm_name": NAME, "command": []}, "the command is empty"),
        ({"vm_name": NAME, "command": "x" * 200_000}, "200000 bytes long"),
        ({"vm_name": "", "command": "x"}, "vm_name is empty"),
    ],
)
async def test_wrong_arguments_are_told_and_nothing_runs(
    line: CommandLine, arguments: dict[str, object], why: str
) -> None:
    async with connected(line) as agent:
        await spawned(agent)
        code, text = await agent.fail("exec", **arguments)
    assert code == "mcp.bad_argument"
    assert why in text
    assert len(text) < 1000
    assert line.shell.ran == []


async def test_a_vm_that_does_not_run_takes_no_command(line: CommandLine) -> None:
    async with connected(line) as agent:
        await spawned(agent)
        await agent.use("halt", vm_name=NAME)
        assert (await agent.fail("exec", vm_name=NAME, command="x"))[0] == "vm.not_running"


async def test_a_file_is_read_in_parts(line: CommandLine) -> None:
    def reads(argv: Sequence[str], out: Take, err: Take) -> int:
        assert list(argv[:4]) == ["sh", "-c", READ, "sh"]
        path, offset, length = argv[4], int(argv[5]), int(argv[6])
        assert path == "notes.txt"
        err(b"size 9\n")
        out("früh auf".encode()[offset : offset + length])
        return 0

    line.shell.script = reads
    async with connected(line) as agent:
        await spawned(agent)
        first = await agent.use("read_file", vm_name=NAME, path="notes.txt", length=4)
        rest = await agent.use(
            "read_file", vm_name=NAME, path="notes.txt", offset=first["next_offset"]
        )
    assert (first["content"], first["next_offset"], first["size"]) == ("frü", 4, 9)
    assert (rest["content"], rest["next_offset"], rest["encoding"]) == ("h auf", None, "utf-8")


async def test_a_file_that_cannot_be_read_says_why(line: CommandLine) -> None:
    line.shell.script = says(b"", b"there is no such file\n", 1)
    async with connected(line) as agent:
        await spawned(agent)
        code, text = await agent.fail("read_file", vm_name=NAME, path="x")
        assert (code, text.splitlines()[0]) == (
            "mcp.file",
            f"x in {NAME}: there is no such file",
        )
        assert (await agent.fail("read_file", vm_name=NAME, path=""))[0] == "mcp.bad_argument"


@pytest.mark.parametrize(
    ("content", "encoding", "data"),
    [("ü\n", "utf-8", "ü\n".encode()), ("AAEC/w==", "base64", b"\x00\x01\x02\xff")],
)
async def test_a_file_is_written_through_standard_input(
    line: CommandLine, content: str, encoding: str, data: bytes
) -> None:
    sent: list[bytes] = []

    def writes(argv: Sequence[str], _: Take, __: Take) -> int:
        assert list(argv) == ["sh", "-c", WRITE, "sh", "a b", str(len(data))]
        stdin = line.shell.ran[-1][2]
        assert stdin is not None
        sent.append(os.read(stdin, 100))
        return 0

    line.shell.script = writes
    async with connected(line) as agent:
        await spawned(agent)
        written = await agent.use(
            "write_file", vm_name=NAME, path="a b", content=content, encoding=encoding
        )
    assert written == {"vm_name": NAME, "path": "a b", "size": len(data)}
    assert sent == [data]


async def test_content_that_is_not_what_it_says_is_refused(line: CommandLine) -> None:
    async with connected(line) as agent:
        await spawned(agent)
        code, text = await agent.fail(
            "write_file", vm_name=NAME, path="x", content="no!", encoding="base64"
        )
    assert (code, "content is not base64" in text) == ("mcp.bad_argument", True)


async def test_a_disk_is_kept_and_gone_back_to(line: CommandLine) -> None:
    async with connected(line) as agent:
        await spawned(agent)

        async def use(action: str, label: str = "", **more: object) -> tuple[list[str], bool]:
            given = await agent.use(
                "checkpoint", vm_name="main", action=action, label=label, **more
            )
            return [each["label"] for each in given["checkpoints"]], given["halted"]

        assert await use("list") == ([], False)
        assert await use("save", "before") == (["before"], False)
        refused = {"vm_name": "main", "action": "restore", "label": "before"}
        assert (await agent.fail("checkpoint", **refused))[0] == "mcp.not_confirmed"
        assert (await agent.use("status", vm_name="main"))["state"] == "running"
        assert await use("restore", "before", force=True) == (["before"], True)
        assert await use("delete", "before") == ([], False)
        lost = {**refused, "label": "never", "force": True}
        code, text = await agent.fail("checkpoint", **lost)
        assert (code, "has no checkpoint never" in text) == ("hypervisor.checkpoint", True)


async def test_the_notices_of_a_spawn_are_in_its_result(line: CommandLine) -> None:
    async with connected(line) as agent:
        made = await agent.use("spawn", cwd=CWD, branch="new")
    assert made["branch"] == "new"
    assert any("the branch new is new" in notice for notice in made["notices"])


async def test_a_branch_is_proposed_from_the_host(line: CommandLine) -> None:
    async with connected(line) as agent:
        await agent.use("spawn", cwd=CWD, branch="work")
        line.publishing.branches.add("work")
        line.publishing.commits["work"] = (Commit("Work", ""),)
        made = await agent.use("pr", cwd=CWD, vm_name="work", title="Mine")
        assert (made["ended"], made["pushed"], made["base"]) == ("opened", True, "main")
        assert line.forge.opened["work"].title == "Mine"
        assert (await agent.use("pr", cwd=CWD, vm_name="work"))["ended"] == "nothing_to_do"


async def test_where_a_branch_would_go_is_asked_if_nobody_vouches_for_it(line: CommandLine) -> None:
    line.publishing.branches.add("work")
    line.publishing.commits["work"] = (Commit("Work", ""),)
    asked: list[str] = []
    async with connected(line) as agent:
        code, text = await agent.fail("pr", cwd=CWD, vm_name="work")
        assert (code, "tachikoma pr" in text) == ("mcp.not_confirmed", True)
    assert line.forge.opened == {}
    yes = types.ElicitResult(action="accept", content={"confirm": True})
    async with connected(line, answer=yes, asked=asked) as agent:
        assert (await agent.use("pr", cwd=CWD, vm_name="work"))["ended"] == "opened"
    assert asked == ["Push to git@github.com:acme/box.git?"]


async def test_what_the_model_calls_of_a_vm_took_is_told(line: CommandLine) -> None:
    config = line.home / ".config" / "tachikoma"
    config.mkdir(parents=True, exist_ok=True)
    (config / "config.toml").write_text('prices = ["model-a 3 15"]\n')
    async with connected(line) as agent:
        await spawned(agent)
        before = Call(line.clock.now() - 1e6, NAME, "main", "model-a", Tokens(1))
        now = [
            Call(line.clock.now() + 1, NAME, "main", model, Tokens(1000, 200, 30, 4000))
            for model in ("model-a", "model-b")
        ]
        await asyncio.to_thread(UsageBook(config / "usage.sqlite").add, [before, *now])
        assert await agent.use("usage", vm_name=NAME) == {
            "name": NAME,
            "calls": 2,
            "input_tokens": 2000,
            "output_tokens": 400,
            "cache_write_tokens": 60,
            "cache_read_tokens": 8000,
            "usd": pytest.approx(0.0073, abs=0.002),
            "calls_without_price": 1,
        }
