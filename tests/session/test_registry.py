"""Which sessions have to end, and that none slips through between two steps."""

from dataclasses import replace

import pytest
from msgspec import structs

from stagedoor.model.denial import Denial, Reason
from stagedoor.model.grant import Grant
from stagedoor.model.identity import SignIn
from stagedoor.model.permission import DEFAULT, Permission
from stagedoor.model.session import Counts, EndReason, OpenedSession, ReadyShell
from stagedoor.model.target import Target
from stagedoor.session.registry import Registry
from stagedoor.session.revoke import find_removal

from .stages import GRANT, OPENED, Running, Script

DENIED = Denial(Reason.NO_GRANT, "no grant for 'dev' to enter app01")
SHELL = OPENED.ready.shell


def opened(name: str, expires_at: float | None = None) -> OpenedSession:
    grant = replace(GRANT, target=Target(name), expires_at=expires_at)
    return structs.replace(OPENED, id=name, ready=ReadyShell(grant, OPENED.ready.shell))


class Inside:
    """A registry with a policy that a test can change."""

    def __init__(self) -> None:
        self.decision: Grant | Denial = GRANT
        self.now = 0.0
        self.script = Script()
        self.ended: list[tuple[str, EndReason, str]] = []
        self.registry = Registry(lambda _: self.decision, lambda: self.now)

    def link(self, session: OpenedSession) -> Running:
        def on_end(ended: object) -> None:
            self.ended.append((session.id, ended.end, ended.detail))  # type: ignore[attr-defined]
            self.registry.unregister(session)

        return Running(self.script, on_end)

    def enter(self, session: OpenedSession) -> None:
        self.registry.register(session)
        self.registry.attach(session, self.link(session))


@pytest.mark.parametrize(
    ("expires_at", "decision", "end"),
    [
        (None, GRANT, None),
        (5.0, GRANT, None),
        (None, DENIED, EndReason.REVOKED),
        (5.0, DENIED, EndReason.EXPIRED),
    ],
)
def test_removal_distinguishes_revoked_from_expired(
    expires_at: float | None, decision: Grant | Denial, end: EndReason | None
) -> None:
    ending = find_removal(replace(GRANT, expires_at=expires_at), decision, now=10.0)
    assert (ending and ending.end) == end


@pytest.mark.parametrize(
    ("why", "sign_in"),
    [
        ("your sign-in has expired", SignIn(b"it", 5.0)),
        ("token t of 'dev' has expired", None),
        ("the user 'dev' is disabled", None),
    ],
)
def test_a_session_that_expires_ends_with_the_reason_of_the_verdict(
    why: str, sign_in: SignIn | None
) -> None:
    """The end of a credential was reported as the end of the grant."""
    identity = replace(GRANT.identity, sign_in=sign_in)
    over = Denial(Reason.NO_GRANT, why)
    ending = find_removal(replace(GRANT, identity=identity, expires_at=5.0), over, now=5.0)
    assert ending == (EndReason.EXPIRED, why)


def test_a_policy_change_closes_exactly_the_sessions_it_no_longer_covers() -> None:
    inside = Inside()
    gone: set[str] = set()
    inside.registry = Registry(
        lambda grant: DENIED if grant.target.app in gone else grant, lambda: 0.0
    )
    for name in "abcde":
        inside.enter(opened(name))
    gone.update("bd")
    assert inside.registry.review() == 2
    assert inside.ended == [(name, EndReason.REVOKED, DENIED.message) for name in "bd"]
    assert len(inside.registry) == 3


def test_a_session_asked_to_leave_before_its_relay_runs_leaves_when_it_does() -> None:
    inside = Inside()
    session = opened("a")
    inside.registry.register(session)
    assert inside.registry.request_end("a", EndReason.EVICTED, "by hand")
    inside.registry.attach(session, inside.link(session))
    assert inside.ended == [("a", EndReason.EVICTED, "by hand")]


def test_a_relay_that_ended_before_it_was_attached_leaves_nothing_behind() -> None:
    inside = Inside()
    session = opened("a")
    inside.registry.register(session)
    inside.registry.unregister(session)
    inside.registry.attach(session, inside.link(session))
    assert len(inside.registry) == 0
    assert not [*inside.registry.read_counts()]


def test_only_sessions_with_an_end_are_asked_as_time_passes() -> None:
    inside = Inside()
    inside.enter(opened("forever"))
    inside.decision = replace(GRANT, expires_at=5.0)
    inside.enter(opened("until five", 5.0))
    inside.now, inside.decision = 6.0, DENIED
    assert inside.registry.expire() == 1
    assert inside.ended == [("until five", EndReason.EXPIRED, DENIED.message)]
    assert len(inside.registry) == 1


def test_closing_a_session_that_is_elsewhere_says_so() -> None:
    assert not Inside().registry.request_end("nobody", EndReason.EVICTED, "")


def test_every_session_can_be_ended_and_bytes_are_reported_until_then() -> None:
    inside = Inside()
    for name in "abc":
        inside.enter(opened(name))
    assert dict(inside.registry.read_counts()) == dict.fromkeys("abc", Counts(1, 2))
    assert inside.registry.end_all(EndReason.DRAINED, "bye") == 3
    assert len(inside.registry) == 0


def test_bytes_are_reported_again_only_once_more_have_moved() -> None:
    inside = Inside()
    session = opened("a")
    inside.registry.register(session)
    link = Moving(inside.script, lambda ended: None)
    inside.registry.attach(session, link)
    assert inside.registry.take_new_bytes("a", Counts(1, 2)) == Counts(1, 2)
    assert not [*inside.registry.read_counts()]
    link.sent = 7
    assert [*inside.registry.read_counts()] == [("a", Counts(7, 2))]
    assert [*inside.registry.read_counts()] == [("a", Counts(7, 2))], "it was not taken"
    assert inside.registry.take_new_bytes("a", Counts(7, 2)) == Counts(6, 0)
    assert inside.registry.take_new_bytes("a", Counts(1, 2)) == Counts(), "a late report"
    assert not [*inside.registry.read_counts()]
    assert inside.registry.take_new_bytes("b", Counts(1, 2)) == Counts(), "there is no such session"


class Moving(Running):
    """A relay that moves bytes."""

    sent = 1

    def read_counts(self) -> Counts:
        return Counts(self.sent, 2)


def test_a_session_that_only_an_expiring_rule_still_covers_ends_with_that_rule() -> None:
    """It was let in by a rule without end; when that was removed, another one covered it."""
    inside = Inside()
    inside.enter(opened("a"))
    inside.decision = replace(GRANT, expires_at=5.0)
    assert inside.registry.review() == 0
    inside.now = 6.0
    inside.decision = DENIED
    assert inside.registry.expire() == 1
    assert [end for _, end, _ in inside.ended] == [EndReason.EXPIRED]


def test_a_session_hears_of_its_permissions_only_when_they_change() -> None:
    inside = Inside()
    inside.decision = replace(GRANT, permissions=DEFAULT)
    inside.enter(opened("a"))
    assert inside.script.asked == ["relay.granted enter files"], "changed between two steps"
    inside.registry.review()
    inside.decision = replace(GRANT, permissions=DEFAULT | {Permission.FORWARD})
    inside.registry.review()
    inside.registry.review()
    assert inside.script.asked[1:] == ["relay.granted enter files forward"]
    assert inside.ended == []


def test_a_permission_that_ends_before_its_grant_is_looked_at_when_time_has_passed() -> None:
    inside = Inside()
    lasting = replace(opened("a").ready.grant, permissions=DEFAULT, changes_at=5.0)
    inside.decision = lasting
    inside.enter(structs.replace(opened("a"), ready=ReadyShell(lasting, OPENED.ready.shell)))
    inside.now = 6.0
    inside.decision = replace(lasting, permissions=frozenset({Permission.ENTER}), changes_at=None)
    assert inside.registry.expire() == 0
    assert inside.script.asked == ["relay.granted enter"]
    inside.decision = DENIED
    assert inside.registry.expire() == 0, "nothing ends by itself any more"


def test_a_session_ends_with_the_permission_that_it_is_for() -> None:
    inside = Inside()
    inside.decision = replace(GRANT, permissions=DEFAULT)
    for name, needs in (("file", Permission.FILES), ("terminal", None)):
        session = opened(name)
        inside.registry.register(session, needs)
        inside.registry.attach(session, inside.link(session))
    assert inside.ended == []
    inside.decision = replace(GRANT, permissions=frozenset({Permission.ENTER}))
    assert inside.registry.review() == 1
    ((name, end, why),) = inside.ended
    assert (name, end) == ("file", EndReason.REVOKED)
    assert "is not granted to 'dev'" in why


def test_who_lost_a_permission_while_the_shell_started_does_not_get_in_for_it() -> None:
    inside = Inside()
    inside.decision = replace(GRANT, permissions=frozenset({Permission.ENTER}))
    session = structs.replace(
        opened("file"), ready=ReadyShell(replace(GRANT, permissions=DEFAULT), OPENED.ready.shell)
    )
    inside.registry.register(session, Permission.FILES)
    inside.registry.attach(session, inside.link(session))
    assert [end for _, end, _ in inside.ended] == [EndReason.REVOKED]


@pytest.mark.continuity(9)
def test_a_session_that_is_named_again_is_revoked_on_both_connections() -> None:
    """An endpoint in a shell could name a session that another connection still carries."""
    inside, is_allowed = Inside(), {"first": True, "second": True}
    inside.registry = Registry(
        lambda grant: grant if is_allowed[str(grant.identity.credential_id)] else DENIED,
        lambda: 0.0,
    )

    def by(credential: str) -> OpenedSession:
        identity = replace(GRANT.identity, credential_id=credential)
        return structs.replace(
            opened("a"), ready=ReadyShell(replace(GRANT, identity=identity), SHELL)
        )

    first, second = by("first"), by("second")
    inside.enter(first)
    inside.enter(second)
    assert len(inside.registry) == 1
    is_allowed["first"] = False
    assert inside.registry.review() == 1
    assert inside.ended == [("a", EndReason.REVOKED, DENIED.message)]
    is_allowed["first"] = True
    inside.enter(first)
    assert inside.registry.request_end("a", EndReason.EVICTED, "by hand")
    assert [end for _, end, _ in inside.ended[1:]] == [EndReason.EVICTED, EndReason.EVICTED]
    assert len(inside.registry) == 0


def test_a_return_that_fails_leaves_the_session_to_the_connection_before() -> None:
    inside = Inside()
    first, second = opened("a", 5.0), opened("a")
    inside.decision = first.ready.grant
    inside.enter(first)
    inside.registry.register(second)
    inside.registry.unregister(second)
    assert inside.registry.list_ids() == ("a",)
    inside.now, inside.decision = 6.0, DENIED
    assert inside.registry.expire() == 1
    assert [end for _, end, _ in inside.ended] == [EndReason.EXPIRED]
    assert len(inside.registry) == 0
