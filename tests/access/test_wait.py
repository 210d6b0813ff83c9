"""The wait for an approver in the flow, with stand-ins for the requests and the policy."""

import asyncio
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, cast

import pytest

from stagedoor.model.access_request import AccessRequest, Offer, RequestRule, RequestState
from stagedoor.model.denial import Denial, Reason
from stagedoor.model.grant import Grant
from stagedoor.model.identity import Identity
from stagedoor.model.permission import DEFAULT, Permission, Permissions
from stagedoor.model.shell import ProgressStep
from stagedoor.model.target import Target
from stagedoor.serve.parts.policy_reader import WatchedPolicy
from stagedoor.session.access_request import AccessWait, AskReason
from tests.session.stages import APP01, DEV, GRANT
from tests.waiting import BOUND_S, until

RULE = RequestRule(1, "group:dev", "*", approvers=("group:sre",))
REFUSED = Denial.with_fix(
    Reason.NO_GRANT, "no grant", "stagedoor grant add", "ask an administrator"
)
PENDING = AccessRequest(7, "dev", (APP01,), DEFAULT, 1, "INC-1", 3600, 0, 3600)


class Desk:
    """The requests of one user and the policy in memory, which the test changes."""

    def __init__(self) -> None:
        self.may_ask = True
        self.request: AccessRequest | None = None
        self.verdict: Grant | Denial = REFUSED
        self.version = 1
        self.is_unavailable = False
        self.crowded = False
        self.asked: list[str] = []
        self.shown: list[str] = []
        self._news = asyncio.Event()

    @property
    def offers(self) -> "Desk":
        return self

    def change(self, what: Callable[[], None] = lambda: None) -> None:
        """Change the policy, and wake who waits for it."""
        what()
        self.version += 1
        news, self._news = self._news, asyncio.Event()
        news.set()

    def find_language(self, name: str) -> str | None:
        return None

    async def read_newer_than(self, version: int) -> bool:
        return self.version != version

    async def wait_for_change(self, version: int, within_s: float) -> bool:
        try:
            async with asyncio.timeout(within_s):
                await self._news.wait()
        except TimeoutError:
            pass
        return self.version != version

    def find_offer(self, identity: Identity, target: Target, needs: Permission) -> Offer | None:
        return Offer(RULE, target, "ssh gw request", self.request) if self.may_ask else None

    def find(self, number: int) -> AccessRequest | None:
        return PENDING if number == PENDING.id else None

    async def make(
        self, identity: Identity, targets: Sequence[Target], reason: str, *, needs: Permissions
    ) -> AccessRequest | Denial:
        self.asked.append(reason)
        self.request = PENDING
        return PENDING

    async def begin(self, identity: Identity, number: int) -> Denial | None:
        return None

    async def explain_end(self, number: int) -> Denial:
        return Denial(Reason.NO_GRANT, f"request {number} was denied")

    @contextmanager
    def count_waiting(self, identity: Identity) -> Iterator[bool]:
        yield not self.crowded

    async def wait(
        self, ask_reason: AskReason | None = None, *, may_wait: bool = True, wait_s: float = 900.0
    ) -> Grant | Denial:
        def show(step: ProgressStep) -> None:
            self.shown.append(step.detail)

        wait = AccessWait(self, self, lambda: self.verdict, DEV, APP01, Permission.ENTER)
        return await wait.wait(REFUSED, show, ask_reason, may_wait=may_wait, wait_s=wait_s)

    async def until_shown(self, text: str) -> None:
        async with asyncio.timeout(BOUND_S):
            while not any(text in line for line in self.shown):
                await asyncio.sleep(0)

    def approve(self) -> None:
        self.request = None
        self.verdict = replace(GRANT, request=PENDING.id)


@pytest.mark.access(19)
@pytest.mark.parametrize("may_wait", [True, False])
async def test_a_user_who_may_ask_for_nothing_gets_the_denial_as_it_is(*, may_wait: bool) -> None:
    desk = Desk()
    desk.may_ask = False
    assert await desk.wait(may_wait=may_wait) is REFUSED
    assert desk.shown == []


async def test_a_client_that_shows_nothing_is_refused_with_how_to_ask() -> None:
    desk = Desk()
    denial = await desk.wait(may_wait=False)
    assert isinstance(denial, Denial)
    assert denial.line == (
        "app01 is open on request (1 h at most; group:sre decides); ask: ssh gw request"
    )
    assert (denial.message, denial.reason) == (REFUSED.message, REFUSED.reason)


async def test_while_a_request_is_pending_every_client_waits() -> None:
    desk = Desk()
    desk.request = PENDING
    waiting = asyncio.create_task(desk.wait(may_wait=False))
    await desk.until_shown("request 7 waits for group:sre")
    desk.change(desk.approve)
    assert isinstance(await waiting, Grant)
    assert desk.shown[-1] == "for 1 h"


async def test_the_reason_is_asked_for_once_and_a_left_prompt_asks_for_nothing() -> None:
    desk = Desk()

    async def leave(line: str) -> str:
        return ""

    denial = await desk.wait(leave)
    assert isinstance(denial, Denial)
    assert desk.asked == []

    async def answer(line: str) -> str:
        desk.shown.append(line)
        return "INC-1"

    waiting = asyncio.create_task(desk.wait(answer))
    await desk.until_shown("request 7 waits")
    assert desk.asked == ["INC-1"]
    desk.change(desk.approve)
    assert isinstance(await waiting, Grant)


async def test_a_request_from_elsewhere_takes_the_place_of_the_instruction() -> None:
    desk = Desk()
    waiting = asyncio.create_task(desk.wait())
    await desk.until_shown("This login waits")
    desk.change(lambda: setattr(desk, "request", PENDING))
    await desk.until_shown("request 7 waits")
    desk.change(lambda: setattr(desk, "request", None))
    denial = await waiting
    assert denial == Denial(Reason.NO_GRANT, "request 7 was denied")


async def test_an_approval_between_two_looks_at_the_policy_is_no_denial() -> None:
    desk = Desk()
    desk.request = PENDING
    waiting = asyncio.create_task(desk.wait())
    await desk.until_shown("request 7 waits")
    calls = iter([REFUSED])
    granted = replace(GRANT, request=PENDING.id)

    class Changing(Desk):
        @property
        def verdict(self) -> Grant | Denial:  # type: ignore[override]
            return next(calls, granted)

        @verdict.setter
        def verdict(self, verdict: Grant | Denial) -> None: ...

    desk.__class__ = Changing
    desk.change(lambda: setattr(desk, "request", None))
    assert await waiting is granted


async def test_a_wait_is_bounded_and_crowded_ones_are_refused() -> None:
    desk = Desk()
    denial = await desk.wait(wait_s=0.0)
    assert isinstance(denial, Denial)
    assert "ask: ssh gw request" in denial.line
    desk.crowded, desk.shown = True, []
    assert isinstance(await desk.wait(), Denial)
    assert desk.shown == []
    assert PENDING.find_state(3600) is RequestState.LAPSED


class Watch:
    """A policy watch that counts how often the store is read."""

    def __init__(self) -> None:
        self.reads = 0
        self.is_closed = False
        self.last_policy = cast("Any", self)
        self.version = 1

    def refresh(self, done: Callable[[], None]) -> None:
        self.reads += 1
        done()


@pytest.mark.access(21)
async def test_all_who_wait_share_the_reads_of_the_store() -> None:
    watch = Watch()
    policy = WatchedPolicy(cast("Any", watch))
    assert not await policy.wait_for_change(1, 0.0)
    waiting = [asyncio.create_task(policy.wait_for_change(1, BOUND_S)) for _ in range(200)]
    await until(lambda: watch.reads >= 3)
    assert watch.reads < 20
    watch.version = 2
    assert all(await asyncio.gather(*waiting))
    assert await policy.wait_for_change(1, BOUND_S), "at once"
    await until(lambda: policy._reading is None)
