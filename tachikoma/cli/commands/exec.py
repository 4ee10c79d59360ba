"""``tachikoma exec [NAME] -- COMMAND [ARGS]...``."""

from __future__ import annotations

import click

from tachikoma.cli.completing import vms
from tachikoma.cli.door import Door
from tachikoma.cli.verb import Verb
from tachikoma.model.errors import UsageError
from tachikoma.vm.requests import ReachOutcome, ReachRequest, Target

_BEHIND = "tachikoma.command"
_EXAMPLES = """\b
Examples:
  tachikoma exec -- make test
  tachikoma exec feature/login -- sh -c 'ls | wc -l'
  git diff | tachikoma exec -- git apply --check
"""


class Exec(Verb):
    """Keeps what stands behind ``--`` out of click's hands: it belongs to the guest."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Split at the first ``--`` and parse what is before it."""
        at = args.index("--") if "--" in args else len(args)
        ctx.meta[_BEHIND] = tuple(args[at + 1 :])
        return super().parse_args(ctx, args[:at])

    def collect_usage_pieces(self, ctx: click.Context) -> list[str]:
        """Tell of the command in the usage line."""
        return [*super().collect_usage_pieces(ctx), "--", "COMMAND", "[ARGS]..."]


@click.command("exec", cls=Exec, epilog=_EXAMPLES)
@click.argument("name", required=False, shell_complete=vms)
@click.pass_context
def command(context: click.Context, *, name: str | None) -> int:
    """Run COMMAND in the worktree inside a running VM and end with its exit status.

    NAME is a branch or a VM (default: the current branch). The arguments arrive exactly as they
    are given, no shell in between. With a terminal on both sides the command gets one;
    otherwise both outputs are streamed and standard input is forwarded.
    """
    door = context.find_object(Door)
    assert door is not None
    argv: tuple[str, ...] = context.meta[_BEHIND]
    if not argv:
        raise UsageError(
            "there is no command to run", hint="put it behind `--`: `tachikoma exec -- ls -l`"
        )
    request = ReachRequest(Target(cwd=door.runtime.cwd, name=name))
    if door.interactive:
        outcome = door.run(lambda runtime: runtime.orchestrator.reach(request, door.screen.report))
        return door.go_into(outcome.login, directory=str(outcome.worktree), command=argv)
    work = _collect if door.screen.as_json else _stream
    return door.run(lambda _: work(door, request, argv))


async def _stream(door: Door, request: ReachRequest, argv: tuple[str, ...]) -> int:
    outcome = await door.runtime.orchestrator.reach(request, door.screen.report)
    door.screen.settle()
    return await door.runtime.shell.run(
        outcome.login,
        argv,
        directory=str(outcome.worktree),
        stdin=door.terminal.stdin,
        on_stdout=door.screen.raw(door.terminal.out),
        on_stderr=door.screen.raw(door.terminal.err),
    )


async def _collect(door: Door, request: ReachRequest, argv: tuple[str, ...]) -> int:
    outcome: ReachOutcome = await door.runtime.orchestrator.reach(request, door.screen.report)
    stdout, stderr = bytearray(), bytearray()
    status = await door.runtime.shell.run(
        outcome.login,
        argv,
        directory=str(outcome.worktree),
        stdin=door.terminal.stdin,
        on_stdout=stdout.extend,
        on_stderr=stderr.extend,
    )
    door.screen.give(
        {
            "name": outcome.name,
            "status": status,
            "stdout": stdout.decode("utf-8", "replace"),
            "stderr": stderr.decode("utf-8", "replace"),
        }
    )
    return status
