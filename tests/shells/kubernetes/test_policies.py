"""Policies that bound an app and not its shell are named; one for the shell ends that."""

from typing import Any

import pytest

from stagedoor.shells.kubernetes.derive.policies import find_egress_problem
from stagedoor.shells.kubernetes.names import make_shell_labels


def policy(name: str, selector: dict[str, Any], **spec: Any) -> dict[str, Any]:
    return {"metadata": {"name": name}, "spec": {"podSelector": selector, **spec}}


THEIRS = {"matchLabels": {"app": "app01"}}
SHELL = {"matchLabels": {"stagedoor.dev/shell-of": "app01"}}
OURS = {"matchExpressions": [{"key": "team", "operator": "In", "values": ["shop"]}]}


@pytest.mark.parametrize(
    ("policies", "named"),
    [
        ([], None),
        ([policy("a", THEIRS, policyTypes=["Ingress"])], None),
        ([policy("a", THEIRS)], None),
        ([policy("a", {"matchLabels": {"app": "other"}}, policyTypes=["Egress"])], None),
        ([policy("a", THEIRS, policyTypes=["Egress"])], "NetworkPolicy a bounds"),
        ([policy("a", THEIRS, egress=[{}])], "NetworkPolicy a bounds"),
        (
            [policy(name, THEIRS, policyTypes=["Egress"]) for name in ("b", "a")],
            "NetworkPolicies a, b bound",
        ),
        # The namespace's default, and a twin for the shell.
        ([policy("a", THEIRS, egress=[{}]), policy("all", {}, policyTypes=["Egress"])], None),
        ([policy("a", THEIRS, egress=[{}]), policy("twin", SHELL, egress=[{}])], None),
        ([policy("a", THEIRS, egress=[{}]), policy("twin", OURS, egress=[{}])], None),
    ],
)
def test_a_policy_that_bounds_the_app_alone_is_named(
    policies: list[dict[str, Any]], named: str | None
) -> None:
    said = find_egress_problem(
        "app01", {"app": "app01"}, policies, {"team": "shop", **make_shell_labels("app01")}
    )
    assert (said is None) == (named is None), said
    if said is not None and named is not None:
        assert said.startswith(named)
        assert "stagedoor.dev/shell-of: app01" in said
