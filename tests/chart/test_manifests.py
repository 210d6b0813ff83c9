"""The plain manifests: the chart's, and what a real API server takes."""

import subprocess

import yaml

from tests.chart.asking import Asker, Manifest
from tests.chart.chart import ROOT, need_helm
from tests.cluster.programs import program
from tests.kube.api.lone import LoneApi


def kustomized() -> list[Manifest]:
    done = subprocess.run(
        [program("kubectl"), "kustomize", ROOT / "deploy"],
        capture_output=True,
        text=True,
        check=True,
    )
    return [found for found in yaml.safe_load_all(done.stdout) if found]


def test_they_are_what_the_chart_says() -> None:
    need_helm()
    done = subprocess.run(
        [ROOT / "deploy/manifests/make", "--check"],
        env={"HELM": str(program("helm")), "PATH": "/usr/local/bin:/usr/bin:/bin"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr


def test_an_api_server_takes_each_of_them(lone: LoneApi) -> None:
    admin = Asker(lone.url, str(lone.folder / "ca.crt"), lone.token())
    objects = kustomized()
    assert objects[0]["kind"] == "Namespace"
    apps = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "apps"}}
    for one in (objects[0], apps, *objects[1:]):
        made = admin.apply(one, manager="kubectl")
        assert made.ok, (one["kind"], one["metadata"]["name"], made.message)


def test_they_hold_no_key_and_no_password() -> None:
    assert not [one for one in kustomized() if one["kind"] == "Secret"]
