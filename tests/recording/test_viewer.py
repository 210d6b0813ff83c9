"""Who may play recordings by the older list in the settings: nobody, unless an entry names them."""

from collections.abc import Iterable

import pytest

from stagedoor.authz.replay import has_somewhere, may_replay
from stagedoor.model.identity import Identity, Method
from stagedoor.model.permission import Permission
from stagedoor.model.permission_settings import PermissionSettings
from stagedoor.model.policy import Policy, User
from stagedoor.model.selector import parse_viewer
from stagedoor.model.target import Target

APP01 = Target("app01")
STAGING = Target("app01", "staging")


def valid_viewer(rule: str) -> bool:
    return parse_viewer(rule) is not None


def listed(rules: Iterable[str]) -> PermissionSettings:
    found = [one for one in map(parse_viewer, rules) if one is not None]
    return PermissionSettings(tuple((one, Permission.REPLAY) for one in found))


def of(who: Identity) -> Policy:
    return Policy(users={who.name: User(who.name, who.groups)})


def may_view(rules: Iterable[str], who: Identity, target: Target | None) -> bool:
    return may_replay(of(who), who, target, 0.0, listed(rules))


def views_some(rules: Iterable[str], who: Identity) -> bool:
    return has_somewhere(of(who), who, Permission.REPLAY, 0.0, listed(rules))


def identity(name: str = "alice", *groups: str, **more: object) -> Identity:
    return Identity(name, frozenset(groups), more.pop("method", Method.PASSWORD), **more)  # type: ignore[arg-type]  # a test's words


@pytest.mark.parametrize(
    ("rule", "who", "target"),
    [
        ("user:alice", identity(), APP01),
        ("user:alice", identity(), None),
        ("group:audit", identity("bob", "audit"), STAGING),
        ("user:alice app01", identity(), APP01),
        ("user:alice app01", identity(), STAGING),
        ("user:alice app*.staging", identity(), STAGING),
    ],
)
def test_who_is_named_may(rule: str, who: Identity, target: Target | None) -> None:
    assert valid_viewer(rule)
    assert may_view([rule], who, target)
    assert views_some([rule], who)


@pytest.mark.parametrize(
    ("rules", "who", "target"),
    [
        ((), identity(), APP01),
        (("user:bob",), identity(), APP01),
        (("user:alic",), identity(), APP01),
        (("group:alice",), identity(), APP01),
        (("user:audit",), identity("bob", "audit"), APP01),
        (("user:alice app02",), identity(), APP01),
        (("user:alice app*.staging",), identity(), APP01),
        # Whose recording it is, nobody knows any more: a rule for some apps does not cover it.
        (("user:alice app*",), identity(), None),
        # A token, or a link for one app, opens no recording, of anybody.
        (("user:alice",), identity(method=Method.TOKEN, credential_id="t1"), APP01),
        (("user:alice",), identity(scopes=("connect:app01",)), APP01),
        (("user:*", "user:alice app01 app02"), identity(), APP01),
    ],
)
def test_all_others_may_not(rules: tuple[str, ...], who: Identity, target: Target | None) -> None:
    assert not may_view(rules, who, target)


@pytest.mark.parametrize(
    "rule",
    ["", "*", "alice", "user:", "user:*", "user:a b c", "group:a\n", "user:a  app", "grant:7"],
)
def test_what_is_no_rule_is_refused(rule: str) -> None:
    assert not valid_viewer(rule)
