from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path

import pytest

from tachikoma.host import process, tasks
from tachikoma.host.clock import SystemClock, attempts
from tachikoma.model.errors import (
    CommandFailed,
    HostError,
    MissingToolError,
    PermissionDeniedError,
)

KEY = "sk-ant-" + "oat01-abcDEF_123-xyz"
DEAF = "trap '' TERM; echo $$ > {}; while :; do sleep 1; done"


async def appears(path: Path) -> str:
    async for _ in attempts(SystemClock(), deadline_s=10, most_s=0.05):
        if path.exists() and (text := path.read_text().strip()):
            return text
    raise AssertionError(f"{path} never appeared")


async def gone(pid: int) -> bool:
    async for _ in attempts(SystemClock(), deadline_s=5, most_s=0.05):
        process.reap(pid)
        if process.start_time(pid) is None:
            return True
    return False


# What needs no process.


@pytest.mark.parametrize(
    ("text", "left"),
    [
        (f"curl -H 'x-api-key: {KEY}' x", "curl -H 'x-api-key: [redacted]' x"),
        (f"key {KEY} end", "key sk-ant-oat0[redacted] end"),
        ("Authorization: Bearer abc.def", "Authorization: Bearer [redacted]"),
        ('{"authorization": "Bearer abc"}', '{"authorization": "Bearer [redacted]"}'),
        ("authorization=abc", "authorization=[redacted]"),
        ("ANTHROPIC_API_KEY=abc claude", "ANTHROPIC_API_KEY=[redacted] claude"),
        ("CLAUDE_CODE_OAUTH_TOKEN='abc'", "CLAUDE_CODE_OAUTH_TOKEN='[redacted]'"),
        ("a ghp_abcdefghijklmnopqrstuvwxyz0123456789 b", "a ghp_[redacted] b"),
        ("https://ada:secret@git.example/x", "https://ada:[redacted]@git.example/x"),
        ("max_tokens: 5 and author: me", "max_tokens: 5 and author: me"),
    ],
)
def test_what_looks_like_a_credential_is_redacted_and_nothing_else(text: str, left: str) -> None:
    assert process.redacted(text) == left


def test_redacting_a_huge_line_takes_no_time() -> None:
    assert process.redacted("a" * 300_000) == "a" * 300_000


def test_a_process_that_never_was_has_no_start_time_and_no_command_line() -> None:
    assert process.start_time(2**22 + 1) is None
    assert process.command_line(2**22 + 1) == ()


def test_this_process_has_one_start_time_and_its_own_command_line() -> None:
    assert process.start_time(os.getpid()) == process.start_time(os.getpid()) is not None
    assert process.command_line(os.getpid())[0] == sys.orig_argv[0]


def test_which_looks_on_the_path_and_then_where_it_is_told(tmp_path: Path) -> None:
    tool = tmp_path / "no-such-tool"
    assert process.which("sh") is not None
    assert process.which("no-such-tool", also=[str(tool)]) is None
    tool.write_text("")
    tool.chmod(0o755)
    assert process.which("no-such-tool", also=[str(tool)]) == str(tool)


def test_the_text_of_output_is_without_its_last_line_end_only() -> None:
    assert process.Completed(("x",), 0, b"a\n\n", b"").text == "a\n"
    assert process.Completed(("x",), 0, b"caf\xe9", b"").text == "caf\udce9"


# run


@pytest.mark.live
async def test_run_gives_status_and_both_outputs_and_takes_arguments_exactly() -> None:
    script = 'printf "%s|" "$@"; cat; echo oops >&2; exit 3'
    odd = ["a b", "", "$HOME", "'\"", "*", "-n", "ü\n"]
    argv = ["sh", "-c", script, "sh", *odd]
    done = await process.run(argv, deadline_s=10, stdin=b"in\0put", check=False)
    assert done.stdout == ("|".join(odd) + "|").encode() + b"in\0put"
    assert (done.status, done.stderr, done.argv) == (3, b"oops\n", tuple(argv))


@pytest.mark.live
async def test_run_moves_megabytes_both_ways() -> None:
    much = os.urandom(1 << 20) * 4
    assert (await process.run(["cat"], deadline_s=15, stdin=much)).stdout == much


@pytest.mark.live
async def test_run_does_not_mind_a_command_that_reads_nothing() -> None:
    done = await process.run(["true"], deadline_s=10, stdin=b"x" * (1 << 20))
    assert done.status == 0


@pytest.mark.live
async def test_a_command_gets_a_chosen_environment_and_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ANTHROPIC_API_KEY", KEY)
    done = await process.run(["env"], deadline_s=10, env={"EXTRA": "1"})
    assert "EXTRA=1" in done.text
    assert KEY not in done.text
    assert (await process.run(["pwd", "-P"], deadline_s=10, cwd=tmp_path)).text == str(tmp_path)


@pytest.mark.live
async def test_a_failed_command_keeps_its_evidence_and_no_secret() -> None:
    script = f"for n in $(seq 30); do echo line $n >&2; done; echo 'x-api-key: {KEY}' >&2; exit 7"
    with pytest.raises(CommandFailed, match="`sh` ended with exit status 7") as caught:
        await process.run(["sh", "-c", script], deadline_s=10)
    error = caught.value
    assert error.status == 7
    assert error.stderr.startswith("line 1\n")
    assert error.details.startswith("$ sh -c ")
    assert error.details.endswith("line 30\nx-api-key: [redacted]")
    assert "line 19\n" not in error.details
    assert KEY not in error.details + error.stderr + error.message + error.hint


@pytest.mark.live
async def test_a_command_that_died_of_a_signal_says_so() -> None:
    with pytest.raises(CommandFailed, match="was ended by signal 9") as caught:
        await process.run(["sh", "-c", "kill -9 $$"], deadline_s=10)
    assert caught.value.status == -9


@pytest.mark.live
async def test_a_missing_program_and_a_missing_directory_are_told_apart(tmp_path: Path) -> None:
    with pytest.raises(MissingToolError, match="no-such-tool"):
        await process.run(["no-such-tool"], deadline_s=10)
    with pytest.raises(HostError, match="nowhere") as caught:
        await process.run(["true"], deadline_s=10, cwd=tmp_path / "nowhere")
    assert not isinstance(caught.value, MissingToolError)


@pytest.mark.live
async def test_what_cannot_be_executed_is_an_error_that_names_it(tmp_path: Path) -> None:
    (tmp_path / "plain").write_text("hello")
    (tmp_path / "broken").write_bytes(b"\x7fELF")
    (tmp_path / "broken").chmod(0o755)
    with pytest.raises(PermissionDeniedError, match="plain"):
        await process.run([str(tmp_path / "plain")], deadline_s=10)
    with pytest.raises(HostError, match="broken"):
        await process.run([str(tmp_path / "broken")], deadline_s=10)
    with pytest.raises(HostError, match="broken"):
        process.detach([str(tmp_path / "broken")], log=tmp_path / "log")


@pytest.mark.live
async def test_a_deadline_ends_the_whole_group(tmp_path: Path) -> None:
    script = f"sleep 100 & echo $! > {tmp_path}/child; wait"
    with pytest.raises(CommandFailed, match=r"took longer than 0\.5 s") as caught:
        await process.run(["sh", "-c", script], deadline_s=0.5)
    assert caught.value.status is None
    assert await gone(int(await appears(tmp_path / "child")))


@pytest.mark.live
async def test_a_child_that_ignores_term_is_killed_also_when_its_parent_is_gone(
    tmp_path: Path,
) -> None:
    """The leader dies of TERM at once; its deaf child shares no output with us."""
    child = tmp_path / "child"
    script = f'sh -c "{DEAF.format(child).replace("$$", chr(92) + "$$")}" >/dev/null 2>&1 & wait'
    work = tasks.spawn(process.run(["sh", "-c", script], deadline_s=60), name="run")
    pid = int(await appears(child))
    await tasks.end(work)
    assert work.cancelled()
    assert await gone(pid)


@pytest.mark.live
async def test_a_leader_that_ignores_term_is_killed(tmp_path: Path) -> None:
    leader = tmp_path / "leader"
    work = tasks.spawn(process.run(["sh", "-c", DEAF.format(leader)], deadline_s=60), name="run")
    pid = int(await appears(leader))
    await tasks.end(work)
    assert process.start_time(pid) is None


@pytest.mark.live
async def test_cancelling_again_while_the_child_is_ended_ends_it_all_the_same(
    tmp_path: Path,
) -> None:
    leader = tmp_path / "leader"
    work = tasks.spawn(process.run(["sh", "-c", DEAF.format(leader)], deadline_s=60), name="run")
    pid = int(await appears(leader))
    work.cancel()
    for _ in range(3):
        await asyncio.wait({work}, timeout=0.05)
        work.cancel()
    await asyncio.wait({work}, timeout=10)
    assert await gone(pid)


@pytest.mark.live
@pytest.mark.parametrize("steps", range(8))
async def test_cancelling_at_any_step_of_a_start_leaves_no_child_and_no_open_pipe(
    steps: int,
) -> None:
    before = set(Path("/proc/self/fd").iterdir())
    work = tasks.spawn(process.run(["sleep", "31.4"], deadline_s=60), name="run")
    for _ in range(steps):
        await asyncio.sleep(0)
    await tasks.end(work)
    children = Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()
    assert all("31.4" not in process.command_line(int(pid)) for pid in children)
    assert set(Path("/proc/self/fd").iterdir()) <= before


@pytest.mark.live
@pytest.mark.parametrize("steps", range(2, 6))
async def test_cancelling_a_start_ends_also_what_the_child_has_started_by_then(
    tmp_path: Path, steps: int
) -> None:
    child = tmp_path / "child"
    script = f"sleep 100 & echo $! > {child}.new; mv {child}.new {child}; wait"
    work = tasks.spawn(process.run(["sh", "-c", script], deadline_s=60), name="run")
    for _ in range(steps):
        await asyncio.sleep(0)
    while not child.exists():
        pass  # the loop must not go on with the start meanwhile
    await tasks.end(work)
    assert await gone(int(child.read_text()))


@pytest.mark.live
async def test_a_child_that_moved_to_a_session_of_its_own_does_not_hold_us_up(
    tmp_path: Path,
) -> None:
    child = tmp_path / "child"
    script = f"setsid sh -c 'echo $$ > {child}; exec sleep 100' & wait"
    with pytest.raises(CommandFailed, match="took longer"):
        await process.run(["sh", "-c", script], deadline_s=1)
    pid = int(await appears(child))
    process.end_process(pid, started=process.start_time(pid))
    assert await gone(pid)


# stream


@pytest.mark.live
async def test_stream_hands_on_the_lines_of_both_outputs_as_they_come() -> None:
    lines: list[str] = []
    script = 'read x; echo "got $x"; echo err >&2; printf "a\\r\\nlast"'
    await process.stream(
        ["sh", "-c", script], on_line=lines.append, deadline_s=10, stdin=b"hello\n"
    )
    assert lines == ["got hello", "err", "a", "last"]


@pytest.mark.live
async def test_listen_hands_on_bytes_by_stream_and_gives_the_status(tmp_path: Path) -> None:
    go_on = tmp_path / "go-on"
    script = f"cat; printf '\\377' >&2; until [ -e {go_on} ]; do sleep 0.02; done; exit 3"
    heard = {"stdout": b"", "stderr": b""}

    def on_output(stream: str, piece: bytes) -> None:
        heard[stream] += piece
        if all(heard.values()):
            go_on.touch()

    argv = ["sh", "-c", script]
    status = await process.listen(argv, on_output=on_output, deadline_s=10, stdin=b"\0in")
    assert (status, heard) == (3, {"stdout": b"\0in", "stderr": b"\xff"})


@pytest.mark.live
async def test_listening_past_a_deadline_or_with_a_broken_ear_ends_the_command(
    tmp_path: Path,
) -> None:
    def break_down(stream: str, piece: bytes) -> None:
        raise ZeroDivisionError(f"{stream} {piece!r}")

    for deadline_s, error in ((0.5, CommandFailed), (10, ZeroDivisionError)):
        leader = tmp_path / error.__name__
        script = f"echo $$ > {leader}; {'echo x;' if deadline_s > 1 else ''} exec sleep 100"
        with pytest.raises(error):
            await process.listen(["sh", "-c", script], on_output=break_down, deadline_s=deadline_s)
        assert await gone(int(await appears(leader)))


@pytest.mark.live
async def test_a_line_arrives_before_the_command_ends(tmp_path: Path) -> None:
    go_on = tmp_path / "go-on"
    script = f"echo first; until [ -e {go_on} ]; do sleep 0.02; done; echo second"
    lines: list[str] = []

    def on_line(line: str) -> None:
        lines.append(line)
        go_on.touch()

    await process.stream(["sh", "-c", script], on_line=on_line, deadline_s=10)
    assert lines == ["first", "second"]


@pytest.mark.live
async def test_a_line_without_end_comes_in_pieces_and_loses_nothing() -> None:
    lines: list[str] = []
    script = "import sys; sys.stdout.write('x' * 5_000_000 + '\\nend\\n')"
    await process.stream([sys.executable, "-c", script], on_line=lines.append, deadline_s=15)
    assert "".join(lines[:-1]) == "x" * 5_000_000
    assert lines[-1] == "end"


@pytest.mark.live
async def test_a_stream_that_fails_keeps_the_last_lines() -> None:
    lines: list[str] = []
    with pytest.raises(CommandFailed, match="exit status 4") as caught:
        await process.stream(["sh", "-c", "seq 100; exit 4"], on_line=lines.append, deadline_s=10)
    assert len(lines) == 100
    assert caught.value.details.endswith("\n99\n100")
    assert "\n88\n" not in caught.value.details


@pytest.mark.live
async def test_an_error_of_the_listener_ends_the_command(tmp_path: Path) -> None:
    leader = tmp_path / "leader"

    def on_line(line: str) -> None:
        raise ZeroDivisionError(line)

    script = f"echo $$ > {leader}; echo x; exec sleep 100"
    with pytest.raises(ZeroDivisionError):
        await process.stream(["sh", "-c", script], on_line=on_line, deadline_s=10)
    assert await gone(int(await appears(leader)))


@pytest.mark.live
async def test_a_stream_past_its_deadline_ends_the_group(tmp_path: Path) -> None:
    leader = tmp_path / "leader"
    script = f"echo $$ > {leader}; echo begun; sleep 100"
    with pytest.raises(CommandFailed, match=r"took longer than 0\.5 s") as caught:
        await process.stream(["sh", "-c", script], on_line=lambda _: None, deadline_s=0.5)
    assert caught.value.details.endswith("begun")
    assert await gone(int(await appears(leader)))


# detach


@pytest.mark.live
async def test_a_detached_process_has_its_own_session_a_private_log_and_no_input(
    tmp_path: Path,
) -> None:
    log = tmp_path / "a log"
    log.write_text("earlier\n")
    script = "cat; echo out; echo err >&2; ps -o sid= -p $$ | tr -d ' '; exec sleep 100"
    pid = process.detach(["sh", "-c", script], log=log)
    started = process.start_time(pid)
    try:
        async for _ in attempts(SystemClock(), deadline_s=10):
            if len(log.read_text().splitlines()) == 4:
                break
        assert log.read_text() == f"earlier\nout\nerr\n{pid}\n"
        async for _ in attempts(SystemClock(), deadline_s=10):  # it has yet to become `sleep`
            if process.command_line(pid) == ("sleep", "100"):
                break
        else:
            pytest.fail(f"it is {process.command_line(pid)}")
    finally:
        process.end_process(pid, started=started)
    assert process.start_time(pid) is None


@pytest.mark.live
def test_a_new_log_is_the_users_alone(tmp_path: Path) -> None:
    pid = process.detach(["sleep", "100"], log=tmp_path / "log")
    process.end_process(pid, started=process.start_time(pid))
    assert (tmp_path / "log").stat().st_mode & 0o777 == 0o600


@pytest.mark.live
async def test_a_detached_process_outlives_who_started_it(tmp_path: Path) -> None:
    script = (
        "import sys; from pathlib import Path; from tachikoma.host import process;"
        "print(process.detach(['sleep', '100'], log=Path(sys.argv[1])))"
    )
    done = await process.run([sys.executable, "-c", script, str(tmp_path / "log")], deadline_s=15)
    pid = int(done.text)
    assert process.command_line(pid) == ("sleep", "100")
    process.end_process(pid, started=process.start_time(pid))
    assert await gone(pid)


@pytest.mark.live
async def test_a_detached_process_keeps_the_descriptors_it_is_given(tmp_path: Path) -> None:
    reading, writing = os.pipe()
    try:
        pid = process.detach(
            [sys.executable, "-c", f"import os; os.write({writing}, b'hello')"],
            log=tmp_path / "log",
            pass_fds=[writing],
        )
    finally:
        os.close(writing)
    with os.fdopen(reading, "rb") as pipe:
        assert pipe.read() == b"hello"
    assert await gone(pid)


@pytest.mark.live
def test_detaching_what_cannot_be_started_says_what_is_missing(tmp_path: Path) -> None:
    with pytest.raises(MissingToolError, match="no-such-tool"):
        process.detach(["no-such-tool"], log=tmp_path / "log")
    with pytest.raises(HostError, match="nowhere"):
        process.detach(["true"], log=tmp_path / "nowhere" / "log")
    with pytest.raises(HostError, match="elsewhere"):
        process.detach(["true"], log=tmp_path / "log", cwd=tmp_path / "elsewhere")


# end_process


@pytest.mark.live
async def test_a_process_that_ignores_term_is_killed_after_the_grace(tmp_path: Path) -> None:
    pid = process.detach(["sh", "-c", DEAF.format(tmp_path / "leader")], log=tmp_path / "log")
    await appears(tmp_path / "leader")
    process.end_process(pid, started=process.start_time(pid), grace_s=0.1)
    assert process.start_time(pid) is None


@pytest.mark.live
def test_a_process_that_is_not_the_one_meant_is_left_alone(tmp_path: Path) -> None:
    pid = process.detach(["sleep", "100"], log=tmp_path / "log")
    started = process.start_time(pid)
    try:
        process.end_process(pid, started="1")
        process.end_process(pid, started=None)
        assert process.start_time(pid) == started
    finally:
        process.end_process(pid, started=started)


@pytest.mark.live
def test_a_program_on_this_terminal_gives_its_exit_status(
    capfd: pytest.CaptureFixture[str],
) -> None:
    assert process.on_terminal(["sh", "-c", "echo here; exit 3"]) == 3
    assert capfd.readouterr().out == "here\n"
    with pytest.raises(MissingToolError):
        process.on_terminal(["no-such-editor"])
