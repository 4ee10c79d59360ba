"""``tachikoma proxy start|stop|status|reload|log``."""

from __future__ import annotations

import asyncio
from datetime import datetime

import click

from tachikoma.cli import encode, words
from tachikoma.cli.door import Door
from tachikoma.cli.verb import Verb, VerbGroup
from tachikoma.model.errors import UsageError
from tachikoma.model.events import Notice
from tachikoma.proxy.control import ProxyControl, ProxyStatus
from tachikoma.proxy.plan import Plan
from tachikoma.proxy.reading import Request, Wanted, onwards, recent
from tachikoma.runtime import Runtime

_EXAMPLES = """\b
Examples:
  tachikoma proxy status
  tachikoma proxy stop
"""
_RELOAD_EXAMPLES = """\b
Examples:
  tachikoma proxy reload
"""
_LOG_EXAMPLES = """\b
Examples:
  tachikoma proxy log
  tachikoma proxy log --denied -f      what VMs ask for in vain
  tachikoma proxy log --vm feature/x -n 500
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
@click.option("--wait", is_flag=True, help="If it runs already, take over when that one ends.")
@click.option("--port", type=click.IntRange(1, 65535), help="Instead of credential_proxy_port.")
@click.option("--bind", metavar="ADDRESS", help="Instead of credential_proxy_bind.")
@click.pass_obj
def start(door: Door, *, daemon: bool, wait: bool, port: int | None, bind: str | None) -> int:
    """Run the proxy here until Ctrl-C; with --daemon in the background."""
    if daemon and wait:
        raise UsageError("--daemon comes back, and --wait waits", hint="leave one of them out")

    async def work(runtime: Runtime) -> ProxyStatus:
        door.warn()
        plan = runtime.proxy_plan(bind=bind, port=port)
        control = ProxyControl(plan=plan, clock=runtime.clock)
        if wait:
            await control.ended(door.screen.report)
        if not daemon:
            return await _serve(door, plan)
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


@command.command("reload", cls=Verb, epilog=_RELOAD_EXAMPLES)
@click.pass_obj
def reload(door: Door) -> int:
    """Have the proxy read its settings again, and ask the credential sources anew.

    It sees a changed settings file by itself; this is for what lies behind the settings, such as
    what the package managers of this host say about their registries. Exit status 1 if it does
    not run.
    """
    told = door.run(lambda runtime: runtime.proxy_control.reload())
    said = "the proxy reads its settings again" if told else "no proxy is running"
    door.screen.give({"was_running": told}, [said])
    return 0 if told else 1


@command.command("log", cls=Verb, epilog=_LOG_EXAMPLES)
@click.option("-f", "--follow", is_flag=True, help="Go on with every request as it ends.")
@click.option("--vm", metavar="NAME", help="Only those of a VM, or of a branch.")
@click.option("--denied", is_flag=True, help="Only those that were refused.")
@click.option("-n", "--lines", type=click.IntRange(0), default=50, help="How many (50).")
@click.pass_obj
def log(door: Door, *, follow: bool, vm: str | None, denied: bool, lines: int) -> int:
    """Show the requests and tunnels of the VMs, the latest last."""
    if follow and door.screen.as_json:
        raise UsageError(
            "a log that goes on is not one JSON document",
            hint="leave out --json or --follow; `tachikoma config` tells where the file is",
        )

    async def work(runtime: Runtime) -> None:
        file = runtime.proxy_plan().requests_file
        wanted = Wanted(vm=vm, denied=denied)
        found, position = await asyncio.to_thread(recent, file, wanted, most=lines)
        door.screen.give(
            {"requests": list(found)}, [_request_line(door, request) for request in found]
        )
        if not found and not follow:
            door.screen.note("no such request has been recorded")
        if follow:
            async for request in onwards(file, wanted, position=position, clock=runtime.clock):
                door.screen.give({}, [_request_line(door, request)])

    door.run(work)
    return 0


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


def _request_line(door: Door, request: Request) -> str:
    """Give one request as a line: when, the status, whose, what, and what came of it."""
    at = datetime.fromisoformat(str(request["time"])).astimezone()
    status, verdict = request.get("status"), str(request.get("verdict"))
    looks = {"forwarded": ("green",), "answered": ("dim",)}.get(verdict, ("red",))
    what = str(request.get("host") or request.get("path") or "-")
    if request.get("host") and str(request.get("method")) != "CONNECT":
        what = str(request.get("path"))
    parts = [
        at.strftime("%H:%M:%S"),
        door.screen.style(words.pad(str(status or "-"), 3), *looks),
        words.pad(words.clean(str(request.get("branch") or request.get("vm") or "-")), 12),
        words.clean(f"{request.get('method') or '-'} {what}"),
        f" {float(str(request.get('duration_s') or 0)):.1f} s",
    ]
    if isinstance(tokens := request.get("tokens"), dict):
        parts.append(f" {sum(tokens.values()):,} tokens of {request.get('model') or '-'}")
    if verdict not in ("forwarded", "answered"):
        why = words.clean(str(request.get("why") or ""))
        parts.append(door.screen.style(f" {verdict}" + (f": {why}" if why else ""), *looks))
    return " ".join(parts)
