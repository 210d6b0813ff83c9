"""Attacks on the API with a role by app pattern, with a narrow token, and with made-up values."""

import asyncio
import base64
import json
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any, NoReturn

import msgspec
import pytest
from msgspec import structs

from stagedoor.admin import service as admin
from stagedoor.admin.access.console import ConsoleService
from stagedoor.admin.access.console_grants import list_request_views
from stagedoor.admin.access.views import HealthReport
from stagedoor.admin.person import set_disabled
from stagedoor.admin.requests import access_requests
from stagedoor.admin.roles import add_role
from stagedoor.authz.step_up import StepUpRules
from stagedoor.listeners.web.console.frame import read_end
from stagedoor.model.access_request import RequestRule
from stagedoor.model.denial import Denial
from stagedoor.model.passkey import PasskeyRecord
from stagedoor.model.permission import Permission
from stagedoor.model.role import Role, RoleRule
from stagedoor.model.selector import ALL_USERS
from stagedoor.model.shell import Progress
from stagedoor.model.target import Target
from stagedoor.store.administration.roles import SignInRules, has_administrator
from stagedoor.store.journal import StoreJournal
from stagedoor.store.sign_in.identities import ProviderAccount, link
from stagedoor.store.sign_in.passkeys import add_passkey
from stagedoor.wire.api.inputs import Name
from stagedoor.wire.api.operations import OPERATIONS, find_operation
from tests.api.world import APPS, World
from tests.store.sample import opened
from tests.waiting import BOUND_S

NICK = {"user": "nick", "app": "a-web"}


def ask_for(world: World, user: str, *apps: str) -> int:
    rule = RequestRule(0, f"user:{user}", "*", approvers=("user:ada",))
    rule = access_requests.add_rule(world.service, rule)
    targets = [Target(app) for app in apps]
    return access_requests.make_request(world.service, user, targets, rule, "INC-42").id


def console_of(world: World) -> ConsoleService:
    def read_health(_: bool) -> HealthReport:
        raise AssertionError

    context = world.make_context(world.service.data_dir)
    return ConsoleService(context, StepUpRules(), lambda: APPS, read_health)


async def test_a_role_for_some_apps_explains_nothing_about_others(world: World) -> None:
    for app in ("a-web", "secret", "a-*", "*"):
        admin.add_grant(world.service, "user:nick", app)
    ask_for(world, "nick", "secret")
    ask_for(world, "nick", "a-db", "secret")
    seen = await world.ask("ansel", "GET /access/explain", **NICK)
    assert seen.status == 200
    assert "secret" not in json.dumps(seen.said)
    assert [rule["rule"] for rule in seen.said["rules"]] == [
        "grant 1",
        "grant 3",
        "grant 4",
        "request 2",
    ]
    console = console_of(world)
    page = console.explain(world.person("ansel"), "nick", Target("a-web"))
    assert "secret" not in repr(page)
    whole = await world.ask("ann", "GET /access/explain", **NICK)
    assert json.dumps(whole.said).count("secret") > 2


async def test_a_role_for_some_apps_does_not_tell_users_from_other_names(world: World) -> None:
    """A user without rules for these apps is answered like a name that no user has."""
    admin.add_user(world.service, "dora", groups=["dev"])
    admin.add_user(world.service, "dean")
    set_disabled(world.service, "dean", disabled=True)
    admin.add_grant(world.service, "group:dev", "secret")
    console = console_of(world)
    for who in ("olga", "ansel"):
        answers, pages, grants = set(), set(), set()
        for name in ("dora", "dean", "nick", "absent"):
            seen = await world.ask(who, "GET /access/explain", user=name, app="a-web")
            answers.add(json.dumps([seen.status, seen.said]).replace(name, "X"))
            page = console.explain(world.person(who), name, Target("a-web"))
            pages.add(repr(page).replace(name, "X"))
            listed = await world.ask(who, "GET /grants", user=name)
            grants.add(json.dumps([listed.status, listed.said]).replace(name, "X"))
        assert (len(answers), len(pages), len(grants)) == (1, 1, 1), (answers, pages, grants)
    admin.add_grant(world.service, "group:dev", "a-web")
    seen = await world.ask("ansel", "GET /access/explain", user="dora", app="a-web")
    assert seen.said["lets_in"] is True
    assert (await world.ask("ann", "GET /grants", user="absent")).status == 404


async def test_only_an_owner_learns_names_by_grants_for_their_apps(world: World) -> None:
    """A mistyped name is an error, since the grant would wait for the next user of that name."""
    admin.add_user(world.service, "dora", groups=["dev"])
    admin.add_grant(world.service, "user:olga", "a-*")

    async def preview(who: str, subject: str) -> tuple[int, Any]:
        grant = {"subject": subject, "app": "a-web", "environment": "*", "permissions": ["enter"]}
        answer = await world.ask(who, "POST /grants", grant, dry_run="true")
        return answer.status, answer.said

    status, said = await preview("olga", "user:absent")
    assert (status, said["detail"]) == (404, "there is no user absent")
    for subject in ("user:dora", "group:dev"):
        status, said = await preview("olga", subject)
        assert (status, [gain["user"] for gain in said["gains"]]) == (200, ["dora"])
    status, said = await preview("olga", ALL_USERS)
    assert {"dora", "nick"} <= {gain["user"] for gain in said["gains"]}
    for who in ("otto", "ansel"):
        assert await preview(who, "user:dora") == await preview(who, "user:absent")
        assert (await preview(who, "user:dora"))[0] == 403
    for who in ("olga", "ansel"):
        assert (await world.ask(who, "GET /users")).status == 403


async def test_a_role_for_some_apps_does_not_tell_sessions_elsewhere_from_none(
    world: World,
) -> None:
    """The beginning of an id is a time, and that of two sessions was answered in other words."""
    journal, prefix = StoreJournal(world.database), "0123456789a"
    said = set()
    for number in range(3):
        for who in ("olga", "ansel"):
            seen = await world.ask(who, f"GET /sessions/{prefix}")
            said.add(json.dumps([seen.status, seen.said]))
            end = {"ids": [prefix], "reason": "x"}
            said.add(
                json.dumps((await world.ask("olga", "POST /sessions/close", end)).said["detail"])
            )
        journal.append([structs.replace(opened(f"{prefix}{number}"), target="secret.ssh")])
    assert len(said) == 2, said
    journal.append([structs.replace(opened(f"{prefix}9"), target="a-web.ssh")])
    assert (await world.ask("ansel", f"GET /sessions/{prefix}")).said["target"] == "a-web.ssh"
    assert (await world.ask("ann", f"GET /sessions/{prefix}")).status == 422


async def test_a_role_for_some_apps_sees_no_request_for_others_too(world: World) -> None:
    numbers = [ask_for(world, "nick", *apps) for apps in (["a-web"], ["a-db", "secret"])]
    for who, seen in (("ansel", numbers[:1]), ("ann", numbers)):
        views = await list_request_views(console_of(world), world.person(who))
        assert not isinstance(views, Denial)
        assert sorted(view.request.id for view in views) == seen


async def test_a_use_of_break_glass_is_listed_until_it_was_reviewed(world: World) -> None:
    glass = RequestRule(
        0, "user:nick", "*", longest_s=60, approvers=("user:ann",), approvals=0, is_break_glass=True
    )
    rule = access_requests.add_rule(world.service, glass)
    number = access_requests.make_request(
        world.service, "nick", [Target("a-web")], rule, "INC-1"
    ).id
    access_requests.leave_request(world.service, number)
    for expected in ([number], []):
        views = await list_request_views(console_of(world), world.person("ann"))
        assert not isinstance(views, Denial)
        assert [view.request.id for view in views] == expected
        listed = (await world.ask("ann", "GET /requests")).said["items"]
        assert [entry["id"] for entry in listed] == expected
        reviewed = await world.ask("ann", f"POST /requests/{number}/review")
        assert reviewed.status == (200 if expected else 422)


async def test_a_token_to_ask_reads_no_requests_of_others(world: World) -> None:
    theirs, own = ask_for(world, "nick", "secret"), ask_for(world, "ada", "a-web")
    asking = world.token("ada", "request")
    listed = (await world.ask(asking, "GET /requests")).said["items"]
    assert [entry["id"] for entry in listed] == [own]
    assert (await world.ask(asking, f"GET /requests/{theirs}")).status == 404
    assert (await world.ask(asking, f"GET /requests/{own}")).status == 200
    reading = world.token("ada", "request", "api:read")
    assert (await world.ask(reading, f"GET /requests/{theirs}")).status == 200


@pytest.mark.parametrize("path", [operation.path for operation in OPERATIONS if operation.is_list])
async def test_a_made_up_page_token_is_refused(world: World, path: str) -> None:
    huge = "1" + "0" * 400
    for text in (
        *("[1e999]", "[NaN]", f"[{huge}]", f"[{huge}, 'x']", "[NaN, 'x']", "[true, 'x']"),
        *("['\\ud800']", "['\\u0000']", "[1, '\\ud800']", "[1, '\\u0000']", "[[1]]", "[]", "{}"),
        "[" * 5000,
    ):
        token = base64.urlsafe_b64encode(text.replace("'", '"').encode()).decode().rstrip("=")
        refused = await world.ask("ada", f"GET {path}", page_token=token)
        assert refused.status in (200, 400), text  # 200: the list is empty


async def test_what_was_not_done_is_not_answered_again(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("stagedoor.api.service.TRIES", 0)
    body = {"subject": "user:nick", "app": "a-web", "environment": "*", "permissions": ["enter"]}
    key = {"idempotency-key": "k"}
    assert (await world.ask("ada", "POST /grants", body, key)).status == 503
    monkeypatch.undo()
    assert (await world.ask("ada", "POST /grants", body, key)).status == 201


async def test_who_is_recorded_gives_no_access_that_is_not(world: World) -> None:
    recorded = frozenset({Permission.ENTER, Permission.RECORD})
    admin.add_grant(world.service, "user:olga", "a-*", permissions=recorded)
    body = {"subject": "user:nick", "app": "a-web", "environment": "*", "permissions": ["enter"]}
    refused = await world.ask("olga", "POST /grants", body)
    assert (refused.status, "recorded" in refused.said["detail"]) == (403, True)
    body["permissions"] = ["enter", "record"]
    assert (await world.ask("olga", "POST /grants", body)).status == 201


@pytest.mark.parametrize(
    ("recorded", "given"), [("a-*b", "a-d*"), ("a-?b", "a-d*"), ("*b", "a-*"), ("a-[cd]b", "a-d*")]
)
async def test_a_duty_in_some_of_the_apps_is_found_whatever_the_patterns(
    world: World, recorded: str, given: str
) -> None:
    duty = frozenset({Permission.ENTER, Permission.RECORD})
    admin.add_grant(world.service, "user:olga", recorded, permissions=duty)
    admin.add_grant(world.service, "user:olga", given)
    body = {"subject": "user:nick", "app": given, "environment": "*", "permissions": ["enter"]}
    refused = await world.ask("olga", "POST /grants", body)
    assert (refused.status, "recorded" in refused.said["detail"]) == (403, True)


async def test_an_operator_leaves_an_administrator_who_can_sign_in(world: World) -> None:
    """An operator could disable every administrator, and remove their passkeys."""
    admin.set_password(world.service, "ada", "a long password")
    admin.add_user(world.service, "adam", groups=["admins"], password="a long password")
    add_role(world.service, RoleRule(0, "group:admins", Role.ADMINISTRATOR))
    assert (await world.ask("otto", "POST /users/adam/disable")).status == 200
    refused = await world.ask("otto", "POST /users/ada/disable")
    assert (refused.status, "administrator" in refused.said["detail"]) == (422, True)
    assert (await world.ask("ada", "POST /users/adam/enable")).status == 200
    tag = (await world.ask("adam", "GET /users/ada")).tag
    assert (await world.ask("adam", "DELETE /users/ada", headers=tag)).status == 200
    console = console_of(world)
    said = await console.update_person(world.person("otto"), "adam", "disable", "")
    assert isinstance(said, Denial)
    assert "administrator" in said.line


async def test_an_administrator_who_cannot_sign_in_is_none(world: World) -> None:
    admin.set_password(world.service, "ada", "a long password")
    admin.add_user(world.service, "adam")
    add_role(world.service, RoleRule(0, "user:adam", Role.ADMINISTRATOR))
    for what, body in (
        ("POST /users/ada/disable", None),
        ("POST /users/ada/password", {"password": None}),
    ):
        assert (await world.ask("adam", what, body)).status == 422, what
    role = next(
        r for r in admin.read_policy(world.service).roles.values() if r.subject == "user:ada"
    )
    tag = (await world.ask("adam", f"GET /roles/{role.id}")).tag
    assert (await world.ask("adam", f"DELETE /roles/{role.id}", headers=tag)).status == 422
    set_disabled(world.service, "ada", disabled=True)  # an administrator at the machine may


async def test_a_passkey_alone_leaves_no_administrator(world: World) -> None:
    """It signs in only users with a password, so its owner could no longer sign in."""
    admin.set_password(world.service, "ada", "a long password")
    passkey = PasskeyRecord("key", "ada", "laptop", "gate", b"", 0, world.now)
    with world.service.change("passkey.add") as change:
        add_passkey(change.transaction, passkey, 1)
    refused = await world.ask("ada", "POST /users/ada/password", {"password": None})
    assert (refused.status, "administrator" in refused.said["detail"]) == (422, True)


def test_an_administrator_signs_in_as_the_settings_allow(world: World) -> None:
    def has_one(groups: Sequence[str] | None, *issuers: str) -> bool:
        limits = None if groups is None else frozenset(groups)
        with world.database.read() as transaction:
            return has_administrator(
                transaction, world.now, SignInRules(limits, frozenset(issuers))
            )

    admin.set_password(world.service, "ada", "a long password")
    admin.change_groups(world.service, "ada", add=["local"])
    assert [has_one(groups) for groups in (None, ["other", "local"])] == [True, True]
    assert [has_one(groups, "https://sso") for groups in (["other"], [])] == [False, False]
    with world.service.change("sso.link") as change:
        link(change.transaction, ProviderAccount("https://sso", "1"), "ada", world.now)
    assert has_one([], "https://sso", "https://other")
    assert not has_one([], "https://other")


async def test_files_do_not_remove_the_user_who_applies_them(world: World) -> None:
    def files(text: str) -> dict[str, object]:
        return {"files": [{"path": "a.toml", "text": text}], "set": "s", "adopt": True}

    add_role(world.service, RoleRule(0, "user:nick", Role.ADMINISTRATOR))
    users = "users = [{name = 'ada'}, {name = 'nick'}]"
    assert (await world.ask("ada", "POST /sets/apply", files(users))).status == 200
    pruned = {**files("users = [{name = 'nick'}]"), "prune": True, "prune_at_most": 100}
    refused = await world.ask("ada", "POST /sets/apply", pruned)
    assert (refused.status, "yourself" in refused.said.get("detail", "")) == (403, True)
    assert (await world.ask("ann", "GET /users/ada")).status == 200


def test_no_name_has_control_characters() -> None:
    """A NUL in a query of PostgreSQL was answered as a store that fails."""
    free = set()

    def walk(schema: Any, name: str = "") -> None:
        if isinstance(schema, list):
            for item in schema:
                walk(item, name)
        elif isinstance(schema, dict):
            if schema.get("type") == "string" and not {"pattern", "enum", "format"} & set(schema):
                free.add(name)
            for key, value in schema.items():
                walk(value, name if key in ("items", "anyOf") else key)

    for operation in OPERATIONS:
        for kind in (operation.filters, operation.body):
            walk({} if kind is None else msgspec.json.schema(kind))
        path = operation.path.replace("{name}", "a\0").replace("{id}", "a\0")
        assert path == operation.path or find_operation(operation.method, path) == []
    assert free == {"password", "reason", "note", "keys", "text"}, "checked by their operations"
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert("a\0", Name)


@pytest.mark.parametrize("end", ["9999-12-31T23:59:59.999999Z", "9999-12-31T23:59:59-14:00"])
async def test_no_end_that_no_list_could_show_is_stored(world: World, end: str) -> None:
    """An owner's grant until the year 10000 made each list of grants a fault."""
    admin.add_grant(world.service, "user:olga", "a-*")
    about = {"app": "a-web", "environment": "*", "expires_at": end}
    text = f'grants = [{{subject = "user:nick", app = "wiki", expires = {end}}}]'
    for who, what, body in (
        ("olga", "POST /grants", {**about, "subject": "user:nick", "permissions": ["enter"]}),
        ("ada", "POST /roles", {**about, "subject": "user:nick", "role": "owner"}),
        ("ada", "POST /tokens", {"user": "nick", "scopes": None, "expires_at": end}),
        ("ada", "POST /sets/apply", {"set": "s", "files": [{"path": "a.toml", "text": text}]}),
    ):
        refused = await world.ask(who, what, body)
        assert "year 9998" in json.dumps(refused.said), what
    for place in ("/grants", "/roles", "/tokens", "/users/nick/report"):
        assert (await world.ask("ada", f"GET {place}")).status == 200


def test_a_form_takes_no_number_by_its_first_digits() -> None:
    assert read_end(" 3650 ", 0.0) == 3650 * 86400
    for days in ("3651", "0", "-1", "00001999999", "1" * 30, "1e3", "\u0661"):
        with pytest.raises(ValueError, match="number of days"):
            read_end(days, 0.0)


class _StuckApps:
    """The apps of a cluster, in which no shell comes up."""

    def __init__(self) -> None:
        self.starting = asyncio.Event()

    async def start(self, target: Target, progress: Progress) -> NoReturn:
        self.starting.set()
        await asyncio.Event().wait()
        raise AssertionError


async def test_starts_of_a_stuck_shell_do_not_delay_other_changes(world: World) -> None:
    """The operator of one app could keep the gateway from disabling users, 15 s for each start."""
    apps = _StuckApps()

    @asynccontextmanager
    async def open_cluster() -> AsyncIterator[Any]:
        yield apps

    world.api = world.make_api(world.service.data_dir, open_cluster)
    starting = asyncio.create_task(world.ask("otto", "POST /apps/a-web/start"))
    try:
        async with asyncio.timeout(BOUND_S):
            await apps.starting.wait()
            assert (await world.ask("otto", "POST /users/nick/disable")).status == 200
        assert not starting.done()
    finally:
        starting.cancel()
        await asyncio.wait([starting])


def test_only_changes_of_the_policy_wait_for_one_another() -> None:
    unbound = {act.name for act in OPERATIONS if act.method != "GET" and not act.changes_policy}
    assert unbound == {"apps.start", "apps.stop", "hooks.test"}
