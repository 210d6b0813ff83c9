"""Attacks of a developer who wants more than was approved: longer, more, or without the time running."""

from dataclasses import replace

import pytest
from msgspec import structs

from stagedoor.admin import service as admin
from stagedoor.admin.requests import access_requests as requests
from stagedoor.authz import guest
from stagedoor.authz.authoriser import Authoriser
from stagedoor.authz.decide import may_replay
from stagedoor.model.access_request import RequestState
from stagedoor.model.denial import Denial
from stagedoor.model.errors import NotFoundError, RefusedError
from stagedoor.model.grant import Grant
from stagedoor.model.identity import Identity, Method
from stagedoor.model.permission import DEFAULT, Permission
from stagedoor.model.session import AccessMethod, ReadyShell
from stagedoor.model.share import Share
from stagedoor.model.target import Target
from stagedoor.session.registry import Registry
from stagedoor.session.revoke import require_recording
from stagedoor.store import people
from stagedoor.store.policy import load_policy
from tests.access.test_requests import APP, NOW, RULE, Desk, desk
from tests.session.stages import OPENED, SHELL

__all__ = ["desk"]
OTHER = Target("app10", "production")
DEV = Identity("dev", frozenset(), Method.PASSWORD)
WIDE = replace(
    RULE, permissions=DEFAULT | {Permission.FORWARD, Permission.WATCH, Permission.REPLAY}
)


def test_an_extension_gives_no_app_and_no_permission_before_it_begins(desk: Desk) -> None:
    """Otherwise a short approval for more would last as long as a long one for less."""
    first = desk.decide(desk.make(desk.rule()))
    requests.begin_request(desk.service, first.id)
    second = desk.decide(desk.make(desk.rule(WIDE), "dev", APP, OTHER))
    assert second.began_at == NOW + 3600
    now = desk.verdict()
    assert isinstance(now, Grant)
    assert (now.permissions, now.expires_at) == (DEFAULT, NOW + 7200)
    assert not desk.may_enter(target=OTHER)
    desk.now += 3600
    later = desk.verdict()
    assert isinstance(later, Grant)
    assert Permission.FORWARD in later.permissions
    assert desk.may_enter(target=OTHER)


def test_an_extension_gives_nothing_in_the_place_of_what_was_taken_away(desk: Desk) -> None:
    rule = desk.rule()
    first = desk.decide(desk.make(rule))
    requests.begin_request(desk.service, first.id)
    desk.decide(desk.make(rule))
    requests.leave_request(desk.service, first.id)  # an administrator ends it
    assert not desk.may_enter()
    desk.now += 3600
    assert desk.may_enter()


def test_a_guest_needs_access_whose_time_runs(desk: Desk) -> None:
    """To watch, to play recordings and to type in a shared terminal begins no time by itself."""
    admin.add_user(desk.service, "host")
    admin.add_grant(desk.service, "user:host", "app09")
    request = desk.decide(desk.make(desk.rule(WIDE)))
    share = Share("s1", b"", "host", Method.CERTIFICATE, APP, "main", True, NOW + 9000)

    def rights() -> tuple[bool, bool, bool]:
        policy = replace(load_policy(desk.database), shares={"s1": share})
        watching = guest.authorise_watching(policy, DEV, APP, "main", "host", desk.now)
        shared = guest.authorise_share(policy, DEV, "s1", desk.now)
        assert isinstance(shared, Grant)
        assert shared.guest is not None
        replays = may_replay(policy, DEV, APP, desk.now)
        return isinstance(watching, Grant), shared.guest.may_type, replays

    assert rights() == (False, False, False)
    requests.begin_request(desk.service, request.id)
    assert rights() == (True, True, True)


def test_what_begins_nothing_rests_upon_no_unused_approval(desk: Desk) -> None:
    desk.decide(desk.make(desk.rule()))
    authoriser = Authoriser(lambda: load_policy(desk.database), lambda: desk.now)
    assert isinstance(authoriser.authorise(DEV, APP), Grant)
    assert isinstance(authoriser.authorise(DEV, APP, includes_unbegun=False), Denial)


def test_a_jump_does_not_go_on_by_access_that_must_be_recorded(desk: Desk) -> None:
    recorded = replace(RULE, permissions=DEFAULT | {Permission.RECORD})
    desk.decide(desk.make(desk.rule(recorded)))
    requested = desk.verdict()
    assert isinstance(requested, Grant)
    for access_method in AccessMethod:
        is_refused = isinstance(require_recording(access_method, requested), Denial)
        assert is_refused is (access_method in (AccessMethod.CONNECT, AccessMethod.JUMP))
    number = admin.add_grant(desk.service, "user:dev", "app09", expires_at=NOW + 60).id
    granted = desk.verdict()
    assert isinstance(granted, Grant)
    assert require_recording(AccessMethod.JUMP, granted) is granted
    jump = structs.replace(
        OPENED, access_method=AccessMethod.JUMP, ready=ReadyShell(granted, SHELL)
    )
    registry = Registry(lambda _: desk.verdict(), lambda: desk.now)
    registry.register(jump)
    assert registry.review() == 0
    admin.remove_grant(desk.service, number)
    assert registry.review() == 1


def test_the_next_user_of_a_name_decides_nothing_and_asks_for_nothing(desk: Desk) -> None:
    own = desk.rule(replace(RULE, subject="user:dev"))
    alone = desk.rule(replace(RULE, subject="user:eve", approvers=("user:bob",)))
    two = desk.rule(replace(RULE, approvers=("user:bob", "user:ann"), approvals=2))
    pending = desk.make(two, "eve")
    desk.decide(pending, "bob")
    for name in ("bob", "dev"):
        admin.remove_user(desk.service, name)
        admin.add_user(desk.service, name, groups=["sre", "dev"])
    left = admin.read_policy(desk.service).request_rules
    assert left.keys() & {own.id, alone.id, two.id} == {two.id}
    assert left[two.id].approvers == ("user:ann",)
    assert desk.decide(pending, "ann").state is RequestState.PENDING, "bob's vote is gone"
    with pytest.raises(RefusedError, match="not an approver"):
        desk.decide(pending, "bob")


def test_a_rule_names_no_user_who_does_not_exist(desk: Desk) -> None:
    """The first person of that name, perhaps by single sign-on, would decide."""
    for rule in (
        replace(RULE, subject="user:ghost"),
        replace(RULE, approvers=("user:ghost",)),
        replace(RULE, later_approvers=("user:ghost",), later_s=60),
    ):
        with pytest.raises(NotFoundError, match="no user ghost"):
            desk.rule(rule)


def test_an_approver_in_files_is_not_removed_by_hand(desk: Desk) -> None:
    rule = desk.rule(replace(RULE, approvers=("user:bob", "user:ann")))
    with desk.database.write() as transaction:
        transaction.exec_driver_sql(
            f"UPDATE request_rules SET owner_set = 'team', owner_file = 'a.toml' WHERE id = {rule.id}"
        )
    with pytest.raises(RefusedError, match="belongs to the access set team"):
        admin.remove_user(desk.service, "bob")
    with desk.service.change("x") as change:
        people.remove_user(change.transaction, "bob", by_set="team")
