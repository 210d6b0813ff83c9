"""Who may play recordings: nobody, unless a rule names him."""

import pytest

from stagedoor.model.identity import Identity, Method
from stagedoor.model.target import Target
from stagedoor.model.viewer import may_view, valid_viewer, views_some

APP01 = Target("app01")
STAGING = Target("app01", "staging")


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
        # A token, or a link for one app, opens no recording, whoever it is of.
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
