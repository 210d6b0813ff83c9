"""Changes over the API: lost updates, repeated requests, dry runs, and what is sent wrongly."""

import asyncio
import base64
import json
import threading
import time
from typing import Any

import pytest
from sqlalchemy import insert

from stagedoor.admin import roles
from stagedoor.admin import service as admin
from stagedoor.model.role import Role, RoleRule
from stagedoor.store.schema import sessions
from stagedoor.wire.api.openapi import describe_api
from stagedoor.wire.api.operations import MAX_PAGE
from tests.api.test_rights import grant
from tests.api.world import World
from tests.pace import allow
from tests.waiting import BOUND_S


@pytest.mark.access(25)
async def test_a_change_by_another_is_not_lost(world: World) -> None:
    rule = admin.add_grant(world.service, "user:nick", "a-web")
    place = f"/grants/{rule.id}"
    seen = await world.ask("ada", f"GET {place}")
    body = {"permissions": ["enter", "forward"], "resume_s": None}
    assert (await world.ask("ada", f"PUT {place}", body)).status == 428
    assert (await world.ask("ada", f"DELETE {place}")).status == 428
    done = await world.ask("ada", f"PUT {place}", body, seen.tag)
    assert (done.status, done.said["permissions"]) == (200, ["enter", "forward"])
    late = await world.ask("ada", f"PUT {place}", body | {"permissions": ["enter"]}, seen.tag)
    assert (late.status, late.said["reason"]) == (412, "changed_meanwhile")
    assert (await world.ask("ada", f"DELETE {place}", headers=seen.tag)).status == 412
    again = await world.ask("ada", f"GET {place}")
    assert again.said == done.said
    assert again.tag == done.tag
    assert (await world.ask("ada", f"DELETE {place}", headers=done.tag)).status == 200
    assert (await world.ask("ada", f"DELETE {place}", headers=done.tag)).status == 404


async def test_many_changes_at_once_are_all_made(world: World) -> None:
    bodies = [grant("user:nick", f"a-{number}") for number in range(40)]
    replies = await asyncio.gather(*(world.ask("ada", "POST /grants", body) for body in bodies))
    assert [reply.status for reply in replies] == [201] * 40


@pytest.mark.access(25)
async def test_a_repeated_request_does_nothing_twice(world: World) -> None:
    key, body = {"idempotency-key": "k1"}, grant("user:nick", "a-web")
    first = await world.ask("ada", "POST /grants", body, key)
    assert (await world.ask("ada", "POST /grants", body, key)).said == first.said
    reused = await world.ask("ada", "POST /grants", grant("user:nick", "a-db"), key)
    assert (reused.status, reused.said["reason"]) == (422, "key_reused")
    assert (await world.ask("ada", "POST /grants", body)).status == 409, "another request"
    assert world.actions().count("ada (api): grant.add") == 1
    admin.add_grant(world.service, "user:olga", "*")
    other = await world.ask("olga", "POST /grants", grant("user:nick", "a-db"), key)
    assert other.status == 201, "a key belongs to its user"
    world.now += 25 * 3600
    assert (await world.ask("ada", "POST /grants", body, key)).status == 409


async def test_a_refused_request_leaves_its_key_free(world: World) -> None:
    key = {"idempotency-key": "k1"}
    body = grant("user:absent", "a-web")
    assert (await world.ask("ada", "POST /grants", body, key)).status == 404
    admin.add_user(world.service, "absent")
    assert (await world.ask("ada", "POST /grants", body, key)).status == 201


async def test_a_secret_is_neither_stored_nor_shown_twice(world: World) -> None:
    key = {"idempotency-key": "k1"}
    body = {"user": "nick", "scopes": ["connect"], "expires_at": None}
    made = await world.ask("ada", "POST /tokens", body, key)
    again = await world.ask("ada", "POST /tokens", body, key)
    assert (made.status, again.status, again.said["reason"]) == (201, 409, "done_before")
    for file in world.service.data_dir.glob("stagedoor.db*"):
        assert made.said["token"].encode() not in file.read_bytes()


@pytest.mark.access(31)
async def test_a_dry_run_says_who_gains_and_who_loses(world: World) -> None:
    admin.change_groups(world.service, "nick", add=["dev"])
    before = world.actions()
    preview = await world.ask("ada", "POST /grants", grant("group:dev", "a-*"), dry_run="true")
    assert preview.said == {
        "gains": [{"user": "nick", "app": "a-*", "environment": "*", "permissions": ["enter"]}],
        "loses": [],
    }
    assert world.actions() == before, "nothing was done"
    rule = admin.add_grant(world.service, "group:dev", "a-*")
    seen = await world.ask("ada", "GET /users/nick")
    body = {"groups": []}
    preview = await world.ask("ada", "PUT /users/nick/groups", body, seen.tag, dry_run="true")
    lost = {"user": "nick", "app": "a-*", "environment": "*", "permissions": ["enter", "files"]}
    assert preview.said == {"gains": [], "loses": [lost]}
    wider = admin.add_grant(world.service, "user:nick", "*")
    for number, loses in ((rule.id, []), (wider.id, [{**lost, "app": "*"}])):
        place = f"DELETE /grants/{number}"
        preview = await world.ask("ada", place, headers={"if-match": "*"}, dry_run="true")
        assert preview.said["loses"] == loses
    assert {rule.id, wider.id} <= {r.id for r in admin.read_policy(world.service).grants}


@pytest.mark.access(26)
async def test_pages_hold_each_row_once_while_others_come_and_go(world: World) -> None:
    stays = [admin.add_grant(world.service, "user:nick", f"a-{n}").id for n in range(7)]
    seen, token = [], ""
    while token is not None:
        more = {"page_token": token} if token else {}
        page = (await world.ask("ann", "GET /grants", page_size="2", **more)).said
        seen += [entry["id"] for entry in page["items"]]
        token = page["next_page_token"]
        gone = admin.add_grant(world.service, "user:nick", f"b-{len(seen)}")
        if len(seen) > 2:
            admin.remove_grant(world.service, gone.id)
    assert [number for number in seen if number in stays] == stays
    assert len(set(seen)) == len(seen)


async def test_a_page_token_names_no_session_of_an_app_that_its_reader_may_not_see(
    world: World,
) -> None:
    """Thousands of sessions of another app lie between the rows of an auditor's pages."""
    targets = ["a-web", "secret", "a-web", *["secret"] * 5001, "a-web"]
    none = {column.name: None for column in sessions.columns if column.nullable}
    common = {"identity": "nick", "source": "192.0.2.1:1", "way": "web", "instance": "i"}
    rows = [
        {**none, **common, "id": f"s{at:04}", "opened_at": 1000.0 + at, "target": target}
        for at, target in enumerate(targets)
    ]
    with world.database.write() as transaction:
        transaction.execute(insert(sessions).values(sent=0, received=0), rows)
    seen, token = [], ""
    while token is not None:
        more = {"page_token": token} if token else {}
        page = (await world.ask("ansel", "GET /sessions", page_size="1", **more)).said
        seen += [entry["id"] for entry in page["items"]]
        token = page["next_page_token"]
        if token is not None:
            assert json.loads(base64.urlsafe_b64decode(token + "==")) == [seen[-1]]
    assert seen == [f"s{len(rows) - 1}", "s0002", "s0000"]
    newest = (await world.ask("ann", "GET /sessions", page_size="2")).said["items"]
    assert [entry["id"] for entry in newest] == [f"s{len(rows) - 1}", f"s{len(rows) - 2}"]


@pytest.mark.parametrize("token", ["x", "W10", "WyJhIl0", "bnVsbA", "e30", "WzFd" * 300, "Ww"])
async def test_a_token_that_no_list_gave_is_refused(world: World, token: str) -> None:
    for path in ("/users", "/roles", "/sessions"):
        answer = await world.ask("ann", f"GET {path}", page_token=token)
        assert answer.status in (200, 400), (path, answer.said)
    assert (await world.ask("ann", "GET /roles", page_token="x")).status == 400


@pytest.mark.parametrize(
    ("body", "status", "pointer"),
    [
        (b"", 400, None),
        (b"[" * 50_000, 422, ""),
        (b"\xff", 400, None),
        ({}, 422, ""),
        (grant("user:nick", "a-web", "enter", typo=1), 422, ""),
        (grant("user:nick", "a-web", "enter", "fly"), 422, "/permissions/1"),
        (grant("user:nick", "a-web", expires_at="2100-01-01T00:00:00"), 422, "/expires_at"),
        (grant("user:nick", "A/b"), 422, None),
        (grant("nick", "a-web"), 422, None),
        (grant("user:nick", "a-web", "enter", resume_s=float("inf")), 400, None),
    ],
)
async def test_a_wrong_body_is_refused(
    world: World, body: object, status: int, pointer: str | None
) -> None:
    answer = await world.ask("ada", "POST /grants", body)
    assert answer.status == status, answer.said
    pointers = [error["pointer"] for error in answer.said.get("errors", [])]
    assert pointers == ([] if pointer is None else [pointer])
    assert answer.headers["Content-Type"] == "application/problem+json"


async def test_what_is_not_known_is_refused(world: World) -> None:
    assert (await world.ask("ada", "GET /users", page_size=str(MAX_PAGE + 1))).status == 400
    assert (await world.ask("ada", "GET /users", grop="dev")).status == 400
    assert (await world.ask("ada", "GET /nothing")).status == 404
    wrong = await world.ask("ada", "PATCH /users/nick")
    assert (wrong.status, wrong.headers["Allow"]) == (405, "DELETE, GET")
    headers = {"content-type": "text/plain"}
    assert (await world.ask("ada", "POST /grants", {}, headers)).status == 415


async def test_an_administrator_reads_what_mends_it(world: World) -> None:
    missing = await world.ask("ada", "GET /users/none")
    assert missing.said["detail"] == "there is no user none"
    assert missing.said["fix"] == "there is no user none; see `stagedoor user list`"


async def test_sessions_are_read_and_events_are_followed(world: World) -> None:
    assert (await world.ask("ann", "GET /sessions", all="true")).said["items"] == []
    events = (await world.ask("ann", "GET /events", page_size="3")).said
    assert [event["kind"] for event in events] == ["policy.changed"] * 3
    rest = (await world.ask("ann", "GET /events", after=str(events[-1]["seq"]))).said
    assert rest[0]["seq"] == events[-1]["seq"] + 1
    assert (await world.ask("ann", "GET /events", kind="nonsense")).status == 422


async def test_a_reader_waits_for_the_next_event(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("stagedoor.api.service.FOLLOW_S", 0.02)
    [newest] = (await world.ask("ann", "GET /events", last="1")).said
    after = str(newest["seq"])
    waiting = asyncio.create_task(world.ask("ann", "GET /events", after=after, wait="25"))
    assert not (await asyncio.wait([waiting], timeout=0.2))[0]
    admin.add_user(world.service, "new")
    [event] = (await waiting).said
    assert (event["fields"]["user"], event["seq"]) == ("new", newest["seq"] + 1)
    again = await world.ask("ann", "GET /events", after=after, wait="25")
    assert again.said == [event], "at once"
    after, began = str(event["seq"]), time.monotonic()
    assert (await world.ask("ann", "GET /events", after=after, wait="1")).said == []
    assert 1 <= time.monotonic() - began < allow(5)
    assert (await world.ask("ann", "GET /events", after=after, wait="26")).status == 400


@pytest.mark.parametrize("loses", ["token", "role for all apps"])
async def test_a_reader_who_loses_their_right_while_they_wait_reads_nothing_more(
    world: World, monkeypatch: pytest.MonkeyPatch, loses: str
) -> None:
    monkeypatch.setattr("stagedoor.api.service.FOLLOW_S", 0.02)
    program = world.token("ann", "api:read")
    assert program.credential_id is not None
    roles.add_role(world.service, RoleRule(0, "user:ann", Role.AUDITOR, "a-*"))
    [newest] = (await world.ask(program, "GET /events", last="1")).said
    after = str(newest["seq"])
    read_events, has_read = world.api._handlers["events.list"], threading.Event()

    def read(call: Any) -> Any:
        page = read_events(call)
        has_read.set()
        return page

    monkeypatch.setitem(world.api._handlers, "events.list", read)
    waiting = asyncio.create_task(world.ask(program, "GET /events", after=after, wait="25"))
    assert await asyncio.to_thread(has_read.wait, BOUND_S)
    if loses == "token":
        admin.revoke_token(world.service, program.credential_id)
    else:
        listed = admin.read_policy(world.service).roles.values()
        [wide] = [r for r in listed if (r.subject, r.app_pattern) == ("user:ann", "*")]
        roles.remove_role(world.service, wide.id)
    assert (await waiting).status == 403


@pytest.mark.access(24)
def test_the_description_has_every_operation() -> None:
    described = describe_api()
    names = [op["operationId"] for path in described["paths"].values() for op in path.values()]
    assert len(names) == len(set(names))
    json.dumps(described)
