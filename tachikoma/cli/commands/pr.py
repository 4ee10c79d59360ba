"""``tachikoma pr [NAME]``."""

from __future__ import annotations

import click

from tachikoma.cli import words
from tachikoma.cli.completing import branches
from tachikoma.cli.door import Door
from tachikoma.cli.verb import Verb
from tachikoma.git.remotes import shown
from tachikoma.model.errors import UsageError
from tachikoma.vm.proposing import Ended, ProposeOutcome, ProposeRequest
from tachikoma.vm.requests import Target

_EXAMPLES = """\b
Examples:
  tachikoma pr
  tachikoma pr feature/login --title "Log in with a passkey"
  tachikoma pr --name feature/login --json
"""


@click.command("pr", cls=Verb, epilog=_EXAMPLES)
@click.argument("name_", metavar="[NAME]", required=False, shell_complete=branches)
@click.option("--name", "option", metavar="NAME", help="The same as the argument NAME.")
@click.option("--title", default="", help="Title of the pull request.")
@click.option("--to", default="", metavar="URL", help="Push there instead of to the remote.")
@click.option("-y", "--yes", is_flag=True, help="Do not ask where it goes to.")
@click.pass_obj
def command(
    door: Door, *, name_: str | None, option: str | None, title: str, to: str, yes: bool
) -> int:
    """Commit what is uncommitted, push the branch and open a pull request; print its URL.

    NAME is a branch or a VM (default: the current branch). The commit says what the agent in the
    VM said last, if that is known, or else what changed. Hooks and filters of the repository do
    not run: a VM may have written them. Without `gh` it says how to open the pull request by hand.
    """
    if name_ and option and name_ != option:
        raise UsageError("two names are given", hint="leave one of them out")
    target = Target(cwd=door.runtime.cwd, name=name_ or option)
    request = ProposeRequest(target=target, to=to, title=title)
    destination = door.run(lambda runtime: runtime.proposer.destination(request))
    where = words.clean(shown(destination.remote.url))
    if not destination.vouched and not yes and not door.confirm(f"Push to {where}?"):
        door.screen.note("nothing was done")
        return 1
    outcome = door.run(lambda runtime: runtime.proposer.propose(request, door.screen.report))
    door.screen.give(_data(outcome), [words.clean(line) for line in _lines(outcome, where)])
    return 0


def _lines(outcome: ProposeOutcome, where: str) -> list[str]:
    lines = []
    if outcome.committed is not None:
        lines.append(f"committed: {outcome.committed.subject}")
    if outcome.pushed:
        lines.append(f"pushed {outcome.branch} to {where}")
    match outcome.ended:
        case Ended.NOTHING if outcome.url:
            lines += ["nothing to do: the pull request has all of it", outcome.url]
        case Ended.NOTHING:
            lines.append(f"nothing to do: {outcome.branch} has nothing that {outcome.base} has not")
        case Ended.BY_HAND:
            lines += ["the pull request is yours to open:", f"  {outcome.next_step}"]
        case Ended.OPENED | Ended.UPDATED:
            lines.append(outcome.url)
    return lines


def _data(outcome: ProposeOutcome) -> dict[str, object]:
    committed = outcome.committed
    return {
        "branch": outcome.branch,
        "base": outcome.base,
        "remote": shown(outcome.remote.url),
        "ended": outcome.ended.value,
        "committed": None
        if committed is None
        else {"subject": committed.subject, "body": committed.body},
        "pushed": outcome.pushed,
        "url": outcome.url or None,
        "next_step": outcome.next_step or None,
    }
