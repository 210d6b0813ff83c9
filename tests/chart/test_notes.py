"""The text after `helm install`, with namespaces of a cluster whose API the test answers."""

import json
import shutil
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.chart.chart import CHART, KUBE_VERSION, VALUES, helm, merged

ENFORCE = "pod-security.kubernetes.io/enforce"
NAMESPACES: dict[str, dict[str, str]] = {
    "default": {},
    "plain": {"team": "shop"},
    "bare": {},
    "guarded": {ENFORCE: "baseline"},
}
"""The labels of each namespace."""


class Api(BaseHTTPRequestHandler):
    """The part of the Kubernetes API that helm's `lookup` of a namespace reads."""

    def do_GET(self) -> None:
        name = self.path.partition("?")[0].rpartition("/")[2]
        answer: dict[str, Any] = {"kind": "Status", "code": 404, "reason": "NotFound"}
        if name == "v1":
            resource = {
                "name": "namespaces",
                "kind": "Namespace",
                "namespaced": False,
                "verbs": ["get"],
            }
            answer = {"kind": "APIResourceList", "groupVersion": "v1", "resources": [resource]}
        elif name in NAMESPACES:
            metadata = {"name": name, "labels": NAMESPACES[name]}
            answer = {"apiVersion": "v1", "kind": "Namespace", "metadata": metadata}
        body = json.dumps(answer).encode()
        self.send_response(answer.get("code", 200))
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Log nothing."""


@pytest.fixture
def api() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Api) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def notes(folder: Path, api: str, *namespaces: str) -> str:
    """Render NOTES.txt, which `helm template` leaves out, as the value of an object."""
    chart = folder / "chart"
    shutil.copytree(CHART, chart)
    templates = chart / "templates"
    text = (templates / "NOTES.txt").read_text()
    (templates / "_notes.tpl").write_text('{{ define "notes" }}' + text + "{{ end }}")
    (templates / "notes.yaml").write_text('notes: {{ include "notes" . | quote }}')
    values = {"apps": {"namespaces": [{"name": name, "environment": name} for name in namespaces]}}
    done = helm(
        *("template", "stagedoor", str(chart), "--namespace", "stagedoor", "--dry-run=server"),
        *("--kube-version", KUBE_VERSION, "--kube-apiserver", api),
        *("--show-only", "templates/notes.yaml"),
        values=merged(VALUES, values),
    )
    assert done.returncode == 0, done.stderr
    return str(yaml.safe_load(done.stdout)["notes"])


def test_namespaces_without_pod_security_are_named(tmp_path: Path, api: str) -> None:
    said = notes(tmp_path, api, "plain", "guarded", "bare")
    assert f"kubectl label namespace plain bare {ENFORCE}=baseline" in said


def test_namespaces_with_pod_security_need_no_warning(tmp_path: Path, api: str) -> None:
    said = notes(tmp_path, api, "guarded")
    assert "stagedoor user add alice" in said
    assert "Attention" not in said
