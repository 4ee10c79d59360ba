"""The command tree, and the one place where an error becomes words and an exit status."""

from __future__ import annotations

import importlib
import logging
import signal
import sys
import traceback
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from tachikoma.cli.completing import branch_words
from tachikoma.cli.door import Door, Terminated
from tachikoma.cli.line import ALIASES, VERBS, Line, arrange, check_guess
from tachikoma.cli.render import Failure, Screen, failure_of
from tachikoma.cli.terminal import Terminal, current_directory, this_terminal
from tachikoma.cli.verb import COMMON, COMPLETING, common_options
from tachikoma.fleet import FleetRuntime
from tachikoma.host.files import write_atomically
from tachikoma.host.paths import private_dir
from tachikoma.host.process import redacted
from tachikoma.model.errors import HostError, Interrupted, TachikomaError, UsageError
from tachikoma.model.version import VERSION
from tachikoma.runtime import Runtime

if TYPE_CHECKING:  # only a shell that completes loads it
    from click.shell_completion import CompletionItem

_log = logging.getLogger(__name__)
_NOWHERE = logging.NullHandler()
"""One for all: whoever runs many commands in one process has no more of them."""
_OUTPUT_GONE = 128 + signal.SIGPIPE
_EXAMPLES = """\b
Examples:
  tachikoma                          the current branch's VM, made if need be
  tachikoma feature/login            that of another branch
  tachikoma exec -- make test        run something in it
  tachikoma list                     what there is
  tachikoma destroy feature/login    remove the VM; worktree and branch stay
"""

MakeRuntime = Callable[[Terminal, str | None], Runtime]


class Verbs(click.Group):
    """The verbs, each loaded when it is wanted."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Give the verbs in the order in which one meets them."""
        del ctx
        return list(VERBS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Load one verb."""
        del ctx
        verb = ALIASES.get(cmd_name, cmd_name)
        if verb not in VERBS:
            return None
        module = importlib.import_module(f"tachikoma.cli.commands.{verb}")
        command = module.command
        assert isinstance(command, click.Command)
        return command

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        """Offer verbs, without loading them, and branches: a line without a verb spawns one."""
        from click.shell_completion import CompletionItem

        verbs = VERBS | {also: VERBS[verb] for also, verb in ALIASES.items()}
        found = [CompletionItem(verb, help=told) for verb, told in verbs.items()]
        return [
            *[item for item in found if item.value.startswith(incomplete)],
            *common_options(incomplete),
            *branch_words(ctx, incomplete),
        ]

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the verbs without loading them."""
        del ctx
        names = {verb: also for also, verb in ALIASES.items()}
        rows = [
            (f"{verb}, {names[verb]}" if verb in names else verb, text)
            for verb, text in VERBS.items()
        ]
        with formatter.section("Commands"):
            formatter.write_dl(rows)

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the commands, then the common options."""
        self.format_commands(ctx, formatter)
        with formatter.section("Options"):
            formatter.write_dl([*COMMON, ("-V, --version", "Show the version and exit.")])


@click.group(
    cls=Verbs,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog=_EXAMPLES,
    options_metavar="[OPTIONS]",
    subcommand_metavar="[BRANCH | COMMAND [ARGS]...]",
)
@click.version_option(
    VERSION, "-V", "--version", prog_name="tachikoma", message="%(prog)s %(version)s"
)
def tree() -> None:
    """Every git branch gets a virtual machine of its own, with the worktree and Claude Code inside
    and no credential in it.
    """


def run_here(argv: Sequence[str]) -> int:
    """Run one command line with the real terminal and the real parts."""

    def join(terminal: Terminal, hypervisor: str | None) -> Runtime:
        return FleetRuntime(
            environ=terminal.environ, cwd=current_directory(), hypervisor=hypervisor
        )

    return main(argv, terminal=this_terminal(), make_runtime=join)


def main(argv: Sequence[str], *, terminal: Terminal, make_runtime: MakeRuntime) -> int:
    """Run one command line and give its exit status; never raises for what a user can cause."""
    line = arrange(argv)
    screen = Screen(terminal, command=line.command, as_json=line.as_json, verbose=line.verbose)
    _listen(verbose=line.verbose)
    try:
        status = _answer(line, screen, terminal, make_runtime)
        terminal.out.flush()
    except BrokenPipeError:
        screen.quiet_pipe()
        return _OUTPUT_GONE
    else:
        return status
    finally:
        screen.settle()


def _answer(line: Line, screen: Screen, terminal: Terminal, make_runtime: MakeRuntime) -> int:
    runtime: Runtime | None = None
    try:
        check_guess(line)
        runtime = make_runtime(terminal, line.hypervisor)
        return _parse_and_run(line, Door(runtime=runtime, screen=screen, terminal=terminal))
    except TachikomaError as error:
        failure = failure_of(error)
    except click.ClickException as error:
        failure = failure_of(_usage(error))
    except (KeyboardInterrupt, click.Abort):
        failure = _interrupted(signal.SIGINT, line)
    except Terminated as ended:
        failure = _interrupted(signal.Signals(ended.number), line)
    except BrokenPipeError:
        raise
    except Exception as bug:  # noqa: BLE001  a front door, the last who can tell of a bug
        failure = _bug(bug, runtime)
    screen.fail(failure)
    return failure.exit_status


def _parse_and_run(line: Line, door: Door) -> int:
    """Let click parse and call, without its own ideas of what an error looks like."""
    if COMPLETING in door.terminal.environ:
        tree.main(args=[], prog_name="tachikoma", obj=door)
    try:
        with tree.make_context("tachikoma", list(line.argv), obj=door) as context:
            given = tree.invoke(context)
    except click.exceptions.Exit as ended:
        return ended.exit_code
    return given if isinstance(given, int) else 0


def _usage(error: click.ClickException) -> UsageError:
    context = error.ctx if isinstance(error, click.UsageError) else None
    path = context.command_path if context is not None else "tachikoma"
    return UsageError(error.format_message().rstrip("."), hint=f"`{path} --help` tells more")


def _interrupted(number: signal.Signals, line: Line) -> Failure:
    error = Interrupted(
        "interrupted" if number is signal.SIGINT else f"ended by {number.name}",
        hint="the same command goes on where this one stopped" if line.command == "spawn" else "",
    )
    return replace(failure_of(error), exit_status=128 + number)


def _bug(bug: Exception, runtime: Runtime | None) -> Failure:
    told = redacted("".join(traceback.format_exception(bug)))
    _log.error("a bug: %s", told)
    kept = _kept(told, runtime) if runtime is not None else None
    return Failure(
        code="tachikoma.bug",
        message=f"this is a bug in tachikoma: {redacted(f'{type(bug).__name__}: {bug}')}",
        hint=f"please report it, with {kept}" if kept else "please report it",
        details="" if kept else told,
        exit_status=1,
    )


def _kept(told: str, runtime: Runtime) -> Path | None:
    """Keep a traceback in a file; None where even that is not possible."""
    path = runtime.paths.logs / f"bug-{int(runtime.clock.now())}.txt"
    try:
        private_dir(path.parent)
        write_atomically(path, told.encode("utf-8", "surrogateescape"))
    except HostError:
        return None
    return path


def _listen(*, verbose: bool) -> None:
    """Let what is logged be seen with ``--verbose`` only; what matters is said otherwise."""
    root = logging.getLogger()
    if not verbose:
        root.addHandler(_NOWHERE)
        return
    logging.basicConfig(level=logging.INFO, format="%(name)s: %(message)s", stream=sys.stderr)
    logging.getLogger("tachikoma").setLevel(logging.DEBUG)
