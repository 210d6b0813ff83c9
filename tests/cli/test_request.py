import time

import click
import pytest

from stagedoor.admin.requests import access_requests as requests
from stagedoor.admin.service import AdminService, read_policy
from stagedoor.model.access_request import AccessRequest
from stagedoor.model.errors import NotFoundError, RefusedError
from stagedoor.model.target import Target
from tests.cli.conftest import Desk

RULE = ("request", "rule", "add", "group:dev", "app*", "--environment", "production")


def ask(service: AdminService, app: str = "app01") -> AccessRequest:
    """Ask as a developer does, by the first rule."""
    rule = next(iter(read_policy(service).request_rules.values()))
    target = Target(app, "production")
    return requests.make_request(service, "alice", [target], rule, "INC-42, stuck")


def test_a_rule_is_added_listed_and_removed(alice: Desk) -> None:
    said = alice.notes(*RULE, "--longest", "2h", "--approver", "group:sre", "--allow", "forward")
    assert said == (
        "Request rule 1: group:dev may ask for app* in production, 2 h at most; group:sre decides.\n"
    )
    assert alice.json("request", "rule", "list") == [
        {
            "id": 1,
            "subject": "group:dev",
            "app": "app*",
            "environment": "production",
            "permissions": ["enter", "files", "forward"],
            "longest_s": 7200,
            "approvers": ["group:sre"],
            "approvals": 1,
            "reason": "*",
            "step_up": False,
            "break_glass": False,
            "hours": None,
            "later_approvers": [],
            "later_s": None,
            "access_set": None,
        }
    ]
    later = alice.notes(*RULE, "--approver", "group:sre", "--then", "group:leads", "--after", "15m")
    assert "; group:sre, and group:leads after 15 min decides." in later
    glass = alice.notes(*RULE, "--break-glass", "--approver", "group:leads")
    assert "30 min at most; break-glass, reviewed by group:leads" in glass
    assert "approved at once" in alice.notes(*RULE, "--approvals", "0")
    assert "2 of group:sre decides" in alice.notes(
        *RULE, "--approvals", "2", "--approver", "group:sre"
    )
    alice.out("request", "rule", "remove", "1")
    with pytest.raises(NotFoundError, match="no request rule 1"):
        alice.out("request", "rule", "remove", "1")


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ((), RefusedError),
        (("--approver", "sre"), RefusedError),
        (("--approver", "group:sre", "--longest", "30d"), RefusedError),
        (("--approver", "group:sre", "--longest", "soon"), click.BadParameter),
        (("--approver", "group:sre", "--allow", "everything"), click.BadParameter),
        (("--approver", "group:sre", "--break-glass", "--longest", "2h"), RefusedError),
    ],
)
def test_a_rule_that_cannot_be_meant_is_refused(
    alice: Desk, options: tuple[str, ...], error: type[Exception]
) -> None:
    with pytest.raises(error):
        alice.out(*RULE, *options)
    assert alice.json("request", "rule", "list") == []


def test_an_administrator_decides_on_requests_and_ends_them(
    alice: Desk, service: AdminService
) -> None:
    assert "No open requests" in alice.run("request", "list").stderr
    alice.out(*RULE, "--approver", "group:sre")
    first, second = ask(service), ask(service, "app02")
    [newest, oldest] = alice.json("request", "list")
    assert (newest["id"], oldest["id"]) == (second.id, first.id)
    assert (oldest["state"], oldest["apps"], oldest["reason"]) == (
        "pending",
        ["app01.production"],
        "INC-42, stuck",
    )
    said = alice.notes("request", "approve", "1", "--for", "10m")
    assert said == "Request 1 of alice is approved for 10 min.\n"
    assert "is denied" in alice.notes("request", "deny", "2", "--why", "use staging")
    with pytest.raises(RefusedError, match="denied already"):
        alice.out("request", "approve", "2")
    shown = alice.json("request", "show", "2")
    [decision] = shown["decisions"]
    assert (shown["state"], decision["yes"], decision["note"]) == ("denied", False, "use staging")
    assert "no" in alice.out("request", "show", "2")
    assert "is ended" in alice.notes("request", "end", "1")
    assert alice.json("request", "list") == []
    assert [row["state"] for row in alice.json("request", "list", "--all")] == ["denied", "ended"]
    with pytest.raises(NotFoundError, match="no request 3"):
        alice.out("request", "show", "3")


def test_the_administrator_of_the_machine_asks_for_nothing(alice: Desk) -> None:
    with pytest.raises(RefusedError, match="asks for nothing"):
        alice.out("request", "ask", "app01", "INC-1")


@pytest.mark.parametrize("start", ["", "2", "2026-12-31", "999999w"])
def test_a_start_that_is_no_time_is_refused(alice: Desk, start: str) -> None:
    with pytest.raises(click.BadParameter, match="write "):
        alice.out("request", "ask", "app01", "INC-1", "--from", start)


def test_a_use_of_break_glass_is_reviewed(alice: Desk, service: AdminService) -> None:
    alice.out(*RULE, "--break-glass", "--approver", "group:leads")
    assert ask(service).ends_at > time.time()
    assert "break-glass, not reviewed yet: INC-42" in alice.out("request", "list")
    assert alice.notes("request", "review", "1") == "Request 1 of alice is reviewed.\n"
    assert alice.json("request", "show", "1")["reviewed_by"]
