"""What can be done with tasks, one method for each endpoint of that name."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from uuid import UUID, uuid4

from tachikoma.makima.commands import InjectSiblingContext, InterruptTask, SendMessage
from tachikoma.makima.record import TaskStatus
from tachikoma.makima.server import bodies, shapes
from tachikoma.makima.server.bell import rung_within
from tachikoma.makima.server.calls import Call, Person, Tool, conflict, not_found
from tachikoma.makima.server.changing import Change
from tachikoma.makima.server.course import DependencyFailed, Interrupted, Paused, Resumed, Retried
from tachikoma.makima.server.entries import Entry, Texts
from tachikoma.makima.server.fleet import Fleet
from tachikoma.makima.server.making import MOST_SUBTASKS, check_of_tool, made
from tachikoma.makima.server.shapes import Nothing, moment
from tachikoma.makima.server.store import Store
from tachikoma.makima.server.views import Views, chunk
from tachikoma.model.version import VERSION

_LOOKS_EACH_S = 5.0
_LONGEST_TOLD = 200
_HOUR_S = 3600.0


class Desk:
    """Carries out calls, for those whose tasks they are about."""

    def __init__(self, store: Store, fleet: Fleet) -> None:
        self.store = store
        self.fleet = fleet
        self.views = Views(store, fleet.here)

    async def entry(self, call: Call) -> Entry:
        """Give the task of a call.

        Raises:
            RequestError: there is none, or who calls does not reach it.
        """
        assert call.task is not None
        return await self.reached(call, call.task)

    async def reached(self, call: Call, task: UUID) -> Entry:
        """Give a task that who calls may see.

        Raises:
            RequestError: there is none, or it is somebody else's: which of both is not told.
        """
        entry = await self.store.entry(task)
        if entry is None or (
            call.under is not None and not await self.store.is_under(entry.id, call.under)
        ):
            raise not_found(f"task {task}")
        return entry

    # The server

    async def health(self, _: Call) -> shapes.Health:
        """Look whether the database answers."""
        await self.store.latest_event()
        return shapes.Health(healthy=True, version=VERSION)

    async def overview(self, _: Call) -> shapes.Overview:
        """Count."""
        counts = await self.store.counts()
        return shapes.Overview(
            version=VERSION,
            tasks={status.value: count for status, count in counts.items()},
            daemons_connected=len(self.fleet.here),
            daemons_known=len(await self.store.machines()),
            last_event=await self.store.latest_event(),
        )

    async def whoami(self, call: Call) -> shapes.Caller:
        """Say who calls."""
        match call.who:
            case Tool(task):
                entry = await self.reached(call, task)
                return shapes.Caller(kind="tool", name=entry.name, task=task)
            case Person(key):
                return shapes.Caller(kind="user", name=key.name, task=None)
            case _:
                raise AssertionError("nobody gets here without a key")

    # Making and looking

    async def create_task(self, call: Call) -> shapes.Task:
        """Take a task up; the same request with the same id gives the same task."""
        given = call.given(bodies.CreateTask)
        if call.under is not None:
            check_of_tool(given, call.under)
        asked = given.model_dump_json(by_alias=True)
        async with self.store.change() as change:
            before = await change.entry(given.id) if given.id is not None else None
            if before is not None:
                await self._check_same(change, call, before, asked)
                entry = before
            else:
                entry = await self._make(change, call, given, asked)
        return await self.views.whole(entry)

    async def _check_same(self, change: Change, call: Call, before: Entry, asked: str) -> None:
        texts = await change.texts(before.id)
        if texts.asked != asked or call.under not in {None, before.parent}:
            raise conflict("id_taken", f"there is another task {before.id}", "choose another id")

    async def _make(
        self, change: Change, call: Call, given: bodies.CreateTask, asked: str
    ) -> Entry:
        parent = await self._parent(change, call, given)
        if given.continue_from is not None:
            source = await self.reached(call, given.continue_from)
            if source.current is None:
                raise conflict(
                    "wrong_state", f"no daemon has begun with the task “{source.name}” yet"
                )
        new = made(given, id_=given.id or uuid4(), parent=parent, now=change.now)
        needs = [(await self.reached(call, each)).id for each in given.dependencies]
        texts = Texts(given.plan, copy_files=given.copy_files, asked=asked)
        entry = await change.add(new, texts, list(dict.fromkeys(needs)))
        for need in needs:
            on = await change.entry(need)
            if on is not None and on.status.ended and on.status is not TaskStatus.DONE:
                why = f"the task “{on.name}” that it depends on is {on.status}"
                return await change.say(entry, DependencyFailed(why))
        return entry

    async def _parent(self, change: Change, call: Call, given: bodies.CreateTask) -> Entry | None:
        id_ = call.under or given.parent
        if id_ is None:
            return None
        parent = await change.entry(id_)
        if parent is None:
            raise not_found(f"task {id_}")
        if len(await change.subtasks(parent.id)) >= MOST_SUBTASKS:
            raise conflict("too_many", f"a task has at most {MOST_SUBTASKS} subtasks")
        return parent

    async def list_tasks(self, call: Call) -> shapes.TaskPage:
        """Give a page of tasks."""
        query = call.asked(bodies.TaskQuery)
        if query.parent is not None and (parent := await self.store.entry(query.parent)):
            query = query.model_copy(update={"parent": parent.id})
        found, total = await self.store.entries(query, under=call.under)
        return shapes.TaskPage(
            items=await self.views.rows(found),
            total=total,
            limit=query.limit,
            offset=query.offset,
        )

    async def get_task(self, call: Call) -> shapes.Task:
        """Give a task, once it has ended if that is asked for."""
        entry = await self.entry(call)
        end = self.store.clock.monotonic() + call.asked(bodies.OneTaskQuery).wait_s
        with self.store.bells.heard(entry.id) as rung:
            while not entry.status.ended and (left := end - self.store.clock.monotonic()) > 0:
                await rung_within(rung, min(left, _LOOKS_EACH_S))
                rung.clear()
                entry = await self.entry(call)
        return await self.views.whole(entry)

    async def get_output(self, call: Call) -> shapes.OutputPage:
        """Give a piece of a task's output."""
        entry, query = await self.entry(call), call.asked(bodies.OutputQuery)
        after, limit = query.after, query.limit
        if query.last is not None:
            after, limit = await self.store.before_last(entry, query.last), query.last
        found = await self.store.printed(entry, after=after, limit=limit)
        account = await self.store.account(entry)
        following = found[-1].number if found else after
        return shapes.OutputPage(
            items=tuple(map(chunk, found)),
            next=following,
            more=following + 1 < account.next,
            dropped_bytes=account.dropped,
            ended=entry.status.ended,
        )

    async def get_events(self, call: Call) -> shapes.TaskEventPage:
        """Give a piece of a task's history."""
        entry, query = await self.entry(call), call.asked(bodies.EventQuery)
        found = await self.store.events(query.after, limit=query.limit, task=entry.id)
        return shapes.TaskEventPage(
            items=tuple(
                shapes.TaskEvent(id=each.id, at=moment(each.at), what=each.what, text=each.text)
                for each in found
            ),
            next=found[-1].id if found else query.after,
        )

    # Commands

    async def send_message(self, call: Call) -> Nothing:
        """Say something to the agent of a task."""
        entry, text = await self._at_work(call), call.given(bodies.Message).text
        assert entry.current is not None
        self.fleet.tell(entry, SendMessage(task_id=entry.current, message=text))
        await self._note(entry, "message", text)
        return Nothing()

    async def tell_of_sibling(self, call: Call) -> Nothing:
        """Tell the agent of a task what another one does."""
        entry, given = await self._at_work(call), call.given(bodies.Sibling)
        sibling = await self.reached(call, given.sibling)
        assert entry.current is not None
        self.fleet.tell(
            entry,
            InjectSiblingContext(
                task_id=entry.current,
                sibling_task_id=sibling.current or sibling.id,
                sibling_name=sibling.name,
                sibling_status=sibling.status.value,
                progress_summary=sibling.summary or None,
                changed_files=given.changed_files,
            ),
        )
        await self._note(entry, "message", f"it is told of “{sibling.name}”")
        return Nothing()

    async def pause_task(self, call: Call) -> shapes.Task:
        """Hold a task."""
        return await self._said(call, Paused(), needs_daemon=True)

    async def resume_task(self, call: Call) -> shapes.Task:
        """Let a task go on."""
        return await self._said(call, Resumed(), needs_daemon=True)

    async def interrupt_task(self, call: Call) -> shapes.Task:
        """End a task early; if its daemon is away, as soon as it comes back."""
        given = call.body or bodies.Interrupt()
        assert isinstance(given, bodies.Interrupt)
        shown = await self._said(call, Interrupted(), needs_daemon=False)
        entry = await self.entry(call)
        if not given.graceful and entry.standing.out and entry.machine in self.fleet.here:
            assert entry.current is not None
            self.fleet.tell(entry, InterruptTask(task_id=entry.current, graceful=False))
        return shown

    async def retry_task(self, call: Call) -> shapes.Task:
        """Try a task again."""
        given = call.body or bodies.Retry()
        assert isinstance(given, bodies.Retry)
        entry = await self.entry(call)
        async with self.store.change() as change:
            entry = await self._again(change, entry)
            tried = await change.say(entry, Retried(), "tried again")
            # What a daemon has that is not here cannot be gone on from.
            fresh = given.fresh or tried.machine not in self.fleet.here
            await change.put(replace(tried, fresh=fresh), "changed", "tried again")
        return await self.views.whole(await self.entry(call))

    async def archive_task(self, call: Call) -> shapes.Task:
        """Put a task out of the way, with what is below it, or back."""
        given = call.body or bodies.Archive()
        assert isinstance(given, bodies.Archive)
        entry = await self.entry(call)
        if given.archived and not entry.status.ended:
            raise conflict(
                "wrong_state",
                f"the task “{entry.name}” is {entry.status}",
                "interrupt it first, or wait until it has ended",
            )
        async with self.store.change() as change:
            await self._archive(change, await self._again(change, entry), archived=given.archived)
        return await self.views.whole(await self.entry(call))

    async def _archive(self, change: Change, entry: Entry, *, archived: bool) -> None:
        what = "archived" if archived else "taken back"
        await change.put(replace(entry, archived=archived), "archived", what)
        for each in await change.subtasks(entry.id):
            await self._archive(change, each, archived=archived)

    async def _said(
        self, call: Call, word: Interrupted | Paused | Resumed, *, needs_daemon: bool
    ) -> shapes.Task:
        entry = await self.entry(call)
        async with self.store.change() as change:
            entry = await self._again(change, entry)
            if needs_daemon and entry.standing.out:
                self.fleet.check_here(entry)
            entry = await change.say(entry, word)
        return await self.views.whole(entry)

    async def _again(self, change: Change, entry: Entry) -> Entry:
        """Give a task as it is within a change."""
        found = await change.entry(entry.id)
        assert found is not None
        return found

    async def _at_work(self, call: Call) -> Entry:
        entry = await self.entry(call)
        if not entry.standing.out:
            raise conflict(
                "wrong_state",
                f"no agent works on the task “{entry.name}”: it is {entry.status}",
                "retry it to go on from where it ended" if entry.status.ended else "wait for it",
            )
        return entry

    async def _note(self, entry: Entry, what: str, text: str) -> None:
        async with self.store.change() as change:
            await change.happened(what, text[:_LONGEST_TOLD], task=entry.id)

    # Daemons

    async def list_daemons(self, _: Call) -> shapes.DaemonList:
        """Give the daemons."""
        return shapes.DaemonList(items=await self.views.daemons())

    async def get_load(self, call: Call) -> shapes.LoadHistory:
        """Give the load of a daemon."""
        assert call.daemon is not None
        if call.daemon not in {each.id for each in await self.store.machines()}:
            raise not_found(f"daemon {call.daemon}")
        since = self.store.clock.now() - call.asked(bodies.LoadQuery).hours * _HOUR_S
        found: Sequence[tuple[float, int, int]] = await self.store.load(call.daemon, since)
        return shapes.LoadHistory(
            items=tuple(
                shapes.LoadSample(at=moment(at), active=active, most=most)
                for at, active, most in found
            )
        )
