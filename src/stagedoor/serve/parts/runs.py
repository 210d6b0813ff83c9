"""The runs of a worker: the service for its listeners, and the watch that records their ends."""

import time
from functools import partial

from stagedoor.admin.runs import RunRecords
from stagedoor.authz.decide import has_somewhere
from stagedoor.model.identity import Identity
from stagedoor.model.permission import Permission
from stagedoor.serve.parts.shells import open_local_runner
from stagedoor.serve.problem_log import ProblemLog
from stagedoor.session.flow import Flow
from stagedoor.session.run_watch import RunWatch
from stagedoor.session.runs import RunService
from stagedoor.settings.settings import Settings
from stagedoor.store.database import Database
from stagedoor.store.watch import PolicyWatch


def make_runs(
    settings: Settings,
    flow: Flow,
    database: Database,
    watch: PolicyWatch,
    instance: str,
    problems: ProblemLog,
) -> tuple[RunService, RunWatch]:
    """Return both for the worker `instance`. `problems` gets what the watch over runs cannot do."""
    records, runner = RunRecords(database, instance, time.time), open_local_runner(settings)

    def has_any(identity: Identity) -> bool:
        return has_somewhere(watch.policy, identity, Permission.RUN, time.time())

    service = RunService(flow, records, runner, has_any)
    return service, RunWatch(records, runner, time.time, partial(problems, "runs"))
