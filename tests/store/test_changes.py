"""Workers read what a change has touched, and have then what a whole reading would give."""

import random
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from sqlalchemy import event, update

from stagedoor.admin import service as admin
from stagedoor.admin import sessions as admin_sessions
from stagedoor.admin.person import set_disabled
from stagedoor.admin.requests import access_requests as requests
from stagedoor.admin.service import AdminService
from stagedoor.admin.shares import end_share, make_share
from stagedoor.keys.files import format_public_line, make_key
from stagedoor.model.access_request import RequestRule
from stagedoor.model.errors import ConflictError, NotFoundError, RefusedError
from stagedoor.model.identity import Identity, Method
from stagedoor.model.permission import Permission
from stagedoor.model.policy import Policy
from stagedoor.model.target import Target
from stagedoor.settings.sso import SingleSignOnSettings
from stagedoor.settings.store_location import StoreLocation
from stagedoor.signin.provider_accounts import unlink_account
from stagedoor.store import changes, schema
from stagedoor.store.database import Database, open_database
from stagedoor.store.policy import load_policy
from stagedoor.store.sign_in import identities, passes
from stagedoor.store.sign_in.identities import ProviderAccount
from stagedoor.store.watch import WHOLE_EACH_S, PolicyWatch
from stagedoor.wire.target import parse_login
from tests.fixtures.people import open_machine, open_session, sign_in

NAMES = ("ann", "bob", "cid")
GROUPS = ("dev", "ops")
APPS = ("app01", "app*", "web")


@pytest.fixture
def service(database: Database, tmp_path: Path) -> AdminService:
    return AdminService(database, tmp_path, "root@here", lambda: 1000.0)


class Reader:
    """A watch, whose clock stands still, and what it asks for rows of the policy."""

    def __init__(self, place: StoreLocation) -> None:
        self.database = open_database(place)
        self.now = 0.0
        self.watch = PolicyWatch(
            self.database,
            "one",
            on_change=lambda _: None,
            on_close_requests=lambda _: None,
            on_problem=self._problem,
            clock=lambda: self.now,
        )
        self.asked: list[str] = []
        engine = self.database._adapter.reading  # type: ignore[attr-defined]  # to see the SQL

        @event.listens_for(engine, "before_cursor_execute")
        def asks(_1: object, _2: object, statement: str, *_3: object) -> None:
            self.asked.append(" ".join(statement.split()))

    def _problem(self, problem: str | None) -> None:
        assert problem is None, problem

    def poll(self) -> list[str]:
        """The tables that were read whole."""
        self.asked.clear()
        self.watch.poll()
        policy_tables = ("users", "tokens", "keys", "grants", "shares")
        return [
            table
            for table in policy_tables
            for said in self.asked
            if f"FROM {table}" in said and "WHERE" not in said
        ]


@pytest.fixture
def reader(database: Database, place: StoreLocation) -> Iterator[Reader]:
    made = Reader(place)
    yield made
    made.database.close()


COMPANY = SingleSignOnSettings(
    name="Company",
    issuer="https://id.example",
    client_id="stagedoor",
    client_secret_file=Path("/nowhere"),
    redirect_uri="https://shell.example/sign-in/sso",
)


def everything(service: AdminService, dice: random.Random) -> list[Callable[[], object]]:
    """Each way to change the policy, with something made up; what does not fit is refused."""
    policy = admin.read_policy(service)
    name, group, app = dice.choice(NAMES), dice.choice(GROUPS), dice.choice(APPS)
    host = Identity(name, frozenset(), Method.PASSWORD)
    target = parse_login("app01")
    assert target is not None

    def some(of: object) -> str:
        return str(dice.choice(sorted(of, key=str) or ["none"]))  # type: ignore[call-overload]

    def sign_in_and_out() -> None:
        if name not in policy.users:
            raise NotFoundError(name)
        _, session = open_session(service.database, host, 1000.0)
        if dice.random() < 0.7:
            with service.change("web.sign-out", revokes=True) as change:
                passes.end_sign_in(change.transaction, session.id, None, 1000.0)

    def log_in_machine() -> None:
        by = sign_in(service.database, host, 1000.0)
        number = dice.randrange(3)
        with service.change("login") as change:
            _, login = open_machine(
                change.transaction,
                by,
                1000.0,
                fingerprint=f"SHA256:{number}",
                public_key=f"ssh-ed25519 {number}",
                session_s=60.0,
            )
        if dice.random() < 0.4:
            with service.change("end", revokes=True) as change:
                passes.end_sign_in(change.transaction, login.id, "why", 1000.0)

    def log_in_somebody() -> None:
        if name in policy.users:
            log_in_machine()

    def rule() -> int:
        return dice.choice([grant.id for grant in policy.grants] or [99])

    watch = frozenset({Permission.WATCH})
    forward = frozenset({Permission.FORWARD})

    return [
        lambda: admin.add_user(service, name, groups=[group]),
        lambda: admin.remove_user(service, name),
        lambda: admin.set_password(service, name, None),
        lambda: set_disabled(service, name, disabled=True),
        lambda: set_disabled(service, name, disabled=False),
        lambda: admin.change_groups(service, name, add=[group]),
        lambda: admin.change_groups(service, name, remove=[group]),
        lambda: admin.add_keys(service, name, [format_public_line(make_key()) for _ in range(2)]),
        lambda: admin.remove_key(service, some(policy.keys)),
        lambda: admin.create_token(service, name),
        lambda: admin.revoke_token(service, some(policy.tokens)),
        lambda: admin.add_grant(service, f"user:{name}", app),
        lambda: admin.add_grant(service, f"group:{group}", app, permissions=watch),
        lambda: admin.add_grant(service, f"user:{name}", app, permissions=watch),
        lambda: admin.remove_grant(service, rule()),
        lambda: admin.change_grant(service, rule(), allow=forward),
        lambda: admin.change_grant(service, rule(), without=forward),
        lambda: make_share(service, host, target, "main", 60.0, typing=True),
        lambda: end_share(service, some(policy.shares)),
        lambda: admin_sessions.request_close(service, ["none"], "why"),
        sign_in_and_out,
        log_in_somebody,
        log_in_somebody,
        lambda: come_by_provider(service, name, group),
        lambda: unlink_account(service, COMPANY, name),
        lambda: requests.add_rule(service, RequestRule(0, f"group:{group}", app, approvals=0)),
        lambda: requests.remove_rule(service, dice.choice([*policy.request_rules, 99])),
        lambda: make_request(service, policy, name),
        lambda: requests.begin_request(service, dice.choice([*policy.requests, 99])),
        lambda: requests.leave_request(service, dice.choice([*policy.requests, 99])),
    ]


def make_request(service: AdminService, policy: Policy, name: str) -> None:
    for rule in policy.request_rules.values():
        requests.make_request(service, name, [Target("app01")], rule, "why")


def come_by_provider(service: AdminService, name: str, group: str) -> None:
    with service.change("sso.sign-in") as change:
        identities.admit(change.transaction, ProviderAccount(COMPANY.issuer, name), name, 1000.0)
        identities.set_provided_groups(change.transaction, name, frozenset({group}))


def test_after_any_changes_it_is_what_a_whole_reading_gives(
    service: AdminService, reader: Reader
) -> None:
    dice = random.Random(service.database.shared)  # other changes in each kind of store
    made = 0
    for _ in range(60):
        for _ in range(dice.randrange(1, 4)):
            try:
                dice.choice(everything(service, dice))()
            except (NotFoundError, ConflictError, RefusedError):
                continue
            made += 1
        whole = reader.poll()
        assert whole == [], "nothing is read whole"
        identity, loaded = reader.watch.policy, load_policy(service.database)
        # No client can show the sign-ins of a user that is gone.
        assert loaded.signed_out.items() <= identity.signed_out.items()
        assert replace(identity, signed_out=loaded.signed_out) == loaded
    assert made > 30


def test_of_a_change_by_an_older_program_everything_is_read(
    service: AdminService, reader: Reader
) -> None:
    """It records nothing of what it touches."""
    admin.add_user(service, "ann")
    reader.poll()
    with service.database.write() as transaction:
        transaction.execute(schema.users.delete())
        transaction.execute(
            update(schema.meta)
            .where(schema.meta.c.name == "policy_version")
            .values(value=schema.meta.c.value + 1)
        )
    admin.add_user(service, "bob")
    assert "users" in reader.poll()
    assert list(reader.watch.policy.users) == ["bob"]


def test_of_a_change_that_says_nothing_everything_is_read(
    service: AdminService, reader: Reader
) -> None:
    admin.add_user(service, "ann")
    reader.poll()
    with service.change("by hand") as change:
        change.transaction.execute(schema.users.delete())
    assert "users" in reader.poll()
    assert not reader.watch.policy.users


def test_who_is_too_far_behind_reads_everything(
    service: AdminService, reader: Reader, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(changes, "KEPT", 3)
    for name in ("a", "b", "c", "d", "e"):
        admin.add_user(service, name)
    assert "users" in reader.poll()
    assert sorted(reader.watch.policy.users) == ["a", "b", "c", "d", "e"]
    with service.database.read() as transaction:
        kept = transaction.execute(schema.policy_changes.select()).all()
    assert len(kept) == 3


def test_a_store_from_a_backup_is_read_whole(service: AdminService, reader: Reader) -> None:
    admin.add_user(service, "ann")
    reader.poll()
    with service.database.write() as transaction:
        transaction.execute(schema.users.delete())
        transaction.execute(
            update(schema.meta).where(schema.meta.c.name == "policy_version").values(value=0)
        )
    assert "users" in reader.poll()
    assert not reader.watch.policy.users


def test_once_in_a_while_everything_is_read(service: AdminService, reader: Reader) -> None:
    admin.add_user(service, "ann")
    assert reader.poll() == []
    reader.now += WHOLE_EACH_S
    admin.add_user(service, "bob")
    assert "users" in reader.poll()
    admin.add_user(service, "cid")
    assert reader.poll() == []


def test_a_closed_session_makes_nobody_read_rows(service: AdminService, reader: Reader) -> None:
    admin_sessions.request_close(service, ["none"], "why")
    reader.poll()
    assert not [said for said in reader.asked if "FROM users" in said or "FROM grants" in said]
    assert reader.watch.policy.version == 1
