"""The plain manifests: the chart's, and what a real API server takes."""

import subprocess

import yaml
from msgspec.structs import replace

from stagedoor import __version__
from stagedoor.settings.file import parse_settings
from stagedoor.settings.settings import Settings
from tests.chart.chart import (
    CHART,
    ROOT,
    VALUES,
    helm,
    merged,
    need_helm,
    objects_in,
    of_kind,
    the,
)
from tests.cluster.asking import Asker, Manifest, namespace_of
from tests.cluster.programs import program
from tests.kube.api.lone import LoneApi


def kustomized(folder: str = "deploy") -> list[Manifest]:
    done = subprocess.run(
        [program("kubectl"), "kustomize", ROOT / folder],
        capture_output=True,
        text=True,
        check=True,
    )
    return objects_in(done.stdout)


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
    for manifest in (objects[0], namespace_of("apps"), *objects[1:]):
        made = admin.apply(manifest, manager="kubectl")
        assert made.ok, (manifest["kind"], manifest["metadata"]["name"], made.message)


def test_a_namespace_that_is_not_there_is_told_before_anything_is_made(lone: LoneApi) -> None:
    admin = Asker(lone.url, str(lone.folder / "ca.crt"), lone.token())
    spaces = [{"name": "there"}, {"name": "nowhere", "environment": "x"}]

    def made(name: str) -> None:
        assert admin.apply(namespace_of(name), manager="test").ok

    def install() -> str:
        done = helm(
            *("install", "s", str(CHART), "--namespace", "default", "--dry-run=server"),
            *("--kubeconfig", str(lone.kubeconfig())),
            values=merged(VALUES, {"apps": {"namespaces": spaces}}),
        )
        return done.stderr if done.returncode else ""

    made("there")
    assert "kubectl create namespace nowhere" in install()
    made("nowhere")
    assert install() == ""


def test_they_hold_no_key_and_no_password() -> None:
    assert not [manifest for manifest in kustomized() if manifest["kind"] == "Secret"]


def test_the_example_has_its_own_images_and_names_and_is_else_what_the_chart_says() -> None:
    base, own = kustomized(), kustomized("docs/how-to/kustomize")
    text = yaml.safe_dump_all(own)
    assert "localhost/" not in text
    assert "gw.example" not in text
    images = {
        container["image"]
        for manifest in of_kind(own, "Deployment")
        for part in ("containers", "initContainers")
        for container in manifest["spec"]["template"]["spec"][part]
    }
    assert images == {f"registry.example/stagedoor:{__version__}"}
    assert kinds_and_names(own) == kinds_and_names(base)
    for name in ("stagedoor-gateway", "stagedoor-controller"):
        before, after = (settings_of(found, name) for found in (base, own))
        assert after == replace(
            before,
            controller=replace(before.controller, kit_image=after.controller.kit_image),
            store=replace(before.store, url=after.store.url),
            ssh=replace(before.ssh, host_names=after.ssh.host_names),
            tunnel=replace(before.tunnel, public_url=after.tunnel.public_url),
        )
        assert after.controller.kit_image == f"registry.example/stagedoor-kit:{__version__}"
    gateway = the(own, "Deployment", "stagedoor-gateway")
    [keys] = gateway["spec"]["template"]["spec"]["initContainers"]
    settings = settings_of(own, "stagedoor-gateway")
    for name in settings.ssh.host_names:
        assert f"--name {name} \\\n" in keys["args"][0]


def settings_of(objects: list[Manifest], name: str) -> Settings:
    text = the(objects, "ConfigMap", name)["data"]["stagedoor.toml"]
    return parse_settings(text, name)


def kinds_and_names(objects: list[Manifest]) -> list[tuple[str, str]]:
    return sorted((manifest["kind"], manifest["metadata"]["name"]) for manifest in objects)
