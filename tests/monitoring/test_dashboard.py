"""The dashboard is what the metrics say, and asks for nothing that is not measured."""

import json
import subprocess
import sys
from pathlib import Path

import yaml

from stagedoor.controller.metrics import METRICS as CONTROLLER
from stagedoor.serve.metrics.definitions import METRICS as GATEWAY
from tests.docs.pages import ROOT
from tests.monitoring.test_alerts import need_promtool, unknown

BOARD = json.loads((ROOT / "deploy/chart/monitoring/dashboard.json").read_text())

QUERIES = [target["expr"] for panel in BOARD["panels"] for target in panel.get("targets", ())]


def test_it_is_what_the_metrics_say() -> None:
    done = subprocess.run(
        [sys.executable, ROOT / "deploy/monitoring/make", "--check"], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr


def test_every_metric_has_a_panel_whose_queries_name_what_there_is() -> None:
    assert all("stagedoor_" in query for query in QUERIES)
    for query in QUERIES:
        assert unknown(query.replace('instance=~"$instance"', "")) == []
    for metric in (*GATEWAY, *CONTROLLER):
        assert any(metric.samples[0] in query for query in QUERIES), metric.name


def test_prometheus_reads_every_query(tmp_path: Path) -> None:
    """With values in the place of Grafana's variables."""
    read = [
        expression.replace("$__rate_interval", "5m").replace("$instance", "gw.*")
        for expression in QUERIES
    ]
    assert not [expression for expression in read if "$" in expression]
    rules = [
        {"record": f"panel:query_{n}", "expr": expression} for n, expression in enumerate(read)
    ]
    file = tmp_path / "rules.yaml"
    file.write_text(yaml.safe_dump({"groups": [{"name": "panels", "rules": rules}]}))
    command = [need_promtool(), "check", "rules", file]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_process_can_be_chosen() -> None:
    [query] = [
        expression["query"]
        for expression in BOARD["templating"]["list"]
        if expression["name"] == "instance"
    ]
    chosen = [metric for metric in (*GATEWAY, *CONTROLLER) if metric.name in query]
    assert [metric in GATEWAY for metric in chosen] == [True, False]


def test_no_two_panels_lie_on_each_other() -> None:
    taken = set()
    for panel in BOARD["panels"]:
        at = panel["gridPos"]
        cells = {
            (x, y)
            for x in range(at["x"], at["x"] + at["w"])
            for y in range(at["y"], at["y"] + at["h"])
        }
        assert not taken & cells, panel["title"]
        taken |= cells
        assert at["x"] + at["w"] <= 24
