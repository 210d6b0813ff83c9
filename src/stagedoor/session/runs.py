"""Runs for listeners: starting, finding and cancelling them. `RunReader` follows their output.

Every call asks the flow whether the user has the permission `run` for the app now. A run does not end with
its user's grant, because a task cut off in the middle may do more harm than one that ends at its time limit.
`run_watch` keeps the records correct, whatever happens to gateways.
"""

import asyncio
import secrets
from collections.abc import Callable, Coroutine, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Any, TypeVar

from stagedoor.model.denial import Denial, Reason
from stagedoor.model.event import EventKind
from stagedoor.model.grant import Grant
from stagedoor.model.identity import Identity
from stagedoor.model.permission import Permission
from stagedoor.model.run import (
    CANCELLED_CODE,
    NOT_STARTED_CODE,
    Run,
    RunEnd,
    RunLog,
    RunOrder,
    RunState,
    check_order,
    is_run_id,
)
from stagedoor.model.session import AccessMethod, LoginOrigin
from stagedoor.model.shell import Progress
from stagedoor.model.target import Target
from stagedoor.session.flow import Flow
from stagedoor.session.ports import RunRecords
from stagedoor.session.revoke import require_permission
from stagedoor.session.run_input import RunInputs
from stagedoor.session.run_reader import RunReader, make_unknown_run_denial
from stagedoor.session.run_watch import RecordRun
from stagedoor.shells.runner import Runner
from stagedoor.wire.oneline import to_one_line

ID_BYTES = 6
AUDIT_AGAIN_S = 3600.0
"""The time after which another view by the same user is audited, since a client reads a log in pieces."""
_MAX_VIEWS = 1000
_Result = TypeVar("_Result")


class RunService(RunReader):
    """The runs of a gateway. Belongs to one event loop."""

    def __init__(
        self,
        flow: Flow,
        records: RunRecords,
        runner: Runner,
        record: RecordRun,
        has_any: Callable[[Identity], bool],
    ) -> None:
        super().__init__(flow, records, runner, record)
        self.has_any = has_any
        """Returns whether some grant may permit a user to run tasks, by the policy in memory."""
        self._tasks: set[asyncio.Task[Any]] = set()
        self._viewed_at: dict[tuple[str, str], float] = {}
        self.input = RunInputs(records, runner, self._begin_soon, flow.now)

    async def start(
        self,
        identity: Identity,
        order: RunOrder,
        origin: LoginOrigin,
        progress: Progress | None,
        run_id: str | None = None,
    ) -> Run | Denial:
        """Start a run, and return it once its task runs or could not be started.

        The client chooses `run_id`, so that a repeated request returns the run that the first one started.

        `progress` shows a terminal's user how to ask for access, or how to give a fresh proof of presence if
        the app requires one. A run that has begun to start continues if this call is cancelled.

        A run that takes its input as a whole is returned while it waits for the input; `RunInputs.end` starts
        it.
        """
        why = check_order(order)
        if why is not None:
            return self._flow.record_denial(
                Denial(Reason.BAD_REQUEST, why), origin, identity, order.target
            )
        grant = await self._flow.admit(
            identity,
            order.target,
            origin.source,
            progress,
            needs=Permission.RUN,
            may_wait=True,
            is_page=origin.access_method is AccessMethod.WEB,
        )
        if isinstance(grant, Grant):
            grant = self._check_runner(order) or await self._flow.start_access_clock(grant)
        if isinstance(grant, Denial):
            return self._flow.record_denial(grant, origin, identity, order.target)
        if run_id is not None:
            started = await self._records.find(run_id)
            if isinstance(started, Denial):
                return started
            if started:
                denial = _check_same(started[0], order, identity)
                return denial or await self.refresh(started[0])
        starting = self._start(grant, order, origin, run_id or secrets.token_hex(ID_BYTES))
        return await asyncio.shield(self.keep_task(starting))

    def has_input_stream(self, target: Target) -> bool:
        """Return whether runs of this app read their input while the client sends it."""
        return not self._runner.has(target) or self._runner.has_input_stream(target)

    def _check_runner(self, order: RunOrder) -> Denial | None:
        """Return why no runner can execute the order, or None."""
        target, name = order.target, order.target.login_name
        if not self._runner.has(target):
            return Denial(
                Reason.SHELL_UNAVAILABLE,
                f"{name} has no runs, as it has an SSH server of its own; run the command in its shell: "
                f"ssh {name}@GATEWAY COMMAND",
            )
        if order.size is None or order.size in (sizes := self._runner.list_sizes(target)):
            return None
        if not sizes:
            return Denial(
                Reason.BAD_REQUEST, f"runs of {name} have no sizes; start it without --size"
            )
        return Denial(
            Reason.BAD_REQUEST,
            f"runs of {name} have no size {order.size}; give --size one of: {', '.join(sorted(sizes))}",
        )

    async def _start(
        self, grant: Grant, order: RunOrder, origin: LoginOrigin, run_id: str
    ) -> Run | Denial:
        limit = self._runner.find_limit(order.target)
        if limit is not None:
            denial = Denial(Reason.RUN_LIMIT, limit)
            return self._flow.record_denial(denial, origin, grant.identity, order.target)
        awaits_input = order.has_input and not self.has_input_stream(order.target)
        run = await self._records.add(
            run_id,
            order,
            grant.identity.name,
            origin,
            awaits_input=awaits_input,
            is_recorded=Permission.RECORD in grant.permissions,
        )
        if isinstance(run, Denial):
            return self._flow.record_denial(run, origin, grant.identity, order.target)
        return run if awaits_input else await self._begin(run, order)

    def _begin_soon(self, run: Run, whole_input: bytes) -> None:
        self.keep_task(self._begin(run, run.order, whole_input))

    async def _begin(self, run: Run, order: RunOrder, whole_input: bytes = b"") -> Run | Denial:
        """Have the runner start the task of a run that is recorded as starting."""
        why = await self._runner.start(run.id, order, whole_input)
        if why is not None:
            at = self._flow.now()
            end = RunEnd(RunState.NOT_STARTED, NOT_STARTED_CODE, at, why)
            ended = await self._records.end(run.id, end, RunLog())
            # Only now; earlier, the end of its remains might be recorded before this end.
            with suppress(OSError):
                await asyncio.to_thread(self._runner.cancel, run.id)
            return ended if isinstance(ended, Denial) else run.with_end(end, 0)
        # If the store fails now, `RunWatch` marks it later.
        if await self._records.mark_running(run.id) is False:
            await asyncio.to_thread(self._runner.cancel, run.id)
        return replace(run, state=RunState.RUNNING)

    async def list_runs(
        self, identity: Identity, target: Target | None = None
    ) -> Sequence[Run] | Denial:
        """Return the runs of the apps for which the user has the permission, or of one of them.

        Runs of an app that requires a fresh proof of presence are left out while there is none.
        """
        authoriser = self._flow.authoriser

        def is_shown(of: Target) -> bool:
            if target not in (None, of):
                return False
            verdict = authoriser.authorise(identity, of, includes_unbegun=False)
            has_permission = isinstance(require_permission(Permission.RUN, verdict), Grant)
            return has_permission and authoriser.check_proof(identity, of) is None

        return await self._records.list_runs(is_shown)

    async def find(self, identity: Identity, prefix: str, origin: LoginOrigin) -> Run | Denial:
        """Return the run whose id begins with `prefix`, if the user may see it.

        A run that they may not see is refused like one that does not exist.
        """
        if not is_run_id(prefix):
            return make_unknown_run_denial(to_one_line(prefix, 20))
        runs = await self._records.find(prefix)
        if isinstance(runs, Denial):
            return runs
        visible = []
        for run in runs:
            grant = await self._grant(identity, run.target)
            if isinstance(grant, Grant):
                visible.append((run, grant))
            else:
                self._flow.record_denial(grant, origin, identity, run.target)
        if len(visible) > 1:
            why = f"several runs begin with {prefix}; write more of the id"
            return Denial(Reason.BAD_REQUEST, why)
        if not visible:
            return make_unknown_run_denial(prefix)
        run, grant = visible[0]
        begun = await self._flow.start_access_clock(grant)
        return begun if isinstance(begun, Denial) else await self.refresh(run)

    async def find_proved(
        self, identity: Identity, prefix: str, origin: LoginOrigin
    ) -> Run | Denial:
        """Return a run as `find` does, after a fresh proof of presence if its app wants one."""
        run = await self.find(identity, prefix, origin)
        if isinstance(run, Denial):
            return run
        proof = await self._flow.check_step_up(identity, run.target)
        if isinstance(proof, Denial):
            return self._flow.record_denial(proof, origin, identity, run.target)
        return run

    async def open_log(self, identity: Identity, prefix: str, origin: LoginOrigin) -> Run | Denial:
        """Return a run whose output the user may read; a view of another user's run is audited first."""
        run = await self.find_proved(identity, prefix, origin)
        if isinstance(run, Denial):
            return run
        key, now = (identity.name, run.id), self._flow.now()
        if run.starter == identity.name or now - self._viewed_at.get(key, 0.0) < AUDIT_AGAIN_S:
            return run
        denial = await self._records.note(EventKind.RUN_VIEWED, run, identity.name, origin)
        if denial is not None:
            return denial
        if len(self._viewed_at) >= _MAX_VIEWS:
            self._viewed_at.clear()  # some views are then audited once more
        self._viewed_at[key] = now
        return run

    async def cancel(self, identity: Identity, prefix: str, origin: LoginOrigin) -> Run | Denial:
        """Ask a run to end. Anyone with the permission for its app may, and the audit names them."""
        run = await self.find(identity, prefix, origin)
        if isinstance(run, Denial) or run.is_over:
            return run
        denial = await self._records.note(EventKind.RUN_CANCELLED, run, identity.name, origin)
        if denial is not None:
            return denial
        if run.state is RunState.WAITING:
            end = RunEnd(RunState.CANCELLED, CANCELLED_CODE, self._flow.now())
            ended = await self._records.end(run.id, end, RunLog())
            return run if ended is None else ended
        try:
            await asyncio.to_thread(self._runner.cancel, run.id)
        except OSError:
            return Denial(
                Reason.SHELL_UNAVAILABLE,
                f"run {run.id} is on a machine that this gateway does not reach; cancel it at the gateway "
                "where it was started",
            )
        return run

    def keep_task(self, work: Coroutine[None, None, _Result]) -> asyncio.Task[_Result]:
        """Do `work` in a task that outlives its client's connection."""
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def _grant(self, identity: Identity, target: Target) -> Grant | Denial:
        return require_permission(Permission.RUN, await self._flow.authorise(identity, target))


def _check_same(run: Run, order: RunOrder, identity: Identity) -> Denial | None:
    """Refuse a request with the id of a run that another request has started."""
    given = (identity.name, order.target, order.command)
    if (run.starter, run.target, run.command) == given:
        return None
    return Denial(Reason.BAD_REQUEST, f"the id {run.id} is in use; choose another for this run")
