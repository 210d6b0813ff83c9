"""Patterns of roles: one that is said to have all of another has it, whatever the names."""

from hypothesis import given
from hypothesis import strategies as st

from stagedoor.model.selector import TargetPattern
from stagedoor.model.target import Target

PARTS = st.sampled_from(["a", "b", "-", "*", "?", "[ab]", "[!a]", "**", "a*"])
PATTERNS = st.lists(PARTS, min_size=1, max_size=4).map("".join)
NAMES = st.text("ab-", min_size=1, max_size=5)
ENVIRONMENTS = st.none() | NAMES


@given(PATTERNS, PATTERNS, PATTERNS, PATTERNS, NAMES, ENVIRONMENTS)
def test_what_a_pattern_has_it_covers(
    app: str, environment: str, other_app: str, other: str, name: str, where: str | None
) -> None:
    outer, inner = TargetPattern(app, environment), TargetPattern(other_app, other)
    target = Target(name, where)
    if outer.has_all_of(inner) and inner.covers(target):
        assert outer.covers(target)


def test_the_usual_patterns_are_known() -> None:
    everywhere, team = TargetPattern("*"), TargetPattern("a-*", "staging")
    assert everywhere.has_all_of(team)
    assert not team.has_all_of(everywhere)
    for app in ("a-web", "a-*", "a-w*", "a-?", "a-[xy]"):
        assert team.has_all_of(TargetPattern(app, "staging")), app
        assert not team.has_all_of(TargetPattern(app)), "it is for all environments"
    for app in ("a", "b-web", "?-web", "[a]-web", "*-web", "**"):
        assert not team.has_all_of(TargetPattern(app, "staging")), app
