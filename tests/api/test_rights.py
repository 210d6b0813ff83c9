"""Who may do what over the API: attacks first."""

import re

import pytest
from msgspec import structs

from stagedoor.admin import roles
from stagedoor.admin import service as admin
from stagedoor.admin.requests import access_requests
from stagedoor.admin.sign_ins import list_sign_ins
from stagedoor.api import access, apps, hooks, links, people, recordings, requests, sets
from stagedoor.api.handlers import find_handler
from stagedoor.authz.decide import authorise
from stagedoor.model.access_request import RequestRule
from stagedoor.model.denial import Denial
from stagedoor.model.grant import GrantRule
from stagedoor.model.identity import Identity, Method
from stagedoor.model.permission import DEFAULT, Permission
from stagedoor.model.role import ApiScope, Role, RoleRule
from stagedoor.model.selector import ALL_USERS
from stagedoor.model.target import Target
from stagedoor.store.journal import StoreJournal
from stagedoor.wire.api.operation import Operation
from stagedoor.wire.api.operations import BY_NAME, OPERATIONS
from tests.api.world import Reply, World
from tests.fixtures.people import sign_in
from tests.store.sample import opened


def grant(subject: str, app: str, *permissions: str, **more: object) -> dict[str, object]:
    words = list(permissions) or ["enter"]
    return {"subject": subject, "app": app, "environment": "*", "permissions": words, **more}


def path_of(operation: Operation) -> str:
    return f"{operation.method} {operation.path.format(name='nick', id='1')}"


# Raising oneself.


async def test_no_role_is_given_to_oneself(world: World) -> None:
    roles.add_role(world.service, RoleRule(0, "group:admins", Role.ADMINISTRATOR))
    admin.change_groups(world.service, "ada", add=["admins"])
    for subject in ("user:ada", "group:admins"):
        body = {"subject": subject, "role": "owner", "app": "*", "environment": "*"}
        refused = await world.ask("ada", "POST /roles", body)
        assert refused.status == 403
        assert "to yourself" in refused.said["detail"]
    for who in ("olga", "otto", "ann", "nick"):
        body = {"subject": f"user:{who}", "role": "administrator", "app": "*", "environment": "*"}
        assert (await world.ask(who, "POST /roles", body)).status == 403


async def test_no_user_grants_themselves_what_they_lack(world: World) -> None:
    admin.change_groups(world.service, "ada", add=["dev"])
    for subject in ("user:ada", "group:dev", ALL_USERS):
        refused = await world.ask("ada", "POST /grants", grant(subject, "secret"))
        assert refused.status == 403, subject
    refused = await world.ask("olga", "POST /grants", grant("user:olga", "a-web"))
    assert refused.status == 403
    assert "you lack enter" in refused.said["detail"]


async def test_an_owner_gives_what_they_have_and_no_longer_than_they_have_it(world: World) -> None:
    until = world.now + 3600
    admin.add_grant(world.service, "user:olga", "a-*", expires_at=until)
    body = grant("user:nick", "a-web")
    assert (await world.ask("olga", "POST /grants", body)).status == 403, "it had no end"
    body["expires_at"] = "2100-01-01T00:00:00Z"
    assert (await world.ask("olga", "POST /grants", body)).status == 403
    from datetime import UTC, datetime

    body["expires_at"] = datetime.fromtimestamp(int(until) - 60, UTC).isoformat()
    assert (await world.ask("olga", "POST /grants", body)).status == 201
    body |= {"app": "a-db", "permissions": ["enter", "forward"]}
    refused = await world.ask("olga", "POST /grants", body)
    assert "you lack forward for all of a-db" in refused.said["detail"]
    for app in ("secret", "*", "?-web", "[a-z]-web"):
        body |= {"app": app, "permissions": ["enter"]}
        assert (await world.ask("olga", "POST /grants", body)).status == 403, app


async def test_an_owner_ends_no_duty(world: World) -> None:
    admin.add_grant(world.service, "user:olga", "a-*")
    for app, permissions, resume_s in (
        ("a-web", frozenset({Permission.ENTER, Permission.RECORD}), None),
        ("a-db", frozenset({Permission.ENTER}), 0.0),
    ):
        rule = admin.add_grant(
            world.service, "user:nick", app, permissions=permissions, resume_s=resume_s
        )
        place = f"/grants/{rule.id}"
        seen = await world.ask("olga", f"GET {place}")
        assert (await world.ask("olga", f"DELETE {place}", headers=seen.tag)).status == 403
        body = {"permissions": ["enter"], "resume_s": None}
        assert (await world.ask("olga", f"PUT {place}", body, seen.tag)).status == 403
        assert (await world.ask("ada", f"DELETE {place}", headers=seen.tag)).status == 200


async def test_an_administrator_joins_no_group(world: World) -> None:
    seen = await world.ask("ada", "GET /users/ada")
    refused = await world.ask("ada", "PUT /users/ada/groups", {"groups": ["ops"]}, seen.tag)
    assert refused.status == 403
    for who in ("otto", "olga"):
        assert (
            await world.ask(who, "PUT /users/nick/groups", {"groups": ["ops"]}, seen.tag)
        ).status == 403


@pytest.mark.parametrize("resume_s", [None, 0.0], ids=["a duty", "a limit"])
async def test_an_administrator_leaves_no_group_that_binds_them(
    world: World, resume_s: float | None
) -> None:
    words = DEFAULT if resume_s is not None else DEFAULT | {Permission.RECORD}
    admin.add_grant(world.service, "group:bound", "*", permissions=words, resume_s=resume_s)
    for who in ("ada", "nick"):
        admin.change_groups(world.service, who, add=["bound", "free"])
    seen = await world.ask("ada", "GET /users/ada")
    refused = await world.ask("ada", "PUT /users/ada/groups", {"groups": ["free"]}, seen.tag)
    assert (refused.status, "duty or a limit" in refused.said["detail"]) == (403, True)

    async def apply(bound: str, free: str) -> Reply:
        rows = ((name, users) for name, users in (("bound", bound), ("free", free)))
        text = "".join(f"[[groups]]\nname = '{n}'\nmembers = [{users}]\n" for n, users in rows)
        more = {"set": "s", "adopt": True, "prune": True, "prune_at_most": 100}
        return await world.ask(
            "ada", "POST /sets/apply", {"files": [{"path": "a.toml", "text": text}], **more}
        )

    assert (await apply("'ada', 'nick'", "'ada', 'nick'")).said["applied"] is True
    refused = await apply("'nick'", "'ada'")
    assert (refused.status, "duty or a limit" in refused.said["detail"]) == (403, True)
    assert (await apply("'ada'", "'nick'")).said["applied"] is True


async def test_an_operator_only_takes_away(world: World) -> None:
    assert (await world.ask("otto", "POST /users/nick/disable")).status == 200
    assert (await world.ask("otto", "POST /users/nick/enable")).status == 403
    assert (await world.ask("otto", "POST /grants", grant("user:nick", "a-web"))).status == 403


async def test_no_user_disables_or_removes_themselves(world: World) -> None:
    seen = await world.ask("ada", "GET /users/ada")
    for who, what in (("otto", "POST /users/otto/disable"), ("ada", "POST /users/ada/disable")):
        assert (await world.ask(who, what)).status == 403, what
    refused = await world.ask("ada", "DELETE /users/ada", headers=seen.tag)
    assert refused.status == 403
    assert "ask another administrator" in refused.said["detail"]


async def test_one_character_ends_no_sign_in(world: World) -> None:
    sign_in(world.database, Identity("nick", frozenset(), Method.PASSWORD), world.now)
    [kept] = list_sign_ins(world.service, "nick")
    refused = await world.ask(
        "otto", "POST /sign-ins/end", {"ids": [kept.id[:1]], "reason": "slip"}
    )
    assert "too short for a sign-in's id" in refused.said["detail"]
    assert list_sign_ins(world.service, "nick") == [kept]


async def test_files_give_no_user_what_they_could_not_give_themselves(world: World) -> None:
    admin.change_groups(world.service, "ada", add=["dev"])
    for text, said in (
        (
            'users = [{name = "nick", groups = ["ops"]}]\n[[groups]]\nname = "ops"\nmembers = ["ada"]',
            "cannot add themselves",
        ),
        (
            'grants = [{subject = "user:ada", app = "secret"}]',
            "you lack enter files for all of secret",
        ),
        ('grants = [{subject = "everybody", app = "*"}]', "you lack"),
        (
            'request_rules = [{subject = "group:dev", app = "*", approvals = 0}]',
            "you cannot let yourself ask",
        ),
    ):
        body = {"set": "mine", "files": [{"path": "a.toml", "text": text}], "adopt": True}
        before = admin.read_policy(world.service)
        for query in ({}, {"dry_run": "true"}):
            refused = await world.ask("ada", "POST /sets/apply", body, **query)
            assert (refused.status, said in refused.said["detail"]) == (403, True), refused.said
        assert admin.read_policy(world.service) == before


async def test_files_are_applied_whole_or_not_at_all(world: World) -> None:
    text = 'set = "s"\ngrants = [{subject = "user:nick", app = "wiki"}]'
    body = {"files": [{"path": "a.toml", "text": text}]}
    before = admin.read_policy(world.service)
    dry = await world.ask("ada", "POST /sets/apply", body, dry_run="true")
    assert (dry.status, dry.said["applied"], len(dry.said["changes"])) == (200, False, 1)
    assert dry.said["rights"][0]["users"] == ["nick"]
    wrong = {"files": [*body["files"], {"path": "b.toml", "text": text.replace("nick", "x")}]}
    problems = await world.ask("ada", "POST /sets/apply", wrong)
    assert problems.said["applied"] is False
    assert problems.said["problems"] == ["b.toml:2: grants[0]: there is no user x"]
    assert admin.read_policy(world.service) == before
    for path in ("../a.sh", "a", "\x1b[2J.toml"):
        refused = await world.ask(
            "ada", "POST /sets/apply", {"files": [{"path": path, "text": ""}]}
        )
        assert refused.status == 422
    assert (await world.ask("ada", "POST /sets/apply", body)).said["applied"] is True
    assert (await world.ask("ada", "POST /sets/apply", body)).said["changes"] == []
    assert world.actions()[-2:] == ["ada (api): grant.add", "ada (api): apply"]


async def test_only_an_administrator_who_is_there_makes_links(world: World) -> None:
    share = {"user": "nick", "app": "a-web", "terminal": "main", "lasts_s": 60}
    site = {"url": "https://gw.example"}
    account = {"user": "nick", "subject": "1"}
    for what, body in (
        ("POST /shares", share | site),
        ("POST /users/nick/web-link", site),
        ("POST /provider-accounts", account),
        ("POST /provider-accounts/unlink", {"subject": "1"}),
    ):
        for who in ("olga", "otto", "ann", "nick", world.token("nick", "api:write")):
            assert (await world.ask(who, what, body)).status == 403, (what, who)
        if "unlink" not in what:
            program = world.token("ada", "api:write", "api:read")
            assert "only a person" in (await world.ask(program, what, body)).said["detail"]
        first = await world.ask("ada", what, body, {"idempotency-key": "k" + what})
        assert first.status in (201, 404), first.said
        again = await world.ask("ada", what, body, {"idempotency-key": "k" + what})
        assert "#" not in str(again.said), "a secret is shown once"
    made = [action for action in world.actions() if action.startswith("ada")]
    assert made == ["ada (api): share.create", "ada (api): web.link"]
    dry = await world.ask("ada", "POST /users/nick/web-link", site, dry_run="true")
    assert dry.said == {"gains": [], "loses": []}
    assert world.actions().count("ada (api): web.link") == 1


# What one may not see.


async def test_names_of_apps_are_not_to_be_tried_out(world: World) -> None:
    hidden = admin.add_grant(world.service, "user:nick", "secret")
    admin.add_grant(world.service, "user:nick", "a-*")
    for who in ("olga", "ansel"):
        there, nowhere = [await world.ask(who, f"GET /grants/{n}") for n in (hidden.id, 999)]
        said = there.said["detail"].replace(str(hidden.id), "999")
        assert (there.status, said) == (404, nowhere.said["detail"])
        apps = (await world.ask(who, "GET /apps")).said["items"]
        assert [app["name"] for app in apps] == ["a-db.production", "a-web"]
        listed = (await world.ask(who, "GET /grants")).said["items"]
        assert [entry["app"] for entry in listed] == ["a-*"]
    refusals = [
        await world.ask("olga", "POST /grants", grant("user:nick", app))
        for app in ("secret", "none")
    ]
    assert refusals[0].said["detail"].replace("secret", "X") == refusals[1].said["detail"].replace(
        "none", "X"
    )


async def test_users_are_for_those_whose_role_is_for_all_apps(world: World) -> None:
    for path in (
        "/users",
        "/users/nick",
        "/tokens",
        "/keys",
        "/sign-ins",
        "/roles",
        "/events",
        "/groups",
    ):
        assert (await world.ask("ansel", f"GET {path}")).status == 403, path
        assert (await world.ask("ann", f"GET {path}")).status == 200, path


# Credentials.

OF_ROLE = {
    "ada": Role.ADMINISTRATOR,
    "olga": Role.OWNER,
    "otto": Role.OPERATOR,
    "ann": Role.AUDITOR,
    "nick": None,
}
"""A person of each role, for all apps."""


@pytest.mark.access(23)
@pytest.mark.parametrize("operation", OPERATIONS, ids=lambda operation: operation.name)
async def test_each_operation_wants_its_role_and_its_scope(
    world: World, operation: Operation
) -> None:
    path = path_of(operation)
    roles.add_role(world.service, RoleRule(0, "user:olga", Role.OWNER))
    for name, role in OF_ROLE.items():
        has_role = operation.role is None or (
            role is not None and role.has_rights_of(operation.role)
        )
        assert ((await world.ask(name, path)).status != 403) == has_role, name
    others = [(scope.value,) for scope in ApiScope if scope not in operation.scopes]
    for scopes in ((), ("connect",), *others):
        assert (await world.ask(world.token("ada", *scopes), path)).status == 403, scopes
    for scope in operation.scopes:
        allowed = await world.ask(world.token("ada", scope.value), path)
        assert (allowed.status == 403) == operation.is_for_person, allowed.said
    stale = await world.ask(world.person("ada", fresh=False), path)
    is_change = operation.method != "GET" and operation.role is not None
    wants_proof = is_change or operation.name == "recordings.file"
    assert (stale.status == 403) == wants_proof, "a change wants a fresh proof"


def test_each_operation_has_its_function() -> None:
    modules = (access, apps, hooks, links, people, recordings, requests, sets)
    assert sorted(name for module in modules for name in module.HANDLERS) == sorted(BY_NAME)
    assert all(callable(find_handler(name)) for name in BY_NAME)


async def test_a_token_to_ask_asks_for_access_alone(world: World) -> None:
    rule = RequestRule(0, "user:nick", "a-*", approvers=("user:ada",))
    access_requests.add_rule(world.service, rule)
    asking = world.token("nick", "request")
    body = {"apps": ["a-web"], "reason": "INC-1"}
    for scopes in ((), ("api:write",), ("connect",)):
        refused = await world.ask(world.token("nick", *scopes), "POST /requests", body)
        assert refused.status == 403, scopes
    made = await world.ask(asking, "POST /requests", body)
    assert made.status == 201, made.said
    number = made.said["id"]
    assert (await world.ask(asking, f"GET /requests/{number}")).said["state"] == "pending"
    assert (await world.ask(asking, "POST /requests", {**body, "break_glass": True})).status == 403
    for what in ("GET /users", "GET /grants", "POST /grants", f"POST /requests/{number}/decide"):
        assert (await world.ask(asking, what, {"yes": True})).status == 403, what
    assert (await world.ask(asking, f"POST /requests/{number}/leave")).said["state"] == "withdrawn"
    target = Target("a-web")
    admin.add_grant(world.service, "user:nick", "a-web")
    policy = admin.read_policy(world.service)
    assert isinstance(authorise(policy, asking, target, world.now), Denial), "it opens no app"


async def test_a_login_of_a_machine_is_a_program_with_the_role_of_its_user(world: World) -> None:
    ada, nick = [Identity(name, frozenset(), Method.MACHINE, "ci") for name in ("ada", "nick")]
    assert (await world.ask(ada, "GET /users")).status == 200
    assert (await world.ask(ada, "POST /grants", grant("user:nick", "a-web"))).status == 201
    link = await world.ask(ada, "POST /users/nick/web-link", {"url": "https://gw.example"})
    assert (link.status, "only a person" in link.said["detail"]) == (403, True)
    assert (await world.ask(nick, "GET /users")).status == 403
    for scopes in ((), ("connect:app01",), ("api:read",)):
        limited = Identity("ada", frozenset(), Method.MACHINE, "ci", scopes)
        refused = await world.ask(limited, "GET /users")
        assert (refused.status, "not for the API" in refused.said["detail"]) == (403, True), scopes


async def test_a_disabled_user_and_an_expired_role_are_nothing(world: World) -> None:
    rule = RoleRule(0, "user:nick", Role.ADMINISTRATOR, expires_at=world.now + 5)
    roles.add_role(world.service, rule)
    assert (await world.ask("nick", "GET /users")).status == 200
    world.now += 6
    assert (await world.ask("nick", "GET /users")).status == 403
    await world.ask("otto", "POST /users/ada/disable")
    assert (await world.ask("ada", "GET /users")).status == 403
    identity = Identity("ada", frozenset(), Method.PUBLIC_KEY, "SHA256:x")
    assert (await world.ask(identity, "GET /users")).status == 403


async def test_a_removed_user_leaves_no_role_to_the_next_of_the_name(world: World) -> None:
    admin.remove_user(world.service, "ada")
    admin.add_user(world.service, "ada")
    assert (await world.ask("ada", "GET /users")).status == 403


async def test_a_right_that_is_lost_while_the_request_comes_is_lost(world: World) -> None:
    rule = admin.add_grant(world.service, "user:nick", "a-web")
    admin.add_grant(world.service, "user:olga", "a-*")
    admitted = await world.api.admit(world.person("olga"), "DELETE", f"/grants/{rule.id}")
    for role in admin.read_policy(world.service).roles.values():
        if role.subject == "user:olga":
            roles.remove_role(world.service, role.id)
    answer = await world.api.answer(admitted, {}, {"if-match": "*"}, b"")  # type: ignore[arg-type]
    assert answer.status == 403
    assert GrantRule(rule.id, "user:nick", "a-web") in admin.read_policy(world.service).grants


VALUES = {
    "app": "secret", "apps": ["secret"], "approvals": 1, "approvers": ["user:ann"], "break_glass": False,
    "environment": "*", "expires_at": "2099-01-01T00:00:00Z", "fingerprint": "SHA256:x",
    "files": [{"path": "a.toml", "text": "set = 's'\ngrants = [{subject = 'user:nick', app = 'a-web'}]"}],
    "groups": ["g"], "ids": ["abcdefgh1"], "keys": ["ssh-ed25519 AAAA"], "lasts_s": 60, "longest_s": 60,
    "name": "new", "password": "a long password", "permissions": ["enter"], "reason": "x",
    "resume_s": None, "role": "auditor", "scopes": None, "step_up": False, "subject": "user:nick",
    "terminal": "main", "user": "nick", "yes": True,
}  # fmt: skip
"""A value for each field that the bodies of operations must have; where there are apps, it is `secret`."""


@pytest.mark.parametrize("operation", OPERATIONS, ids=lambda operation: operation.name)
async def test_an_owner_of_some_apps_does_and_reads_nothing_elsewhere(
    world: World, operation: Operation
) -> None:
    """Each row is about the app `secret`. An administrator is not refused, so the request means something."""
    rule = RequestRule(0, "user:nick", "secret", approvers=("user:ann", "user:ada"))
    target, resource, filters = Target("secret"), operation.resource, operation.filters
    admin.add_grant(world.service, "user:nick", "secret")
    admin.add_grant(world.service, "user:olga", "a-*")
    rule = access_requests.add_rule(world.service, rule)
    access_requests.make_request(world.service, "nick", [target], rule, "INC-42")
    StoreJournal(world.database).append([structs.replace(opened("abcdefgh1"), target=str(target))])
    name = "secret" if resource == "apps" else "nick"
    id_ = "abcdefgh1" if resource in ("sessions", "recordings") else "1"
    path = f"{operation.method} {operation.path.format(name=name, id=id_)}"
    fields = () if operation.body is None else structs.fields(operation.body)
    body = {field.name: VALUES[field.name] for field in fields if field.required}
    query = {field.name: VALUES[field.name] for field in structs.fields(filters) if field.required}
    headers = {"if-match": "*"} if operation.is_matched else {}
    before = world.actions()
    refused = await world.ask("olga", path, body or None, headers, **query)
    assert refused.status in (403, 404) or (operation.is_list and refused.status == 200)
    assert refused.status == 403 or not {"secret", "alice"} & set(
        re.findall(r"\w+", str(refused.said))
    )
    assert [act for act in world.actions()[len(before) :] if "request.refused" not in act] == []
    done = await world.ask("ada", path, body or None, headers, **query)
    assert done.status not in (400, 403) or operation.name == "requests.add", done.said
