"""What grants permit: they add up, and guests have nothing of it."""

from dataclasses import replace
from types import MappingProxyType

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stagedoor.authz.authoriser import Authoriser
from stagedoor.authz.decide import authorise, has_somewhere, may_replay
from stagedoor.authz.guest import authorise_share, authorise_watching, judge_again
from stagedoor.model.denial import Denial
from stagedoor.model.grant import Grant, GrantRule
from stagedoor.model.identity import Identity, Method
from stagedoor.model.permission import (
    DEFAULT,
    NOTHING,
    Permission,
    Permissions,
    combine_permissions,
    from_words,
    parse_permissions,
    to_words,
)
from stagedoor.model.policy import KeyRecord, Policy, User
from stagedoor.model.selector import ALL_USERS
from stagedoor.model.share import Share
from stagedoor.model.target import Target

NOW = 1_700_000_000.0
APP01, STAGING = Target("app01"), Target("app01", "staging")
FORWARD, AGENT, RECORD, WATCH, REPLAY, FILES, ENTER = (
    frozenset({item})
    for item in (
        Permission.FORWARD,
        Permission.AGENT,
        Permission.RECORD,
        Permission.WATCH,
        Permission.REPLAY,
        Permission.FILES,
        Permission.ENTER,
    )
)
EVERYTHING = frozenset(Permission)
DEV = Identity("dev", frozenset({"stale"}), Method.PASSWORD)
GUEST = Identity("guest", frozenset(), Method.PASSWORD)


def policy(*rules: GrantRule, **more: object) -> Policy:
    users = {
        "dev": User("dev", frozenset({"crew"})),
        "guest": User("guest"),
    }
    return replace(Policy(users=MappingProxyType(users), grants=rules), **more)  # type: ignore[arg-type]


def permits(
    *rules: GrantRule,
    target: Target = APP01,
    now: float = NOW,
) -> Permissions | None:
    """None: not even to enter."""
    verdict = authorise(policy(*rules), DEV, target, now)
    return verdict.permissions if isinstance(verdict, Grant) else None


def rule(permissions: Permissions, subject: str = "user:dev", app: str = "app01") -> GrantRule:
    return GrantRule(1, subject, app, permissions=permissions)


# Grants.


def test_a_grant_that_says_nothing_permits_what_everybody_had() -> None:
    assert permits(GrantRule(1, "user:dev", "app01")) == {Permission.ENTER, Permission.FILES}


@pytest.mark.parametrize("extra", [p for p in Permission if p is not Permission.ENTER])
def test_no_permission_but_entering_lets_in(extra: Permission) -> None:
    assert permits(rule(EVERYTHING - ENTER)) is None
    assert permits(rule(frozenset({extra}), ALL_USERS, "*")) is None


def test_grants_of_a_user_and_of_all_their_groups_add_up() -> None:
    rules = (rule(ENTER), rule(FORWARD, "group:crew", "app*"), rule(RECORD, ALL_USERS, "*"))
    assert permits(*rules) == ENTER | FORWARD | RECORD
    others = (rule(AGENT, "group:stale"), rule(WATCH, "user:guest"), rule(REPLAY, app="app02"))
    assert permits(*rules, *others) == ENTER | FORWARD | RECORD


def test_a_permission_ends_with_its_own_grant() -> None:
    rules = (rule(ENTER), GrantRule(2, "user:dev", "app01", "*", NOW + 5, FORWARD))
    verdict = authorise(policy(*rules), DEV, APP01, NOW)
    assert isinstance(verdict, Grant)
    assert (verdict.expires_at, verdict.changes_at) == (None, NOW + 5)
    assert verdict.permissions == ENTER | FORWARD
    assert permits(*rules, now=NOW + 5) == ENTER
    held, now = policy(*rules), NOW
    stage = Authoriser(lambda: held, lambda: now)
    assert stage.authorise(DEV, APP01) == verdict
    now = NOW + 5
    again_ = stage.authorise(DEV, APP01)
    assert isinstance(again_, Grant)
    assert again_.permissions == ENTER, "what was remembered is not given on"


rules_st = st.lists(
    st.builds(
        GrantRule,
        st.integers(1, 9),
        st.sampled_from(
            ["user:dev", "user:guest", "group:crew", "group:stale", ALL_USERS, "user:*", "dev", ""]
        ),
        st.sampled_from(["*", "app01", "app*", "app02", "!app01", "App01"]),
        st.sampled_from(["*", "staging", "prod*", "!*"]),
        st.sampled_from([None, NOW - 1, NOW, NOW + 5]),
        st.frozensets(st.sampled_from(Permission)),
    ),
    max_size=6,
)


@given(rules_st, rules_st, st.sampled_from([APP01, STAGING]))
def test_one_grant_more_never_takes_a_permission(
    some: list[GrantRule], more: list[GrantRule], target: Target
) -> None:
    few = permits(*some, target=target)
    many = permits(*some, *more, target=target)
    if few is not None:
        assert many is not None
        assert few <= many
    if many is not None:
        given = frozenset().union(*(item.permissions for item in (*some, *more)))
        assert Permission.ENTER in many <= given


@given(st.frozensets(st.sampled_from(Permission)), st.text())
def test_words_of_the_store_are_read_as_they_were_written(
    permissions: Permissions, noise: str
) -> None:
    assert from_words(to_words(permissions)) == permissions
    assert from_words(noise) <= frozenset(p for p in Permission if p.value in noise)


@given(st.frozensets(st.sampled_from(Permission)), st.frozensets(st.sampled_from(Permission)))
def test_options_never_give_what_they_do_not_name(allow: Permissions, without: Permissions) -> None:
    try:
        given_ = combine_permissions(allow, without)
    except ValueError:
        return
    assert given_ <= allow | DEFAULT
    assert not given_ & without
    if Permission.ENTER in without:
        assert given_ == allow


@given(st.text(alphabet="abcdefghijklmnopqrstuvwxyz, *\n", max_size=30))
def test_what_is_no_permission_is_refused(text: str) -> None:
    known = {str(p) for p in Permission}
    if {part.strip() for part in text.split(",")} <= known:
        assert to_words(parse_permissions([text])).split()
    else:
        with pytest.raises(ValueError, match="is not a permission; there are: enter, files"):
            parse_permissions([text])


# Guests.


def shared(*rules: GrantRule, typing: bool = False) -> Grant | Denial:
    share = Share(
        "s1", b"h" * 32, "dev", Method.PUBLIC_KEY, APP01, "main", typing, NOW + 60, "SHA256:k"
    )  # fmt: skip
    held = policy(
        *rules,
        shares=MappingProxyType({"s1": share}),
        keys=MappingProxyType({"SHA256:k": KeyRecord("dev", "SHA256:k", "ssh-ed25519 AAAA")}),
    )
    return authorise_share(held, GUEST, "s1", NOW)


@pytest.mark.parametrize("typing", [False, True])
def test_a_guest_has_no_permission_whatever_the_host_and_the_guest_have(typing: bool) -> None:
    everything = (rule(EVERYTHING - RECORD), rule(EVERYTHING - RECORD, "user:guest"))
    verdict = shared(*everything, typing=typing)
    assert isinstance(verdict, Grant)
    assert verdict.permissions == NOTHING
    assert verdict.guest is not None
    assert verdict.guest.may_type is typing


@pytest.mark.parametrize("recorded", ["user:dev", "user:guest", ALL_USERS])
def test_a_guest_is_recorded_where_the_host_or_the_guest_is(recorded: str) -> None:
    verdict = shared(rule(ENTER), rule(RECORD, recorded))
    assert isinstance(verdict, Grant)
    assert verdict.permissions == RECORD


def test_a_host_whose_grant_only_watches_shares_nothing() -> None:
    assert isinstance(shared(rule(EVERYTHING - ENTER)), Denial)


def test_watching_needs_its_own_permission_and_ends_with_it() -> None:
    watching = rule(WATCH | RECORD, "user:guest")
    verdict = authorise_watching(policy(watching), GUEST, APP01, "main", "dev", NOW)
    assert isinstance(verdict, Grant)
    assert verdict.permissions == RECORD
    for left in (rule(EVERYTHING - WATCH, "user:guest"), rule(WATCH, "user:dev")):
        gone = judge_again(policy(left), verdict, NOW)
        assert isinstance(gone, Denial)
        assert "stagedoor grant add user:guest app01 --allow watch --without enter" in gone.message


# Recordings.


def test_replaying_needs_its_own_permission_for_the_app_and_a_password() -> None:
    held = policy(rule(REPLAY), rule(EVERYTHING - REPLAY, app="app02"))
    assert may_replay(held, DEV, APP01, NOW)
    assert has_somewhere(held, DEV, Permission.REPLAY, NOW)
    assert not may_replay(held, DEV, Target("app02"), NOW)
    assert not may_replay(held, DEV, None, NOW), "whose it is, nobody knows"
    assert may_replay(policy(rule(REPLAY, app="*")), DEV, None, NOW)
    assert not may_replay(policy(rule(REPLAY)), GUEST, APP01, NOW)
    for who in (
        replace(DEV, method=Method.TOKEN, credential_id="t1"),
        replace(DEV, scopes=("connect:app01",)),
        replace(DEV, name="gone"),
    ):
        assert not may_replay(held, who, APP01, NOW)
        assert not has_somewhere(held, who, Permission.REPLAY, NOW)
    ended = policy(GrantRule(1, "user:dev", "*", "*", NOW, REPLAY))
    assert not may_replay(ended, DEV, APP01, NOW)
    assert not has_somewhere(ended, DEV, Permission.REPLAY, NOW)
