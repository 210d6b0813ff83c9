"""The answers to probes, from the first worker to the last session."""

from prometheus_client.openmetrics.parser import text_string_to_metric_families

from stagedoor.serve.health import Condition, render_metrics, report_readiness
from stagedoor.serve.metrics import definitions as metrics

CALM = Condition(draining=False, workers=2, wanted=2, deaths=0, left=0)


def test_ready_is_whoever_lets_people_in() -> None:
    assert report_readiness(CALM).status == 200
    one_is_dead = Condition(draining=False, workers=1, wanted=2, deaths=1, left=0)
    assert report_readiness(one_is_dead).status == 200
    none_yet = Condition(draining=False, workers=0, wanted=2, deaths=0, left=0)
    assert report_readiness(none_yet).status == 503
    draining = report_readiness(Condition(draining=True, workers=0, wanted=2, deaths=0, left=3))
    assert (draining.status, draining.text) == (503, "draining, 3 sessions left\n")


def test_metrics_are_in_openmetrics() -> None:
    text = render_metrics(CALM, {metrics.LOGINS.make_series("web", "opened"): 3})
    lines = text.splitlines()
    assert "stagedoor_gateway_ready 1" in lines
    assert 'stagedoor_logins_total{method="web",result="opened"} 3' in lines
    assert "# TYPE stagedoor_gateway_worker_deaths counter" in lines
    read = list(text_string_to_metric_families(text))
    assert [family.name for family in read] == [metric.name for metric in metrics.METRICS]
