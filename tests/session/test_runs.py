"""The start of a run that the runner has no room for."""

from types import SimpleNamespace
from typing import Any

from stagedoor.model.denial import Denial, Reason
from stagedoor.model.run import Run, RunOrder, RunState
from stagedoor.model.session import AccessMethod, LoginOrigin
from stagedoor.session.runs import RunService
from tests.session.stages import APP01, GRANT, OPENED

FULL = "the namespace of app01 has 100 runs, and more are not started; try again later"
KNOWN = Run("0123456789ab", APP01, GRANT.identity.name, "id", RunState.RUNNING, 0.0, 60)
ORIGIN = LoginOrigin(AccessMethod.WEB, OPENED.source)


async def find(run_id: str) -> list[Run]:
    return [KNOWN] if run_id == KNOWN.id else []


async def admit(*_: object, **__: object) -> object:
    return GRANT


async def start_access_clock(grant: object) -> object:
    return grant


async def test_a_limit_of_the_runner_refuses_a_run_and_records_none() -> None:
    runner: Any = SimpleNamespace(has=lambda _: True, find_limit=lambda _: FULL)
    runner.observe = lambda _: RunState.RUNNING
    flow: Any = SimpleNamespace(
        admit=admit,
        start_access_clock=start_access_clock,
        record_denial=lambda denial, *_: denial,
        now=lambda: 0.0,
    )
    records: Any = SimpleNamespace(find=find)
    nothing: Any = None
    service = RunService(flow, records, runner, nothing, nothing)
    order = RunOrder(APP01, "id", timeout_s=60)
    denial = await service.start(GRANT.identity, order, ORIGIN, None)
    assert denial == Denial(Reason.RUN_LIMIT, FULL), "75 by ssh, 429 by the API"
    repeated = await service.start(GRANT.identity, order, ORIGIN, None, KNOWN.id)
    assert repeated == KNOWN, "a request that is repeated finds the run that it has started"
