"""Access on request over the API: its rules say who may, and no user helps themselves."""

from stagedoor.admin import service as admin
from stagedoor.admin.requests import access_requests as requests
from stagedoor.model.access_request import RequestRule
from stagedoor.model.permission import DEFAULT, Permission
from stagedoor.wire.rfc3339 import show_milliseconds
from tests.api.world import World

ASKING = {"apps": ["a-web"], "reason": "INC-1", "lasts_s": None}


def add_rule(world: World) -> None:
    admin.change_groups(world.service, "nick", add=["dev"])
    requests.add_rule(world.service, RequestRule(0, "group:dev", "a-*", approvers=("user:ann",)))


async def test_one_asks_another_decides_and_no_role_is_needed(world: World) -> None:
    add_rule(world)
    made = await world.ask("nick", "POST /requests", ASKING)
    assert (made.status, made.said["state"]) == (201, "pending")
    place = f"/requests/{made.said['id']}"
    own = await world.ask("nick", f"POST {place}/decide", {"yes": True})
    assert (own.status, "your own" in own.said["detail"]) == (403, True)
    decided = await world.ask("ann", f"POST {place}/decide", {"yes": True, "lasts_s": 600})
    assert (decided.said["state"], decided.said["lasts_s"]) == ("approved", 600)
    shown = (await world.ask("nick", f"GET {place}")).said
    assert [(d["approver"], d["yes"]) for d in shown["decisions"]] == [("ann", True)]
    assert (await world.ask("nick", f"POST {place}/leave")).said["state"] == "ended"


async def test_rules_name_later_approvers_and_requests_when_they_begin(world: World) -> None:
    admin.change_groups(world.service, "nick", add=["dev"])
    rule = {
        "subject": "group:dev", "app": "a-*", "environment": "*", "permissions": ["enter"],
        "longest_s": 3600, "approvers": ["user:ann"], "approvals": 1, "reason": "*",
        "step_up": False, "break_glass": False, "later_approvers": ["group:leads"], "later_s": 900,
    }  # fmt: skip
    made = await world.ask("ada", "POST /request-rules", rule)
    assert (made.status, made.said["later_s"], made.said["access_set"]) == (201, 900, None)
    at = show_milliseconds(world.service.clock() + 7200)
    asked = await world.ask("nick", "POST /requests", {**ASKING, "starts_at": at})
    assert (asked.status, asked.said["starts_at"]) == (201, at)
    late = show_milliseconds(world.service.clock() + 8 * 86_400)
    refused = await world.ask("nick", "POST /requests", {**ASKING, "starts_at": late})
    assert (refused.status, "within 7 d" in refused.said["detail"]) == (422, True)


async def test_a_request_is_made_by_a_rule_that_gives_its_permissions(world: World) -> None:
    add_rule(world)
    more = {**ASKING, "permissions": ["forward"]}
    assert (await world.ask("nick", "POST /requests", more)).status == 403
    wide = RequestRule(
        0, "group:dev", "*", permissions=DEFAULT | {Permission.FORWARD}, approvers=("user:ann",)
    )
    requests.add_rule(world.service, wide)
    made = await world.ask("nick", "POST /requests", more)
    assert (made.status, made.said["permissions"]) == (201, ["enter", "files", "forward"])


async def test_others_see_and_decide_nothing(world: World) -> None:
    add_rule(world)
    made = await world.ask("nick", "POST /requests", ASKING)
    place = f"/requests/{made.said['id']}"
    for who in ("olga", "otto"):
        assert (await world.ask(who, "POST /requests", ASKING)).status == 403
        assert (await world.ask(who, f"POST {place}/decide", {"yes": True})).status == 404
    assert (await world.ask("olga", f"GET {place}")).status == 404
    assert (await world.ask("olga", "GET /requests")).said["items"] == []
    assert (await world.ask("ada", f"POST {place}/decide", {"yes": True})).status == 404
    assert (await world.ask("nick", f"POST {place}/end")).status == 403
    assert (await world.ask("otto", f"POST {place}/end")).said["state"] == "withdrawn"


async def test_a_program_neither_asks_nor_decides(world: World) -> None:
    add_rule(world)
    nick, ann = (world.token(name, "api:read", "api:write") for name in ("nick", "ann"))
    assert (await world.ask(nick, "POST /requests", ASKING)).status == 403
    made = await world.ask("nick", "POST /requests", ASKING)
    refused = await world.ask(ann, f"POST /requests/{made.said['id']}/decide", {"yes": True})
    assert (refused.status, "only a person" in refused.said["detail"]) == (403, True)


async def test_no_administrator_makes_a_rule_for_themselves(world: World) -> None:
    admin.change_groups(world.service, "ada", add=["admins"])
    body = {
        "app": "*",
        "environment": "*",
        "permissions": ["enter"],
        "longest_s": 60,
        "approvers": [],
        "approvals": 0,
        "reason": "*",
        "step_up": False,
        "break_glass": False,
    }
    for subject in ("user:ada", "group:admins"):
        refused = await world.ask("ada", "POST /request-rules", body | {"subject": subject})
        assert refused.status == 403, subject
    made = await world.ask("ada", "POST /request-rules", body | {"subject": "group:dev"})
    assert made.status == 201
    assert (await world.ask("ada", f"DELETE /request-rules/{made.said['id']}")).status == 200


async def test_who_may_enter_is_answered_for_apps_of_the_role(world: World) -> None:
    admin.add_grant(world.service, "user:nick", "*")
    who = (await world.ask("ansel", "GET /access/who", app="a-web")).said
    assert [(entry["user"], entry["by"]) for entry in who] == [("nick", "grant 1")]
    why = (await world.ask("ansel", "GET /access/explain", app="a-web", user="nick")).said
    assert (why["lets_in"], [rule["rule"] for rule in why["rules"]]) == (True, ["grant 1"])
    for path in ("who", "explain"):
        query = {"app": "secret", **({"user": "olga"} if path == "explain" else {})}
        assert (await world.ask("ansel", f"GET /access/{path}", **query)).status == 403
