"""The start of a run by the API: a client waits less long for its answer than a start may take."""

import asyncio
from types import SimpleNamespace
from typing import Any

from stagedoor.laptop.web import ANSWER_S
from stagedoor.listeners.web.runs import Runs
from stagedoor.model.run import START_WITHIN_S, Run, RunState
from tests.session.stages import APP01, GRANT, OPENED
from tests.virtual_time import in_virtual_time

RUN_ID = "0123456789ab"


class SlowRuns:
    """A service whose runs wait for a node or an image."""

    def __init__(self) -> None:
        self.run: Run | None = None

    async def start(self, identity: object, order: object, *_: object) -> Run:
        self.run = Run(_[-1], APP01, "dev", "id", RunState.STARTING, 0.0, 60)  # type: ignore[arg-type]
        await asyncio.sleep(START_WITHIN_S)
        return self.run

    async def find(self, identity: object, run_id: str, origin: object) -> Run:
        assert self.run is not None
        assert self.run.id == run_id
        return self.run


@in_virtual_time
async def test_a_start_that_takes_long_is_answered_while_it_goes_on() -> None:
    posts: Any = SimpleNamespace(guard=SimpleNamespace(flow=None), make_route=lambda *_, **__: None)
    runs: Any = SlowRuns()
    for body in ({"id": RUN_ID}, {}):
        wanted = {"target": "app01", "command": "id", **body}
        async with asyncio.timeout(ANSWER_S):
            answer: Any = await Runs(posts, runs)._start(GRANT.identity, wanted, OPENED.source)
        assert answer["run"]["state"] == "starting"
        assert answer["run"]["id"] == body.get("id", answer["run"]["id"])
