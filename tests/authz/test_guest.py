"""The rights of guests by a share and by a rule of watching, and their end."""

from dataclasses import replace
from types import MappingProxyType

import pytest

from stagedoor.authz.authoriser import Authoriser
from stagedoor.authz.decide import authorise
from stagedoor.authz.guest import SHARE_OVER, authorise_share, authorise_watching, judge_again
from stagedoor.model.denial import Denial
from stagedoor.model.grant import Grant, GrantRule, Guest
from stagedoor.model.identity import Identity, Method, SignIn
from stagedoor.model.permission import Permission
from stagedoor.model.policy import Policy, TokenRecord, User
from stagedoor.model.share import Share
from stagedoor.model.target import Target
from stagedoor.model.webpass import hash_password_mark

WATCH = frozenset({Permission.WATCH})
NOW = 1_700_000_000.0
APP01 = Target("app01")
SHARE = Share(
    "s1", b"h" * 32, "host", Method.PASSWORD, APP01, "main", False, NOW + 3600,
    password_mark=hash_password_mark("hash"),
)  # fmt: skip
GUEST = Identity("guest", frozenset(), Method.PASSWORD, password_hash="g")


def policy(**changed: object) -> Policy:
    whole = Policy(
        1,
        MappingProxyType(
            {"host": User("host", password_hash="hash"), "guest": User("guest", password_hash="g")}
        ),
        grants=(GrantRule(1, "user:host", "app01"),),
        shares=MappingProxyType({"s1": SHARE}),
    )
    return replace(whole, **changed)  # type: ignore[arg-type]


OWN = (GrantRule(1, "user:host", "app01"), GrantRule(2, "user:guest", "app01"))
TYPING = MappingProxyType({"s1": replace(SHARE, typing=True)})


def guest_of(rights: Grant | Denial) -> Guest:
    assert isinstance(rights, Grant), rights
    assert rights.guest is not None
    return rights.guest


def test_a_share_lets_somebody_look_who_may_not_enter() -> None:
    rights = authorise_share(policy(), GUEST, "s1", NOW)
    assert rights == Grant(GUEST, APP01, 1, NOW + 3600, Guest("main", "host", "s1"))
    assert rights.shell_user == "host"
    assert isinstance(authorise(policy(), GUEST, APP01, NOW), Denial), "it is no right to enter"


@pytest.mark.parametrize(
    ("now", "changed"),
    [
        (NOW + 3600, {}),
        (NOW, {"shares": MappingProxyType({})}),
        (NOW, {"grants": ()}),
        (NOW, {"grants": (GrantRule(1, "user:host", "app02"),)}),
        (NOW, {"grants": (GrantRule(1, "user:host", "app01", expires_at=NOW),)}),
        (NOW, {"users": MappingProxyType({"guest": User("guest", password_hash="g")})}),
        (NOW, {"users": MappingProxyType({"host": User("host", password_hash="hash")})}),
        (
            NOW,
            {
                "users": MappingProxyType(
                    {"host": User("host", password_hash="new"), "guest": User("guest", password_hash="g")}
                )
            },
        ),
        (
            NOW,
            {
                "users": MappingProxyType(
                    {"host": User("host", password_hash="hash"), "guest": User("guest", password_hash="new")}
                )
            },
        ),
    ],
    ids=["expired", "ended", "host without a grant", "grant for another app", "grant expired",
         "host removed", "guest removed", "host's password changed", "guest's password changed"],
)  # fmt: skip
def test_what_ends_a_share_ends_it_for_who_is_in(now: float, changed: dict[str, object]) -> None:
    given = authorise_share(policy(), GUEST, "s1", NOW)
    assert isinstance(given, Grant)
    assert isinstance(judge_again(policy(), given, NOW + 1), Grant)
    assert isinstance(authorise_share(policy(**changed), GUEST, "s1", now), Denial)
    assert isinstance(judge_again(policy(**changed), given, now), Denial)


def test_a_share_made_by_a_token_ends_with_it_and_with_its_scopes() -> None:
    token = TokenRecord("t1", "host", b"t" * 32, ("connect:app01",), NOW + 60)
    shared = replace(
        SHARE,
        method=Method.TOKEN,
        credential_id="t1",
        scopes=("connect:app01",),
        password_mark=None,
    )
    there = policy(shares=MappingProxyType({"s1": shared}), tokens=MappingProxyType({"t1": token}))
    rights = authorise_share(there, GUEST, "s1", NOW)
    assert isinstance(rights, Grant)
    assert rights.expires_at == NOW + 60
    assert isinstance(authorise_share(there, GUEST, "s1", NOW + 60), Denial)
    gone = replace(there, tokens=MappingProxyType({}))
    assert isinstance(judge_again(gone, rights, NOW), Denial)
    elsewhere = replace(shared, scopes=("connect:app02",))
    there = replace(there, shares=MappingProxyType({"s1": elsewhere}))
    assert isinstance(authorise_share(there, GUEST, "s1", NOW), Denial)


def test_an_unknown_share_is_refused_as_one_that_has_ended() -> None:
    assert authorise_share(policy(), GUEST, "nothing", NOW) == SHARE_OVER
    assert authorise_share(policy(), GUEST, "s1", NOW + 3600) == SHARE_OVER


def test_a_credential_for_another_app_watches_nothing_here() -> None:
    narrow = replace(GUEST, scopes=("connect:app02",))
    assert isinstance(authorise_share(policy(), narrow, "s1", NOW), Denial)


def test_typing_takes_the_share_and_a_grant_of_ones_own() -> None:
    assert not guest_of(authorise_share(policy(grants=OWN), GUEST, "s1", NOW)).may_type
    assert not guest_of(authorise_share(policy(shares=TYPING), GUEST, "s1", NOW)).may_type
    rights = authorise_share(policy(grants=OWN, shares=TYPING), GUEST, "s1", NOW)
    assert guest_of(rights) == Guest("main", "host", "s1", may_type=True)
    assert isinstance(rights, Grant)
    assert rights.shell_user == "guest"


def test_who_types_leaves_once_he_may_not_and_who_looks_stays() -> None:
    typist = authorise_share(policy(grants=OWN, shares=TYPING), GUEST, "s1", NOW)
    assert isinstance(typist, Grant)
    assert isinstance(judge_again(policy(shares=TYPING), typist, NOW), Denial)
    assert isinstance(judge_again(policy(grants=OWN), typist, NOW), Denial)
    looker = authorise_share(policy(shares=TYPING), GUEST, "s1", NOW)
    assert isinstance(looker, Grant)
    assert not guest_of(judge_again(policy(grants=OWN, shares=TYPING), looker, NOW)).may_type


def test_a_rule_of_watching_lets_look_and_never_enter() -> None:
    there = policy(
        grants=(GrantRule(4, "user:guest", "app*", expires_at=NOW + 9, permissions=WATCH),)
    )
    rights = authorise_watching(there, GUEST, APP01, "main", "host", NOW)
    assert rights == Grant(GUEST, APP01, 4, NOW + 9, Guest("main", "host", None))
    assert isinstance(authorise(there, GUEST, APP01, NOW), Denial)
    assert isinstance(rights, Grant)
    assert isinstance(judge_again(there, rights, NOW), Grant)
    assert isinstance(judge_again(there, rights, NOW + 9), Denial)
    assert isinstance(judge_again(policy(), rights, NOW), Denial)
    assert isinstance(
        authorise_watching(there, GUEST, Target("other"), "main", "host", NOW), Denial
    )
    narrow = replace(GUEST, scopes=("connect:app02",))
    assert isinstance(authorise_watching(there, narrow, APP01, "main", "host", NOW), Denial)


def test_a_grant_to_enter_is_none_to_watch() -> None:
    assert isinstance(
        authorise_watching(policy(grants=OWN), GUEST, APP01, "main", "host", NOW), Denial
    )


def test_the_stage_answers_by_the_policy_of_now() -> None:
    current = policy()
    stage = Authoriser(lambda: current, lambda: NOW)
    given = stage.authorise_share(GUEST, "s1")
    assert isinstance(given, Grant)
    assert stage.judge_again(given) == given
    assert isinstance(stage.authorise_watching(GUEST, APP01, "main", "host"), Denial)
    current = policy(grants=())
    assert isinstance(stage.judge_again(given), Denial)


def test_a_guest_leaves_with_his_own_sign_in_and_not_with_that_of_his_host() -> None:
    watching = (
        GrantRule(1, "user:host", "app01"),
        GrantRule(2, "user:guest", "app01", permissions=WATCH),
    )
    signed_in = replace(GUEST, sign_in=SignIn(b"it", NOW + 60))
    held = policy(grants=watching)
    ended = policy(grants=watching, signed_out={b"it": None})
    other = policy(grants=watching, signed_out={b"that of the host": None})
    for let_in in (
        authorise_share(held, signed_in, "s1", NOW),
        authorise_watching(held, signed_in, APP01, "main", "host", NOW),
    ):
        assert isinstance(let_in, Grant)
        assert let_in.expires_at == NOW + 60
        assert judge_again(other, let_in, NOW) == let_in
        for gone in (judge_again(ended, let_in, NOW), judge_again(held, let_in, NOW + 60)):
            assert isinstance(gone, Denial)
            assert "sign" in gone.message
