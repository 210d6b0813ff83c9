"""An access set in a store of each kind: all or nothing, once only, and a hand keeps off its rows."""

import json
import signal
from collections.abc import Callable
from pathlib import Path

import pytest
from sqlalchemy import event

from stagedoor.admin import service as admin
from stagedoor.admin.apply.act import ApplyOutcome, apply_set
from stagedoor.admin.apply.files import parse_set, read_texts
from stagedoor.admin.apply.plan import Action, ApplyOptions
from stagedoor.admin.person import set_disabled
from stagedoor.admin.requests import access_requests as requests
from stagedoor.admin.roles import add_role
from stagedoor.admin.service import AdminService
from stagedoor.model.errors import RefusedError
from stagedoor.model.permission import Permission
from stagedoor.model.role import Role, RoleRule
from stagedoor.settings.store_location import StoreLocation
from stagedoor.store.changes import MAX_CHANGES
from stagedoor.store.database import Database, open_database
from stagedoor.store.journal import read_entries
from stagedoor.store.people import list_group_sets
from stagedoor.store.policy import load_policy, read_changes
from stagedoor.store.sets.rows import read_rows
from tests.store.sample import python

FILE = {
    "set": "platform",
    "users": [{"name": "alice", "groups": ["dev"]}, {"name": "bob"}],
    "groups": [{"name": "sre", "members": ["bob"]}],
    "grants": [
        {"subject": "group:dev", "app": "app*", "environment": "staging"},
        {"subject": "user:bob", "app": "db", "allow": ["forward"]},
    ],
    "request_rules": [
        {"subject": "group:dev", "app": "app*", "longest": "2h", "approvers": ["group:sre"]}
    ],
}


DEFAULTS = ApplyOptions()


@pytest.fixture
def service(database: Database, tmp_path: Path) -> AdminService:
    return AdminService(database, tmp_path, "root@here", lambda: 1000.0)


def write(folder: Path, **changes: object) -> Path:
    folder.mkdir(exist_ok=True)
    (folder / "access.json").write_text(json.dumps({**FILE, **changes}))
    return folder


@pytest.fixture
def run(service: AdminService, tmp_path: Path) -> Callable[..., ApplyOutcome]:
    def apply(options: ApplyOptions = DEFAULTS, **changes: object) -> ApplyOutcome:
        declared = parse_set(read_texts(write(tmp_path / "files", **changes)))
        return apply_set(service, declared.name, declared.rows, options)

    return apply


@pytest.mark.access(28)
def test_the_second_run_writes_nothing(
    service: AdminService, run: Callable[..., ApplyOutcome]
) -> None:
    assert len(run().plan.changes) == 7
    policy = load_policy(service.database)
    assert policy.users["alice"].groups == {"dev"}
    assert [rule.subject for rule in policy.grants] == ["group:dev", "user:bob"]
    assert policy.request_rules[1].longest_s == 7200
    events = [entry.event.fields for entry in read_entries(service.database)]
    assert events[-1] == {"action": "apply", "set": "platform", "add": 7}
    assert events[4] == {
        "action": "grant.add",
        "grant": 1,
        "subject": "group:dev",
        "app": "app*",
        "environment": "staging",
        "expires_at": None,
        "permissions": "enter files",
        "set": "platform",
        "file": "access.json",
    }
    statements: list[str] = []
    event.listen(
        service.database._adapter.writing,
        "before_cursor_execute",
        lambda *arguments: statements.append(arguments[2]),
    )
    assert not run().is_applied
    assert [s for s in statements if not s.startswith(("SELECT", "BEGIN", "PRAGMA"))] == []
    assert load_policy(service.database).version == policy.version


def test_changes_are_what_a_worker_reads(
    service: AdminService, run: Callable[..., ApplyOutcome]
) -> None:
    run()
    before = load_policy(service.database)
    grants = [{**FILE["grants"][0], "allow": ["run"], "resume": "15m"}]  # type: ignore[index]
    rules = [{**FILE["request_rules"][0], "longest": "1h"}]  # type: ignore[index]
    outcome = run(
        ApplyOptions(prunes=True, prune_percent=50),
        users=FILE["users"][:1],
        groups=[],
        grants=grants,
        request_rules=rules,  # type: ignore[index]
    )
    assert {change.action for change in outcome.plan.changes} == {Action.CHANGE, Action.REMOVE}
    after = load_policy(service.database)
    with service.database.read() as transaction:
        assert read_changes(transaction, before, after.version) == after
    assert after.users.keys() == {"alice"}
    assert after.grants[0].id == 1
    assert after.grants[0].permissions == {Permission.ENTER, Permission.FILES, Permission.RUN}
    assert after.grants[0].resume_s == 900
    assert list(after.request_rules) == [2], "a rule is replaced, and never changed"


def test_a_hand_keeps_off_what_a_set_owns(
    service: AdminService, run: Callable[..., ApplyOutcome]
) -> None:
    run()
    for change in (
        lambda: admin.remove_user(service, "alice"),
        lambda: admin.change_groups(service, "alice", remove=["dev"]),
        lambda: admin.change_grant(service, 1, allow=frozenset({Permission.RUN})),
        lambda: admin.remove_grant(service, 1),
        lambda: admin.add_grant(service, "group:dev", "app*", environment_pattern="staging"),
        lambda: requests.remove_rule(service, 1),
    ):
        with pytest.raises(RefusedError, match=r"set platform; change it in access\.json") as e:
            change()
        assert "access.json" not in e.value.public
    policy = load_policy(service.database)
    owned = (policy.users["alice"], *policy.grants, *policy.request_rules.values())
    assert {row.access_set for row in owned} == {"platform"}
    with service.database.read() as transaction:
        assert list_group_sets(transaction) == {"dev": ["platform"], "sre": ["platform"]}
    assert admin.change_groups(service, "alice", add=["ops"]) == {"dev", "ops"}
    assert admin.change_groups(service, "alice", remove=["ops"]) == {"dev"}
    assert set_disabled(service, "alice", disabled=True), "in an emergency"
    assert not run().plan.changes
    run(ApplyOptions(releases=True), users=[], groups=[], grants=[], request_rules=[])
    with service.database.read() as transaction:
        after = read_changes(transaction, policy, load_policy(service.database).version)
    assert after is not None
    assert {rule.access_set for rule in after.grants} == {None}, "gateways hear of it"
    assert admin.remove_grant(service, 1).id == 1


def test_a_preview_writes_nothing_and_a_plan_that_others_overtook_is_made_again(
    service: AdminService, run: Callable[..., ApplyOutcome], tmp_path: Path
) -> None:
    declared = parse_set(read_texts(write(tmp_path / "files")))
    planned = apply_set(service, declared.name, declared.rows, ApplyOptions(), is_dry_run=True)
    assert len(planned.plan.changes) == 7
    assert not load_policy(service.database).users
    times = iter([lambda: admin.add_user(service, "alice")])

    def clock() -> float:
        next(times, lambda: None)()  # between the plan and its transaction
        return 1000.0

    other = AdminService(service.database, service.data_dir, "ci@here", clock)
    outcome = apply_set(other, declared.name, declared.rows, ApplyOptions())
    assert [problem.row.name for problem in outcome.plan.problems] == ["user alice"]
    assert load_policy(service.database).users.keys() == {"alice"}


def test_the_last_administrator_stays(
    service: AdminService, run: Callable[..., ApplyOutcome]
) -> None:
    run()
    all_ = ApplyOptions(prunes=True, prune_percent=100)
    add_role(service, RoleRule(0, "group:sre", Role.ADMINISTRATOR))
    for change in ({"groups": []}, {"groups": [], "users": FILE["users"][:1], "grants": []}):  # type: ignore[index]
        with pytest.raises(RefusedError, match="would remove the last administrator"):
            run(all_, **change)
    assert load_policy(service.database).users["bob"].groups == {"sre"}
    add_role(service, RoleRule(0, "user:alice", Role.ADMINISTRATOR))
    set_disabled(service, "alice", disabled=True)
    with pytest.raises(RefusedError, match="would remove the last administrator"):
        run(all_, groups=[])
    set_disabled(service, "alice", disabled=False)
    run(all_, groups=[])
    assert load_policy(service.database).users["bob"].groups == set()


def test_many_rows_make_workers_read_all(
    service: AdminService, run: Callable[..., ApplyOutcome]
) -> None:
    before = load_policy(service.database)
    run(users=[*FILE["users"], *({"name": f"u{n}"} for n in range(MAX_CHANGES + 1))])  # type: ignore[misc]
    with service.database.read() as transaction:
        assert read_changes(transaction, before, before.version + 1) is None


KILLED = """
import os, signal, sys
from pathlib import Path
from sqlalchemy import event
from stagedoor.admin.apply.act import apply_set
from stagedoor.admin.apply.files import parse_set, read_texts
from stagedoor.admin.apply.plan import ApplyOptions
from stagedoor.admin.service import AdminService
from stagedoor.store.database import open_database
from tests.store.sample import place_from

left = int(sys.argv[2])
database = open_database(place_from(sys.argv[1]))

def count(*_):
    global left
    left -= 1
    if left == 0:
        os.kill(os.getpid(), signal.SIGKILL)

event.listen(database._adapter.writing, "after_cursor_execute", count)
declared = parse_set(read_texts(Path(sys.argv[3])))
service = AdminService(database, Path("/"), "ci@here", lambda: 1000.0)
apply_set(service, declared.name, declared.rows, ApplyOptions())
"""


@pytest.mark.access(28)
def test_a_run_that_is_killed_has_done_all_or_nothing(place: StoreLocation, tmp_path: Path) -> None:
    open_database(place).close()
    folder = write(tmp_path / "files")
    for statement in range(1, 100, 4):
        process = python(KILLED, place, str(statement), str(folder))
        process.communicate()
        database = open_database(place)
        with database.read() as transaction:
            rows = read_rows(transaction).rows
        events = [*read_entries(database)]
        database.close()
        if process.returncode == 0:
            break
        assert process.returncode == -signal.SIGKILL
        assert (len(rows), len(events)) == (0, 0), statement
    assert (len(rows), len(events)) == (7, 8)
    assert statement > 8, "it was killed at several statements"
