"""Who may enter what: default deny, and every rule means just what it says."""

import re
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stagedoor.authz.authoriser import Authoriser
from stagedoor.authz.decide import authorise, is_in_scope, select_targets
from stagedoor.model.access_request import AccessRequest, RequestState
from stagedoor.model.denial import Denial, Reason
from stagedoor.model.grant import Grant, GrantRule
from stagedoor.model.identity import Identity, Method, SignIn
from stagedoor.model.permission import DEFAULT, Permission
from stagedoor.model.policy import KeyRecord, Policy, TokenRecord, User
from stagedoor.model.target import Target
from stagedoor.wire.rfc3339 import show_time

NOW = 1_800_000_000.0
DEV = Identity("dev", frozenset({"stale-group"}), Method.PASSWORD)
APP01 = Target("app01")


def policy(*rules: GrantRule, groups: frozenset[str] = frozenset({"crew"})) -> Policy:
    return Policy(users={"dev": User("dev", groups)}, grants=rules)


def enters(target: Target, *rules: GrantRule, identity: Identity = DEV) -> bool:
    return isinstance(authorise(policy(*rules), identity, target, NOW), Grant)


def denied(held: Policy, target: Target = APP01, identity: Identity = DEV) -> str:
    verdict = authorise(held, identity, target, NOW)
    assert isinstance(verdict, Denial)
    assert verdict.reason is Reason.NO_GRANT
    return verdict.message


def test_without_a_rule_nobody_enters_and_hears_what_would_let_him() -> None:
    message = denied(policy(), Target("app09"))
    assert "no grant for 'dev' to enter app09" in message
    assert "stagedoor grant add user:dev app09" in message
    message = denied(policy(), Target("app09", "staging"))
    assert "to enter app09 in staging" in message
    assert message.endswith("stagedoor grant add user:dev app09 --environment staging)")


def test_a_grant_that_is_over_is_named_with_its_end() -> None:
    over = (
        GrantRule(1, "group:crew", "app*", expires_at=NOW - 60),
        GrantRule(2, "user:dev", "app01", expires_at=NOW),
    )
    message = denied(policy(*over))
    assert message == (
        f"the grant for 'dev' to enter app01 ended at {show_time(NOW)} (an administrator gives another with: "
        "stagedoor grant add user:dev app01)"
    )
    for other in (
        GrantRule(1, "user:dev", "app02", expires_at=NOW),
        GrantRule(1, "user:ann", "app01", expires_at=NOW),
        GrantRule(
            1, "user:dev", "app01", expires_at=NOW, permissions=frozenset({Permission.WATCH})
        ),
    ):
        assert denied(policy(other)).startswith("no grant for 'dev'")


def test_an_approved_request_that_is_over_is_named_with_its_end() -> None:
    """Its session ends with this line."""
    request = AccessRequest(7, "dev", (APP01,), DEFAULT, 1, "INC-1", 60, NOW - 90, NOW - 30)
    for state, begins in (
        (
            RequestState.APPROVED,
            f"the grant for 'dev' to enter app01 ended at {show_time(NOW - 30)}",
        ),
        (RequestState.PENDING, "no grant for 'dev' to enter app01"),
    ):
        held = replace(policy(), requests={7: replace(request, state=state)})
        assert denied(held).startswith(begins)


@pytest.mark.parametrize(
    ("rule_ends", "sign_in_ends", "ends"),
    [(None, NOW + 9, NOW + 9), (NOW + 5, NOW + 9, NOW + 5), (NOW + 9, NOW + 5, NOW + 5)],
)
def test_a_grant_lasts_no_longer_than_the_sign_in_that_it_is_for(
    rule_ends: float | None, sign_in_ends: float, ends: float
) -> None:
    held = policy(GrantRule(1, "user:dev", "app01", expires_at=rule_ends))
    signed_in = replace(DEV, sign_in=SignIn(b"it", sign_in_ends))
    grant = authorise(held, signed_in, APP01, NOW)
    assert isinstance(grant, Grant)
    assert grant.expires_at == ends
    over = authorise(replace(held, signed_out={b"it": None}), signed_in, APP01, NOW)
    assert over == Denial(
        Reason.NO_GRANT, "you signed out in this browser; sign in again to come back"
    )
    late = authorise(policy(GrantRule(1, "user:dev", "app01")), signed_in, APP01, sign_in_ends)
    assert late == Denial(Reason.NO_GRANT, "your sign-in has expired; sign in again to continue")


@pytest.mark.parametrize("subject", ["user:dev", "group:crew"])
def test_a_rule_for_the_user_or_a_group_lets_in(subject: str) -> None:
    assert authorise(policy(GrantRule(7, subject, "app01")), DEV, APP01, NOW) == Grant(
        DEV, APP01, 7, None, permissions=DEFAULT
    )


@pytest.mark.parametrize(
    "subject",
    ["user:ops", "group:dev", "user:crew", "group:stale-group", "dev", "user:*", "group:*",
     "user:", "", "USER:dev", "user:Dev", "user: dev", "user:dev "],
)  # fmt: skip
def test_any_other_subject_does_not(subject: str) -> None:
    assert not enters(APP01, GrantRule(1, subject, "*"))


@pytest.mark.parametrize(
    ("pattern", "app", "matches"),
    [
        ("app01", "app01", True),
        ("app01", "app012", False),
        ("app01", "xapp01", False),
        ("app*", "app01", True),
        ("app?", "app01", False),
        ("app[0-9][0-9]", "app01", True),
        ("app[!0]1", "app01", False),
        ("*", "app01", True),
        ("", "app01", False),
        ("App01", "app01", False),
        (".*", "app01", False),
        ("app.1", "app01", False),
        ("(app01)", "app01", False),
        ("app01|x", "app01", False),
        ("^app01$", "app01", False),
        ("app01\n", "app01", False),
        ("app[", "app01", False),
        ("[[:alpha:]]*", "app01", False),
        (r"\app01", "app01", False),
    ],
)
def test_patterns_are_globs_over_the_whole_name(pattern: str, app: str, matches: bool) -> None:
    assert enters(Target(app), GrantRule(1, "user:dev", pattern)) is matches


@pytest.mark.parametrize(
    ("pattern", "environment", "matches"),
    [
        ("*", None, True),
        ("*", "staging", True),
        ("staging", "staging", True),
        ("staging", None, False),
        ("staging", "production", False),
        ("?*", None, False),
        ("**", None, False),
        ("", None, False),
        ("stag*", "staging", True),
    ],
)
def test_only_a_star_covers_a_target_without_environment(
    pattern: str, environment: str | None, matches: bool
) -> None:
    rule = GrantRule(1, "user:dev", "app01", pattern)
    assert enters(Target("app01", environment), rule) is matches


def test_a_rule_ends_at_its_instant() -> None:
    assert not enters(APP01, GrantRule(1, "user:dev", "*", "*", NOW))
    assert enters(APP01, GrantRule(1, "user:dev", "*", "*", NOW + 0.001))


def test_of_several_rules_the_one_that_lasts_longest_counts() -> None:
    rules = [
        GrantRule(1, "user:dev", "*", "*", NOW + 10),
        GrantRule(2, "user:dev", "*", "*", NOW + 30),
        GrantRule(3, "user:dev", "*", "*", NOW + 20),
    ]
    grant = authorise(policy(*rules), DEV, APP01, NOW)
    assert isinstance(grant, Grant)
    assert (grant.rule_id, grant.expires_at) == (2, NOW + 30)
    rules.append(GrantRule(4, "group:crew", "*"))
    grant = authorise(policy(*rules), DEV, APP01, NOW)
    assert isinstance(grant, Grant)
    assert (grant.rule_id, grant.expires_at) == (4, None)


@pytest.mark.parametrize(
    ("limits", "least"),
    [((None, None), None), ((900.0, None), 900.0), ((3600.0, 900.0), 900.0), ((900.0, 0.0), 0.0)],
)
def test_of_several_rules_the_shortest_wait_for_a_client_counts(
    limits: tuple[float | None, ...], least: float | None
) -> None:
    rules = (
        GrantRule(n, subject, "app*", resume_s=limit)
        for n, (subject, limit) in enumerate(zip(("user:dev", "group:crew"), limits, strict=True))
    )
    grant = authorise(policy(*rules), DEV, APP01, NOW)
    assert isinstance(grant, Grant)
    assert grant.resume_s == least


def test_a_removed_user_is_denied_whatever_his_identity_says() -> None:
    held = Policy(grants=(GrantRule(1, "user:dev", "*"), GrantRule(2, "group:stale-group", "*")))
    assert "no user 'dev' any more" in denied(held)


def token_policy(expires_at: float | None = None) -> Policy:
    return Policy(
        users={"dev": User("dev")},
        tokens={"t1": TokenRecord("t1", "dev", bytes(32), None, expires_at)},
        keys={"SHA256:k": KeyRecord("dev", "SHA256:k", "ssh-ed25519 AAAA")},
        grants=(GrantRule(1, "user:dev", "*", "*", NOW + 100),),
    )


def test_a_removed_or_expired_token_or_key_ends_what_it_proved() -> None:
    token = Identity("dev", frozenset(), Method.TOKEN, "t1")
    grant = authorise(token_policy(NOW + 50), token, APP01, NOW)
    assert isinstance(grant, Grant)
    assert grant.expires_at == NOW + 50
    assert "has expired" in denied(token_policy(NOW), identity=token)
    gone = Identity("dev", frozenset(), Method.TOKEN, "t2")
    assert "token t2 of 'dev' was removed" in denied(token_policy(), identity=gone)
    key = Identity("dev", frozenset(), Method.PUBLIC_KEY, "SHA256:k")
    assert isinstance(authorise(token_policy(), key, APP01, NOW), Grant)
    gone = Identity("dev", frozenset(), Method.PUBLIC_KEY, "SHA256:other")
    assert "key SHA256:other of 'dev' was removed" in denied(token_policy(), identity=gone)


def test_a_token_cannot_enter_beyond_its_scopes_nor_beyond_its_users_grants() -> None:
    held = token_policy()
    limited = Identity("dev", frozenset(), Method.TOKEN, "t1", ("connect:app01",))
    assert isinstance(authorise(held, limited, APP01, NOW), Grant)
    assert "its scopes are connect:app01" in denied(held, Target("app02"), limited)
    bare = Policy(users=held.users, tokens=held.tokens)
    assert "no grant for 'dev'" in denied(bare, APP01, limited)


@pytest.mark.parametrize(
    ("scopes", "target", "allowed"),
    [
        (None, APP01, True),
        ((), APP01, False),
        (("connect",), APP01, True),
        (("connect:app01",), APP01, True),
        (("connect:app01",), Target("app01", "staging"), True),
        (("connect:app02", "connect:app01"), APP01, True),
        (("connect:app*.staging",), Target("app01", "staging"), True),
        (("connect:app*.staging",), Target("app01", "production"), False),
        (("connect:app*.staging",), APP01, False),
        (("connect:",), APP01, False),
        (("connect:app01.",), APP01, False),
        (("api",), APP01, False),
        (("connectx",), APP01, False),
        (("*",), APP01, False),
        (("",), APP01, False),
    ],
)
def test_scopes(scopes: tuple[str, ...] | None, target: Target, allowed: bool) -> None:
    assert is_in_scope(scopes, target) is allowed


@given(st.text(), st.from_regex(re.compile(r"[a-z][a-z0-9-]{0,20}", re.ASCII), fullmatch=True))
def test_any_pattern_is_a_yes_or_a_no_and_never_an_error(pattern: str, app: str) -> None:
    entered = enters(Target(app), GrantRule(1, "user:dev", pattern))
    if not set(pattern) & set("*?["):
        assert entered is (pattern == app)


PATTERNS = st.text("ab*?[]!", min_size=1, max_size=6)


@given(st.lists(PATTERNS, max_size=5), st.lists(st.text("ab", min_size=1, max_size=4), max_size=9))
def test_the_targets_that_are_selected_include_each_that_has_a_grant(
    patterns: list[str], names: list[str]
) -> None:
    held = policy(*(GrantRule(n, "user:dev", pattern) for n, pattern in enumerate(patterns)))
    targets = [Target(name) for name in names]
    granted = [t for t in targets if isinstance(authorise(held, DEV, t, NOW), Grant)]
    assert list(select_targets(held, DEV, targets)) == granted
    assert not list(select_targets(held, Identity("other", frozenset(), Method.PASSWORD), targets))


def test_a_hostile_pattern_does_not_stall() -> None:
    assert not enters(Target("a" * 63), GrantRule(1, "user:dev", "*a" * 60 + "b"))


def test_the_stage_follows_the_policy_and_the_clock() -> None:
    held, now = [policy()], [NOW]
    stage = Authoriser(lambda: held[0], lambda: now[0])
    assert isinstance(stage.authorise(DEV, APP01), Denial)
    held[0] = policy(GrantRule(1, "user:dev", "app01", "*", NOW + 5))
    assert isinstance(stage.authorise(DEV, APP01), Grant)
    now[0] += 5
    assert isinstance(stage.authorise(DEV, APP01), Denial)
