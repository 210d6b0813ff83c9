"""The lease of the controllers: read as whatever may stand there."""

import pytest

from stagedoor.shells.kubernetes.live.leader import (
    MAX_NAMED,
    MAX_REASON,
    LeaderReport,
    format_report,
    read_report,
)
from stagedoor.shells.kubernetes.names import NAMESPACES
from stagedoor.wire.rfc3339 import show_time

NOW = 1_800_000_000.0


def lease(said: object, *, age_s: float = 2.0, holder: str = "c-1") -> dict[str, object]:
    spec = {"holderIdentity": holder, "renewTime": show_time(NOW - age_s, micro=True)}
    return {"metadata": {"annotations": {NAMESPACES: said}}, "spec": spec}


def test_what_the_leader_writes_is_read() -> None:
    said = format_report(3, {"apps-n": "forbidden"}, {"team": 1, "old": 2})
    report = read_report(lease(said), NOW)
    assert report == LeaderReport("c-1", 3, 1, {"apps-n": "forbidden"}, {"team": 1, "old": 2})
    assert report.explain_ending() == {
        "old": "the namespace old is no longer served, and 2 shells end after their last sessions",
        "team": "the namespace team is no longer served, and 1 shell ends after its last session",
    }


def test_a_thousand_lost_namespaces_are_counted_and_few_are_named() -> None:
    said = format_report(
        0, {f"apps-{number}": "\x1b[2J" + "x" * 5000 for number in range(1000)}, {}
    )
    report = read_report(lease(said), NOW)
    assert len(said) < 2 * MAX_NAMED * MAX_REASON
    assert report.unserved == 1000
    assert len(report.reasons) == MAX_NAMED
    assert all(len(why) <= MAX_REASON and why.isprintable() for why in report.reasons.values())


@pytest.mark.parametrize(
    "said", [None, "", "[]", "{", '{"served": "x"}', '{"reasons": {"a": 1}}', 7]
)
def test_an_annotation_that_cannot_be_read_counts_as_none(said: object) -> None:
    assert read_report(lease(said), NOW) == LeaderReport("c-1")


@pytest.mark.parametrize(
    "seen", [None, {"metadata": {}}, lease("{}", age_s=90), lease("{}", holder="")]
)
def test_a_lease_that_no_one_renews_has_no_leader(seen: dict[str, object] | None) -> None:
    assert read_report(seen, NOW) == LeaderReport("")
