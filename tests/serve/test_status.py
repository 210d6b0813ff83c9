"""The problems that `stagedoor status` names, and how bad each is."""

from dataclasses import replace

import pytest
from msgspec import structs

from stagedoor.controller.metrics import METRICS as CONTROLLER
from stagedoor.serve.metrics.definitions import METRICS
from stagedoor.serve.status import UNNAMED, Status, StoreStatus, list_lines, list_problems
from stagedoor.shells.kubernetes.live.leader import LeaderReport
from stagedoor.signin.provider_states import ProviderState
from stagedoor.wire.finding import choose_exit_code

DAY_S = 86400.0
NOW = 1_800_000_000.0
MEASURED = {
    "stagedoor_gateway_ready": 1.0,
    "stagedoor_gateway_draining": 0.0,
    "stagedoor_gateway_workers": 2.0,
    "stagedoor_gateway_workers_wanted": 2.0,
    "stagedoor_audit_backlog_events": 3.0,
    "stagedoor_audit_failing": 0.0,
    "stagedoor_policy_age_seconds": 0.4,
}
STORE = StoreStatus(0.001, 7, {"web": 1}, 2, ())
REFUSED = ProviderState("My IdP", 2, 1, NOW - 60, "400, invalid_request", NOW - 1)
WELL = Status(NOW, ("g",), ("w",), "/store", STORE, "", MEASURED)
LOST = LeaderReport("c-1", 3, 1, {"apps-n": "forbidden"}, {"team": 2})


def measured(**changed: float) -> Status:
    return replace(WELL, measured=MEASURED | {f"stagedoor_{k}": v for k, v in changed.items()})


def test_all_is_well() -> None:
    assert list_problems(WELL) == []
    assert list_problems(replace(WELL, controller=LeaderReport("c-1", served=3))) == []
    assert list_problems(replace(WELL, measured={}, unmeasured=UNNAMED)) == []
    one_of_many = replace(REFUSED, answered_at=NOW)
    assert list_problems(replace(WELL, store=replace(STORE, providers=(one_of_many,)))) == []


@pytest.mark.parametrize(
    ("status", "code", "words"),
    [
        (replace(WELL, gateways=()), 2, "no gateway runs"),
        (replace(WELL, workers=()), 2, "no worker"),
        (replace(WELL, store=None, store_problem="the store /x is locked"), 2, "is locked"),
        (replace(WELL, store=replace(STORE, answer_s=0.9)), 1, "took 0.9 s"),
        (replace(WELL, measured={}, unmeasured=":1 does not answer"), 1, "does not answer"),
        (
            replace(WELL, store=replace(STORE, providers=(REFUSED,))),
            1,
            "My IdP does not confirm sign-ins: 400, invalid_request",
        ),
        (replace(WELL, certificates={"tls": NOW + DAY_S}), 1, "tls expires"),
        (replace(WELL, certificates={"ssh_host": NOW - 1}), 2, "ssh_host expired"),
        (measured(audit_failing=1), 2, "every login is denied"),
        (measured(audit_backlog_events=5000), 1, "5000 audit events"),
        (measured(policy_age_seconds=20), 2, "20 s ago"),
        (measured(gateway_draining=1, gateway_ready=0), 1, "draining"),
        (measured(gateway_ready=0), 2, "refuses all logins"),
        (measured(gateway_workers=1), 1, "1 of 2 workers"),
        (
            replace(WELL, controller="no answer"),
            1,
            "does not report which controller leads: no answer",
        ),
        (replace(WELL, controller=LeaderReport("")), 2, "no controller leads"),
        (replace(WELL, controller=LOST), 1, "does not serve the namespace apps-n: forbidden"),
        (
            replace(WELL, controller=structs.replace(LOST, served=0, reasons={})),
            2,
            "serves no namespace",
        ),
        (replace(WELL, controller=structs.replace(LOST, reasons={})), 1, "1 more namespaces"),
    ],
)
def test_each_problem_is_named_with_what_mends_it(status: Status, code: int, words: str) -> None:
    [found] = list_problems(status)
    assert choose_exit_code([found]) == code
    assert words in found.what
    assert found.fix


def test_where_a_label_selects_namespaces_it_is_what_mends_one() -> None:
    [by_label] = list_problems(
        replace(WELL, controller=LOST, shells={**WELL.shells, "selector": 1})
    )
    assert "mend its labels" in by_label.fix
    [in_a_list] = list_problems(replace(WELL, controller=LOST))
    assert "kubernetes.namespaces" in in_a_list.fix


def test_namespaces_that_wait_for_their_shells_are_lines_and_no_problem() -> None:
    ending = replace(WELL, controller=structs.replace(LOST, unserved=0, reasons={}))
    assert list_problems(ending) == []
    shells = dict.fromkeys(("static", "local", "local_running", "namespaces"), 0)
    lines = list_lines(replace(ending, shells=shells))
    assert [line for name, line in lines if name == "ending"] == [
        "the namespace team is no longer served, and 2 shells end after their last sessions"
    ]


def test_the_worst_comes_first() -> None:
    both = replace(WELL, gateways=(), certificates={"tls": NOW + DAY_S})
    assert [finding.level for finding in list_problems(both)] == ["fail", "warn"]


def test_it_reads_metrics_that_there_are() -> None:
    names = {sample for metric in (*METRICS, *CONTROLLER) for sample in metric.samples}
    assert set(MEASURED) <= names
