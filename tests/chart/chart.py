"""The chart, rendered by the real helm."""

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import yaml

from tests.cluster.place import cache
from tests.cluster.programs import program
from tests.missing import missing

ROOT = Path(__file__).resolve().parent.parent.parent
CHART = ROOT / "deploy" / "chart"
KUBE_VERSION = "1.34.4"

Manifest = dict[str, Any]

VALUES: Manifest = {
    "store": {"postgresql": {"url": "postgresql://stagedoor@db.example/stagedoor"}},
    "gateway": {"ssh": {"hostNames": ["gw.example"]}},
}
"""The least that the chart wants."""


def need_helm() -> None:
    """With CI=true a missing helm is a failure."""
    if not program("helm").exists():
        missing("helm is not built: script/cluster up builds it")


def helm(*arguments: str, values: Manifest | None = None) -> subprocess.CompletedProcess[str]:
    """Run helm; `values` go in as JSON, which YAML can read."""
    need_helm()
    command = [str(program("helm")), *arguments]
    text = None
    if values is not None:
        command += ["--values", "-"]
        text = json.dumps(values)
    # In ~/.kube others would take what it remembers for a cluster's.
    environment = {**os.environ, "KUBECACHEDIR": str(cache() / "kubectl")}
    return subprocess.run(
        command, input=text, capture_output=True, text=True, timeout=300, env=environment
    )


def render(
    values: Manifest | None = None, *, namespace: str = "stagedoor", **more: Any
) -> list[Manifest]:
    """All objects of the chart with VALUES, `values` over them and `more` over these."""
    done = helm(
        *("template", "stagedoor", str(CHART), "--namespace", namespace),
        *("--kube-version", KUBE_VERSION),
        values=merged(VALUES, merged(values or {}, more)),
    )
    assert done.returncode == 0, done.stderr
    return objects_in(done.stdout)


def objects_in(text: str) -> list[Manifest]:
    """Return the objects of a YAML stream, by libyaml: the chart is long, and Python's own reader slow."""
    return [found for found in yaml.load_all(text, yaml.CSafeLoader) if found]


def refused(values: Manifest) -> str:
    """Return the message of helm about values that it does not take."""
    done = helm(
        *("template", "stagedoor", str(CHART), "--namespace", "stagedoor"),
        *("--kube-version", KUBE_VERSION),
        values=values,
    )
    assert done.returncode != 0, "helm took them"
    return done.stderr


def merged(below: Manifest, above: Manifest) -> Manifest:
    """`above` over `below`, table by table, as helm merges values."""
    result = dict(below)
    for key, value in above.items():
        before = result.get(key)
        both = isinstance(value, dict) and isinstance(before, dict)
        result[key] = merged(before, value) if both else value
    return result


def of_kind(objects: list[Manifest], kind: str, name: str = "") -> list[Manifest]:
    return [
        manifest
        for manifest in objects
        if manifest["kind"] == kind and name in ("", manifest["metadata"]["name"])
    ]


def the(objects: list[Manifest], kind: str, name: str) -> Manifest:
    [found] = of_kind(objects, kind, name)
    return found
