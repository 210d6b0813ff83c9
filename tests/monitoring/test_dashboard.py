"""The dashboard is what the metrics say, and asks for nothing that is not measured."""

import json
import subprocess
import sys

from stagedoor.controller.metrics import METRICS as CONTROLLER
from stagedoor.serve.metrics.definitions import METRICS as GATEWAY
from tests.docs.pages import ROOT
from tests.monitoring.test_alerts import unknown

BOARD = json.loads((ROOT / "deploy/chart/monitoring/dashboard.json").read_text())


def test_it_is_what_the_metrics_say() -> None:
    done = subprocess.run(
        [sys.executable, ROOT / "deploy/monitoring/make", "--check"], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr


def test_every_metric_has_a_panel_whose_queries_name_what_there_is() -> None:
    queries = [target["expr"] for panel in BOARD["panels"] for target in panel.get("targets", ())]
    assert all("stagedoor_" in query for query in queries)
    for query in queries:
        assert unknown(query.replace('instance=~"$instance"', "")) == []
    for metric in (*GATEWAY, *CONTROLLER):
        assert any(metric.samples[0] in query for query in queries), metric.name


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
