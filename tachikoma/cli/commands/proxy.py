"""``tachikoma proxy start|stop|status``."""

from __future__ import annotations

import click

from tachikoma.cli import encode, words
from tachikoma.cli.door import Door
from tachikoma.cli.verb import Verb, VerbGroup
from tachikoma.model.events import Notice
from tachikoma.proxy.control import ProxyControl, ProxyStatus
from tachikoma.proxy.plan import Plan
from tachikoma.runtime import Runtime

_EXAMPLES = """\b
Examples:
  tachikoma proxy status
  tachikoma proxy stop
"""
_START_EXAMPLES = """\b
Examples:
  tachikoma proxy start --daemon
  tachikoma proxy start --port 19281
"""
_STOP_EXAMPLES = """\b
Examples:
  tachikoma proxy stop
"""
_STATUS_EXAMPLES = """\b
Examples:
  tachikoma proxy status
  tachikoma proxy status --json
"""


@click.group("proxy", cls=VerbGroup, no_args_is_help=False, epilog=_EXAMPLES)
def command() -> None:
    """The credential proxy: VMs reach the API through it and never hold the credential.

    `spawn` starts it by itself.
    """


@command.command("start", cls=Verb, epilog=_START_EXAMPLES)
@click.option("--daemon", is_flag=True, help="Start it in the background and come back.")
@click.option("--port", type=click.IntRange(1, 65535), help="Instead of credential_proxy_port.")
@click.option("--bind", metavar="ADDRESS", help="Instead of credential_proxy_bind.")
@click.pass_obj
def start(door: Door, *, daemon: bool, port: int | None, bind: str | None) -> int:
    """Run the proxy here until Ctrl-C; with --daemon in the background."""

    async def work(runtime: Runtime) -> ProxyStatus:
        door.warn()
        plan = runtime.proxy_plan(bind=bind, port=port)
        if not daemon:
            return await _serve(door, plan)
        control = ProxyControl(plan=plan, clock=runtime.clock)
        await control.ensure(door.screen.report)
        return await control.status()

    status = door.run(work)
    door.screen.give(_data(status), _lines(door, status) if daemon else ["the proxy has ended"])
    return 0


@command.command("stop", cls=Verb, epilog=_STOP_EXAMPLES)
@click.pass_obj
def stop(door: Door) -> int:
    """End the proxy of this user; requests under way may finish first."""
    stopped = door.run(lambda runtime: runtime.proxy_control.stop())
    said = "the proxy has ended" if stopped else "no proxy was running"
    door.screen.give({"was_running": stopped}, [said])
    return 0


@command.command("status", cls=Verb, epilog=_STATUS_EXAMPLES)
@click.pass_obj
def show(door: Door) -> int:
    """Tell whether the proxy runs, where, and what for. Exit status 1 if it does not run."""
    status = door.run(lambda runtime: runtime.proxy_status())
    door.screen.give(_data(status), _lines(door, status))
    return 0 if status.running else 1


async def _serve(door: Door, plan: Plan) -> ProxyStatus:
    from tachikoma.proxy.pidfile import Announcement
    from tachikoma.proxy.run import serve  # brings the HTTP library

    def announce(made: Announcement) -> None:
        where, upstream = made.endpoint, made.upstream
        door.screen.report(Notice(f"the proxy listens on {where} for {upstream}; Ctrl-C ends it"))

    await serve(plan, clock=door.runtime.clock, announce=announce)
    return ProxyStatus(running=False, endpoint=plan.endpoint)


def _data(status: ProxyStatus) -> encode.Data:
    return {
        "running": status.running,
        "endpoint": encode.endpoint(status.endpoint),
        "pid": status.pid,
        "version": status.version,
        "upstream": status.upstream,
        "since": status.since,
    }


def _lines(door: Door, status: ProxyStatus) -> list[str]:
    if not status.running:
        return [f"the proxy is not running ({status.endpoint}); `tachikoma spawn` starts it"]
    since = words.age(status.since, door.runtime.clock.now())
    head = door.screen.style("the proxy is running", "green")
    return [
        f"{head} on {status.endpoint}",
        f"  upstream  {words.clean(status.upstream or '-')}",
        f"  process   {status.pid}, version {status.version}, started {since}",
    ]
