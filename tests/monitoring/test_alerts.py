"""Each alert fires for what it is made for, is quiet otherwise, and has its place in the runbook."""

import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from stagedoor.controller.metrics import METRICS as CONTROLLER
from stagedoor.model.metric import Metric
from stagedoor.serve.metrics.definitions import METRICS as GATEWAY
from stagedoor.wire.http.openmetrics import format_metrics
from tests.docs.pages import ROOT

RULES = ROOT / "deploy/chart/monitoring/rules.yaml"
RUNBOOK = ROOT / "docs/how-to/monitoring.md"
ALERTS: list[dict[str, Any]] = [
    rule for group in yaml.safe_load(RULES.read_text())["groups"] for rule in group["rules"]
]
CALM = {
    "stagedoor_gateway_ready": "1x60",
    "stagedoor_gateway_draining": "0x60",
    "stagedoor_gateway_workers": "2x60",
    "stagedoor_gateway_workers_wanted": "2x60",
    "stagedoor_gateway_worker_deaths_total": "0x60",
    "stagedoor_audit_failing": "0x60",
    'stagedoor_audit_sink_failing{sink="siem"}': "0x60",
    'stagedoor_audit_open_seconds_bucket{le="0.01"}': "0+10x60",
    'stagedoor_audit_open_seconds_bucket{le="5.0"}': "0+10x60",
    'stagedoor_audit_open_seconds_bucket{le="+Inf"}': "0+10x60",
    "stagedoor_policy_age_seconds": "1x60",
    "stagedoor_policy_version": "7x60",
    'stagedoor_store_failures_total{operation="read"}': "0x60",
    'stagedoor_certificate_remaining_seconds{certificate="tls"}': "5000000x60",
    'stagedoor_denials_total{method="web",reason="internal"}': "0x60",
    'stagedoor_denials_total{method="web",reason="no_grant"}': "0+100x60",
    'stagedoor_denials_total{method="web",reason="credential_wrong"}': "0+5x60",
    'stagedoor_shell_starts_total{result="ready"}': "0+5x60",
    'stagedoor_shell_starts_total{result="denied"}': "0+1x60",
    'stagedoor_session_ends_total{method="web",end="closed"}': "0+9x60",
    'stagedoor_session_ends_total{method="web",end="unreached"}': "0+1x60",
    'stagedoor_session_ends_total{method="web",end="fault"}': "0x60",
    'stagedoor_recordings_ended_total{result="failed"}': "0x60",
    'stagedoor_event_loop_lag_seconds_bucket{le="0.01"}': "0+60x60",
    'stagedoor_event_loop_lag_seconds_bucket{le="2.5"}': "0+60x60",
    'stagedoor_event_loop_lag_seconds_bucket{le="+Inf"}': "0+60x60",
    "stagedoor_controller_leading": "1x60",
    'stagedoor_controller_namespaces{synced="true"}': "3x60",
    'stagedoor_controller_namespaces{synced="false"}': "0x60",
    'stagedoor_controller_failures_total{reason="Conflict"}': "0+0x60",
}
TROUBLE: dict[str, dict[str, str]] = {
    "StagedoorNobodyGetsIn": {"stagedoor_gateway_ready": "0x60"},
    "StagedoorWorkersMissing": {"stagedoor_gateway_workers": "1x60"},
    "StagedoorWorkersDie": {"stagedoor_gateway_worker_deaths_total": "0+1x60"},
    "StagedoorAuditFails": {"stagedoor_audit_failing": "1x60"},
    "StagedoorAuditSlow": {'stagedoor_audit_open_seconds_bucket{le="0.01"}': "0x60"},
    "StagedoorAuditSinkFails": {'stagedoor_audit_sink_failing{sink="siem"}': "1x60"},
    "StagedoorPolicyStale": {"stagedoor_policy_age_seconds": "0+60x60"},
    "StagedoorPoliciesDiffer": {'stagedoor_policy_version{pod="b"}': "6x60"},
    "StagedoorStoreFails": {'stagedoor_store_failures_total{operation="read"}': "0+2x60"},
    "StagedoorCertificateExpires": {
        'stagedoor_certificate_remaining_seconds{certificate="tls"}': "100000x60"
    },
    "StagedoorCertificateExpired": {
        'stagedoor_certificate_remaining_seconds{certificate="tls"}': "-1x60"
    },
    "StagedoorDeniesByFault": {
        'stagedoor_denials_total{method="web",reason="internal"}': "0x32 1x27"
    },
    "StagedoorCredentialsTried": {
        'stagedoor_denials_total{method="web",reason="credential_wrong"}': "0+90x60"
    },
    "StagedoorShellsFail": {'stagedoor_shell_starts_total{result="denied"}': "0+9x60"},
    "StagedoorShellsUnreached": {
        'stagedoor_session_ends_total{method="web",end="unreached"}': "0+9x60"
    },
    "StagedoorSessionsFault": {
        'stagedoor_session_ends_total{method="web",end="fault"}': "0x32 1x27"
    },
    "StagedoorRecordingsFail": {'stagedoor_recordings_ended_total{result="failed"}': "0x32 1x27"},
    "StagedoorEventLoopSlow": {'stagedoor_event_loop_lag_seconds_bucket{le="0.01"}': "0x60"},
    "StagedoorNoControllerLeads": {"stagedoor_controller_leading": "0x60"},
    "StagedoorNamespaceUnserved": {'stagedoor_controller_namespaces{synced="false"}': "1x60"},
    "StagedoorControllerFails": {
        'stagedoor_controller_failures_total{reason="Conflict"}': "0+2x60"
    },
}
ALSO = {"StagedoorCertificateExpired": {"StagedoorCertificateExpires"}}
"""What fires besides: a certificate that has expired does so within 14 days too."""


def by_sample() -> dict[str, Metric]:
    return {sample: metric for metric in (*GATEWAY, *CONTROLLER) for sample in metric.samples}


def unknown(expression: str) -> list[str]:
    """Return the metrics, labels and values that an expression names and no page has."""
    known, wrong = by_sample(), []
    for name, matchers in re.findall(r"(stagedoor_\w+)(?:\{([^}]*)\})?", expression):
        metric = known.get(name)
        if metric is None:
            wrong.append(name)
            continue
        for label, values in re.findall(r'(\w+)=~?"([^"]*)"', matchers):
            allowed = metric.labels.get(label)
            if allowed is None and label != "le":
                wrong.append(f"{name}{{{label}}}")
            wrong += [f"{name}: {v}" for v in values.split("|") if allowed and v not in allowed]
    return wrong


@pytest.mark.parametrize("alert", ALERTS, ids=lambda alert: str(alert["alert"]))
def test_each_names_what_there_is_and_has_its_place_in_the_runbook(alert: dict[str, Any]) -> None:
    assert unknown(alert["expr"]) == []
    assert f"\n### {alert['alert']}\n" in RUNBOOK.read_text()
    assert alert["labels"]["severity"] in ("warning", "critical")


def test_the_runbook_has_no_alert_that_is_gone() -> None:
    headings = re.findall(r"^### (Stagedoor\w+)$", RUNBOOK.read_text(), re.M)
    assert headings == [alert["alert"] for alert in ALERTS]


def test_a_name_that_nobody_measures_is_found() -> None:
    assert unknown('rate(stagedoor_logins_totals[5m]) + stagedoor_sessions{app="x",method="ftp"}') == [
        "stagedoor_logins_totals",
        "stagedoor_sessions{app}",
        "stagedoor_sessions: ftp",
    ]  # fmt: skip


def need_promtool() -> str:
    promtool = shutil.which("promtool")
    if promtool is None:
        pytest.skip("promtool is missing: apt-get install prometheus")
    return promtool


def test_promtool_has_nothing_against_the_names() -> None:
    """It reads the older text format, in which a counter's help stands under its whole name."""
    page = format_metrics((*GATEWAY, *CONTROLLER), {})
    done = subprocess.run(
        [need_promtool(), "check", "metrics"], input=page, capture_output=True, text=True
    )
    complaints = done.stderr.splitlines()
    assert [line for line in complaints if not line.endswith("_total no help text")] == []


def test_each_fires_for_its_trouble_alone(tmp_path: Path) -> None:
    """By Prometheus' own evaluation. The numbers are one a minute; looked at after 35 minutes."""
    promtool = need_promtool()
    assert TROUBLE.keys() == {alert["alert"] for alert in ALERTS}
    tests = [story(name, CALM | trouble) for name, trouble in TROUBLE.items()]
    tests.append(story("", CALM))
    file = tmp_path / "rules_test.yaml"
    file.write_text(yaml.safe_dump({"rule_files": [str(RULES)], "tests": tests}))
    done = subprocess.run([promtool, "test", "rules", file], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def story(fires: str, series: dict[str, str]) -> dict[str, Any]:
    """How many alerts of each name fire by these numbers."""
    expected = {fires, *ALSO.get(fires, ())}
    return {
        "interval": "1m",
        "input_series": [
            {
                "series": name,
                "values": values.replace("x", "+0x", 1) if "+" not in values else values,
            }
            for name, values in series.items()
        ],
        "promql_expr_test": [
            {
                "expr": f'count(ALERTS{{alertname="{alert["alert"]}",alertstate="firing"}}) > 0',
                "eval_time": "35m",
                "exp_samples": [{"labels": "{}", "value": 1}] if alert["alert"] in expected else [],
            }
            for alert in ALERTS
        ],
    }
