"""The metrics that Prometheus reads."""

import re

from stagedoor.controller.metrics import Metrics

LINE = re.compile(r'[a-z_]+(\{[a-z]+="[^"\n]*"(,[a-z]+="[^"\n]*")*\})? [0-9.e+-]+')


def test_every_line_is_of_openmetrics_and_each_metric_has_its_help_and_type() -> None:
    metrics = Metrics(reconcile_seconds=1.25, shells=3, served=2, leading=True)
    metrics.decisions.update(["Keep", "Keep", "Start"])
    metrics.failures['odd "reason"\n'] += 1
    metrics.requests = {("patch", "Deployment", 200): 7}
    text = metrics.to_text()
    samples = [line for line in text.splitlines() if not line.startswith("#")]
    assert 'stagedoor_controller_decisions_total{decision="Keep"} 2' in samples
    assert "stagedoor_controller_shells 3" in samples
    assert "stagedoor_controller_leading 1" in samples
    assert "stagedoor_controller_reconcile_seconds_total 1.25" in samples
    assert (
        'stagedoor_controller_requests_total{verb="patch",kind="Deployment",status="200"} 7'
        in samples
    )
    for line in samples:
        assert LINE.fullmatch(line.replace('\\"', "").replace("\\n", "")), line
        name = line.partition("{")[0].partition(" ")[0].removesuffix("_total")
        assert f"# HELP {name} " in text
        assert f"# TYPE {name} " in text


def test_a_large_count_is_not_rounded() -> None:
    metrics = Metrics(reconcile_seconds=123456789.5)
    assert "reconcile_seconds_total 123456789.5" in metrics.to_text()
