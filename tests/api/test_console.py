"""Administrators' pages: changes when the policy changes meanwhile, and checks that take long."""

import asyncio
import threading
from collections.abc import Awaitable, Callable
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest
from starlette.requests import Request
from starlette.responses import Response

from stagedoor.admin import service as admin
from stagedoor.admin.access import console_grants, console_rules
from stagedoor.admin.access.console import ConsoleService
from stagedoor.admin.access.views import HealthReport
from stagedoor.admin.guard import TRIES, StalePolicyError
from stagedoor.admin.roles import remove_role
from stagedoor.authz.step_up import StepUpRules
from stagedoor.listeners.web.console.frame import ConsoleFrame
from stagedoor.model.access_request import RequestRule
from stagedoor.model.denial import Denial
from stagedoor.model.grant import GrantRule
from stagedoor.model.identity import Identity, Method
from stagedoor.model.permission import ENTERING
from stagedoor.model.role import Role, RoleRule
from stagedoor.store.journal import StoreJournal
from stagedoor.store.policy import load_policy
from tests.api.world import World
from tests.store.sample import opened
from tests.waiting import BOUND_S, until

SESSION = "0199aaaa111122223333444455"
Change = Callable[[ConsoleService, Identity], Awaitable[object]]
CHANGES: dict[str, Change] = {
    "add a grant": lambda console, ada: console_grants.add_grant(
        console, ada, GrantRule(0, "user:nick", "secret", permissions=ENTERING)
    ),
    "remove a grant": lambda console, ada: console_grants.remove_grant(console, ada, 1),
    "make on request": lambda console, ada: console_grants.make_on_request(
        console, ada, 1, ["user:olga"]
    ),
    "add a request rule": lambda console, ada: console_rules.add_rule(
        console, ada, RequestRule(0, "user:nick", "secret", approvers=("user:olga",))
    ),
    "add a role": lambda console, ada: console_rules.add_rule(
        console, ada, RoleRule(0, "user:nick", Role.ADMINISTRATOR)
    ),
    "remove a role": lambda console, ada: console_rules.remove_rule(console, ada, RoleRule, 2),
    "disable a user": lambda console, ada: console.update_person(ada, "nick", "disable", ""),
    "close a session": lambda console, ada: console.end_session(ada, SESSION, "x"),
}


def refuse_health(_: bool) -> HealthReport:
    raise AssertionError


def open_console(
    world: World,
    *,
    is_stale: bool,
    read_health: Callable[[bool], HealthReport] = refuse_health,
) -> ConsoleService:
    """Return the pages' service; with `is_stale`, its worker has not read the policy since."""
    context = world.make_context(world.service.data_dir)
    if is_stale:
        held = load_policy(world.database)
        context = replace(context, policy=lambda: held)
    return ConsoleService(context, StepUpRules(), lambda: (), read_health)


@pytest.mark.parametrize("name", CHANGES)
async def test_a_role_that_was_just_removed_changes_nothing(world: World, name: str) -> None:
    StoreJournal(world.database).append([opened(SESSION)])
    admin.add_grant(world.service, "user:nick", "*")
    ada = world.person("ada")
    stale = open_console(world, is_stale=True)
    role = next(r for r in load_policy(world.database).roles.values() if r.subject == "user:ada")
    remove_role(world.service, role.id)
    before = load_policy(world.database)
    with pytest.raises(StalePolicyError):
        await CHANGES[name](stale, ada)
    refused = await CHANGES[name](open_console(world, is_stale=False), ada)
    assert isinstance(refused, Denial)
    assert load_policy(world.database) == before


@pytest.mark.parametrize("name", CHANGES)
async def test_each_change_is_made_by_the_current_policy(world: World, name: str) -> None:
    StoreJournal(world.database).append([opened(SESSION)])
    admin.add_grant(world.service, "user:nick", "*")
    done = await CHANGES[name](open_console(world, is_stale=False), world.person("ada"))
    assert not isinstance(done, Denial), done


async def test_a_sign_in_that_has_ended_changes_nothing(world: World) -> None:
    old = admin.set_password(world.service, "ada", "a long password")
    ada = replace(world.person("ada"), method=Method.PASSWORD, password_hash=old)
    admin.set_password(world.service, "ada", "another long password")
    refused = await CHANGES["add a grant"](open_console(world, is_stale=False), ada)
    assert isinstance(refused, Denial)
    assert "was changed" in refused.line


@pytest.mark.parametrize(("stale_for", "status"), [(TRIES - 1, 303), (TRIES, 503)])
async def test_a_change_is_judged_again_until_the_policy_stands_still(
    stale_for: int, status: int
) -> None:
    judged = []

    async def act(request: Request, identity: Identity, fields: dict[str, str]) -> str:
        judged.append(identity)
        if len(judged) <= stale_for:
            raise StalePolicyError
        return "/grants"

    async def read(*_: object) -> Any:
        return {}

    async def identify(request: Request) -> Identity:
        return Identity("ada", frozenset(), Method.SSO)

    def answer(title: str, message: str, status: int, identity: Identity) -> Response:
        return Response(message, status)

    pages: Any = SimpleNamespace(
        place=SimpleNamespace(path=""), read_form=read, identify=identify, answer_message=answer
    )
    reader = SimpleNamespace(version=1, read_newer_than=read)
    guard: Any = SimpleNamespace(flow=SimpleNamespace(policy=reader))
    console: Any = SimpleNamespace(has_any=lambda identity: True)
    route = ConsoleFrame(guard, pages, console).change("/admin/grants/add", act)
    request = Request({"type": "http", "method": "POST", "path": route.path, "headers": []})
    assert (await route.endpoint(request)).status_code == status
    assert len(judged) == TRIES


async def test_checks_of_health_run_once_for_all_who_ask_meanwhile(world: World) -> None:
    """Each run takes a thread for seconds, and the store needs the threads too."""
    may_end, runs = threading.Event(), list[bool]()

    def read_health(checks: bool) -> HealthReport:
        runs.append(checks)
        assert not checks or may_end.wait(BOUND_S)
        return HealthReport([], [])

    console, ann = open_console(world, is_stale=False, read_health=read_health), world.person("ann")
    try:
        asking = [asyncio.create_task(console.read_health(ann, checks=True)) for _ in range(3)]
        await until(lambda: runs)
        asking.pop().cancel()  # the browser was closed
        await console.read_health(ann, checks=False)
    finally:
        may_end.set()
    assert len({id(report) for report in await asyncio.gather(*asking)}) == 1
    await console.read_health(ann, checks=True)
    assert runs == [True, False, True]
