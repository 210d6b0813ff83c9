"""The reactions of a worker to a failed part."""

import asyncio
from types import SimpleNamespace

import pytest
import structlog

from stagedoor.model.session import STOPPED
from stagedoor.serve import worker
from stagedoor.serve.worker import Worker


async def test_a_worker_whose_relay_died_ends_so_that_it_is_replaced(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(worker, "TICK_S", 0)
    broken = Worker.__new__(Worker)
    broken._gateway = SimpleNamespace(relay=SimpleNamespace(is_alive=False))  # type: ignore[assignment]
    broken._log = structlog.get_logger()
    broken._must_close = False
    broken._news = asyncio.Event()
    await broken._tick()
    assert broken._must_close
    assert broken._news.is_set()


async def test_a_login_that_is_left_is_cancelled_because_of_the_stop() -> None:
    login = asyncio.create_task(asyncio.Event().wait())
    await asyncio.sleep(0)
    await worker._cancel_the_rest()
    with pytest.raises(asyncio.CancelledError, match=STOPPED):
        await login
