"""The objects of a shell before a real API server, which knows what it takes, and a real kubelet."""

import json
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from stagedoor.model.shell import ProgressStep
from stagedoor.model.target import Target
from stagedoor.shells.kubernetes.derive import objects
from stagedoor.shells.kubernetes.derive.kit import Kit, KitSource
from stagedoor.shells.kubernetes.derive.shell import Derived, derive, with_replicas
from stagedoor.shells.kubernetes.live.diagnose import SSHD, diagnose
from stagedoor.shells.kubernetes.names import SSH_PORT_NAME
from tests.cluster.archive import Files, Start, image, layer
from tests.fixtures.cluster import Cluster
from tests.fixtures.laptop import new_key
from tests.shells.kubernetes import samples
from tests.waiting import BOUND_S

pytestmark = pytest.mark.timeout(600)  # the first makes the images, and others wait for them

UNTIL = 1_900_000_000.0

Make = Callable[..., str]


def owned(cluster: Cluster, namespace: str, app: dict[str, Any]) -> dict[str, Any]:
    """The app with the uid of one of its name that the API has: what a shell belongs to must be
    there. That one is plain, and has no pods."""
    plain = samples.app("plain")
    plain["kind"] = app["kind"]
    plain["metadata"] = {"name": app["metadata"]["name"], "namespace": namespace}
    plain["spec"]["replicas"] = 0
    if app["kind"] == "StatefulSet":
        plain["spec"]["serviceName"] = "plain"
    stored = cluster.administrator.create(plain)
    assert stored.ok, stored.message
    app["metadata"] |= {"namespace": namespace, "uid": stored.body["metadata"]["uid"]}
    return app


def apply(cluster: Cluster, *manifests: Any) -> list[dict[str, Any]]:
    """Server-side apply; a field that the API does not know is an error."""
    asker = cluster.administrator
    answers = [asker.apply(manifest, strict=True) for manifest in manifests]
    assert [answer.message for answer in answers if not answer.ok] == []
    return [answer.body for answer in answers]


@pytest.mark.parametrize(
    ("name", "source"),
    [
        ("plain", KitSource.SIBLING),
        ("rich", KitSource.SIBLING),
        ("asked", KitSource.SIBLING),
        ("stateful", KitSource.SIBLING),
        ("restricted", KitSource.INIT),
        ("plain", KitSource.IMAGE_VOLUME),
    ],
)
def test_the_api_takes_a_shell_whole_and_a_second_time_changes_nothing(
    cluster: Cluster, fresh_namespace: Make, name: str, source: KitSource
) -> None:
    app = owned(cluster, fresh_namespace(), samples.app(name))
    chosen = samples.settings(app)
    shell = derive(app, chosen, Kit("registry.example/kit:1", source), digests={}, claims={})
    assert isinstance(shell, Derived)
    target = Target(app["metadata"]["name"])
    manifests = [
        shell.service,
        objects.build_config_map(app, target, chosen, shell.image, (), (), until=UNTIL),
        objects.build_secret(app, b"key", "certificate"),
        objects.build_lease(app, "gateway", 0.0),
        with_replicas(shell.deployment, 0),
    ]
    first = apply(cluster, *manifests)
    again = apply(cluster, *manifests)
    assert [version(manifest) for manifest in first] == [version(manifest) for manifest in again]
    # What the API added are defaults: nothing of ours was dropped.
    stored = first[-1]["spec"]["template"]["spec"]
    wanted = shell.deployment["spec"]["template"]["spec"]
    assert [container["name"] for container in stored["containers"]] == [
        container["name"] for container in wanted["containers"]
    ]
    assert missing(stored, wanted) == []


def version(stored: dict[str, Any]) -> Any:
    """Return what changes when something is changed by us; a Deployment's status changes by itself."""
    metadata = stored["metadata"]
    return metadata.get("generation") or metadata["resourceVersion"]


def missing(whole: Any, part: Any, path: str = "") -> list[str]:
    """Yield what is in `part` and not in `whole`, each with its path; lists go element by element."""
    if isinstance(part, dict) and isinstance(whole, dict):
        return [
            fault
            for key, value in part.items()
            if value not in ("", None, {}) or whole.get(key)
            for fault in missing(whole.get(key), value, f"{path}.{key}")
        ]
    if isinstance(part, list) and isinstance(whole, list) and len(part) == len(whole):
        pairs = enumerate(zip(whole, part, strict=True))
        return [fault for n, (w, p) in pairs for fault in missing(w, p, f"{path}[{n}]")]
    return [] if whole == part else [f"{path}: {part!r} became {whole!r}"]


@pytest.mark.parametrize("source", KitSource)
def test_a_restricted_namespace_takes_the_pod_and_sshd_answers_in_it(
    cluster: Cluster, fresh_namespace: Make, kit: str, tmp_path: Path, source: KitSource
) -> None:
    namespace = fresh_namespace({"pod-security.kubernetes.io/enforce": "restricted"})
    app = samples.app("restricted")
    pod = app["spec"]["template"]["spec"]
    pod["securityContext"]["runAsUser"] = 12345
    pod["containers"][0]["image"] = cluster.image("busybox")
    app = owned(cluster, namespace, app)
    chosen = samples.settings(app)
    shell = derive(app, chosen, Kit(kit, source), digests={}, claims={})
    assert isinstance(shell, Derived)
    target = Target("vault-ui")
    config = objects.build_config_map(app, target, chosen, shell.image, (), (), until=UNTIL)
    apply(cluster, shell.service, config, host_secret(app, tmp_path))
    apply(cluster, with_replicas(shell.deployment, 1))

    seen: list[str] = []
    for found in looks(cluster, namespace):
        assert isinstance(found, ProgressStep), found
        if found.name not in seen:
            seen.append(found.name)
        if found.name == SSHD:
            break
    assert seen[-1] == SSHD, seen
    assert banner(cluster, namespace).startswith(b"SSH-2.0-OpenSSH_")


HARD = "a \"b\" 'c' $(A) $$ \t ü € \n two lines"


def test_a_shell_has_the_environment_that_its_app_has(
    cluster: Cluster, fresh_namespace: Make, kit: str, tmp_path: Path
) -> None:
    namespace = fresh_namespace()
    cluster.kubectl("-n", namespace, "create", "configmap", "flags", f"--from-literal=FLAG={HARD}")
    cluster.kubectl("-n", namespace, "create", "secret", "generic", "s", "--from-literal=PW=x=y")
    cluster.kubectl("-n", namespace, "create", "service", "clusterip", "db", "--tcp=5432")
    app = samples.app("plain")
    del app["metadata"]["uid"]
    app["metadata"]["namespace"] = namespace
    app["spec"]["replicas"] = 1
    template = app["spec"]["template"]
    template["metadata"]["labels"]["tier"] = "front"
    template["metadata"]["annotations"] = {"note": HARD}
    template["spec"]["terminationGracePeriodSeconds"] = 0
    web = template["spec"]["containers"][0]
    image = web["image"] = cluster.image("entrypoint")
    web["resources"] = {"requests": {"cpu": "1m"}, "limits": {"memory": "100Mi", "cpu": "1"}}
    web["envFrom"] = [{"configMapRef": {"name": "flags"}}, {"secretRef": {"name": "s"}}]
    web["env"] = [
        {"name": "A", "value": "1"},
        {"name": "EMPTY", "value": ""},
        {"name": "HARD", "value": HARD},
        {"name": "B", "value": "$(A)$(PW)"},
        {"name": "TIER", "valueFrom": {"fieldRef": {"fieldPath": "metadata.labels['tier']"}}},
        {"name": "NOTE", "valueFrom": {"fieldRef": {"fieldPath": "metadata.annotations['note']"}}},
        {"name": "NODE", "valueFrom": {"fieldRef": {"fieldPath": "spec.nodeName"}}},
        {"name": "CPUS", "valueFrom": {"resourceFieldRef": {"resource": "limits.cpu"}}},
        {
            "name": "MEMORY",
            "valueFrom": {
                "resourceFieldRef": {"containerName": "web", "resource": "limits.memory"}
            },
        },
    ]
    app = json.loads(cluster.kubectl("create", "-f", "-", "-o", "json", text=json.dumps(app)))
    app["metadata"]["annotations"] = {
        "stagedoor.dev/command": "/app/entrypoint",
        "stagedoor.dev/packages-image": packages_image(cluster, tmp_path),
    }
    cluster.kubectl("-n", namespace, "rollout", "status", "deployment/app01", "--timeout=60s")
    theirs = environment(cluster, namespace, "deployment/app01", "web")
    assert theirs["HARD"] == HARD.replace("$(A)", "1").replace("$$", "$")
    assert theirs["DB_SERVICE_HOST"]

    chosen = samples.settings(app)
    shell = derive(app, chosen, Kit(kit), digests={}, claims={})
    assert isinstance(shell, Derived)
    assert shell.image == image
    config = objects.build_config_map(
        app, Target("app01"), chosen, shell.image, (), (), until=UNTIL
    )
    apply(cluster, shell.service, config, host_secret(app, tmp_path))
    apply(cluster, with_replicas(shell.deployment, 1))
    for found in looks(cluster, namespace):
        assert isinstance(found, ProgressStep), found
        if found.name == SSHD:
            break
    assert banner(cluster, namespace)
    ours = environment(cluster, namespace, "deployment/app01-ssh", "shell")
    assert ours.pop("HOSTNAME") != theirs.pop("HOSTNAME")
    assert ours == theirs
    # What ran first put its own into the environment of sshd, and so of every session.
    saved = cluster.kubectl(
        *("-n", namespace, "exec", "deployment/app01-ssh", "-c", "shell", "--"),
        *("/kit/bin/busybox", "cat", "/run/stagedoor/environ"),
    )
    assert "SET_BY_ENTRYPOINT=it's set at run time" in saved.split("\0")
    said = cluster.kubectl(
        *("-n", namespace, "exec", "deployment/app01-ssh", "-c", "shell", "--"),
        *("/kit/bin/busybox", "cat", "/packages/bin/hello", "/packages/link"),
    )
    assert said == "hellohello"


def packages_image(cluster: Cluster, folder: Path) -> str:
    """Bring an image of files alone onto the node: nothing in it can run, and root owns it."""
    name = "stagedoor.test/packages:1"
    files = Files({"/packages/bin/hello": b"hello"}, links={"/packages/link": "bin/hello"})
    archive = folder / "packages.tar"
    image(name, [layer(files, folder / "packages.layer")], Start(["/none"]), archive)
    cluster.load_image(archive)
    return name


def environment(cluster: Cluster, namespace: str, of: str, container: str) -> dict[str, str]:
    """Return the environment of a process that is started in that container."""
    command = ["exec", of, "-c", container, "--", "env", "-0"]
    said = cluster.kubectl("-n", namespace, *command)
    return dict(entry.split("=", 1) for entry in said.split("\0") if entry)


def host_secret(app: dict[str, Any], folder: Path) -> Any:
    for name in ("ca", "host"):
        new_key(folder / name)
    sign = [
        "ssh-keygen",
        "-q",
        "-s",
        folder / "ca",
        "-h",
        "-I",
        "h",
        "-n",
        "x",
        folder / "host.pub",
    ]
    subprocess.run(sign, check=True)
    certificate = (folder / "host-cert.pub").read_text()
    return objects.build_secret(app, (folder / "host").read_bytes(), certificate)


def looks(cluster: Cluster, namespace: str) -> Iterator[Any]:
    """Diagnoses, one after the other, each from the API as it is then."""
    asker = cluster.administrator
    end = time.monotonic() + BOUND_S
    while time.monotonic() < end:
        yield look(asker.listed(namespace, "deployments,replicasets,pods,events"))
        time.sleep(0.1)  # each look is four questions


def look(listed: list[Any]) -> Any:
    def of(kind: str) -> list[Any]:
        return [
            resource
            for resource in listed
            if resource["kind"] == kind
            and (
                kind == "Event"
                or "stagedoor.dev/shell-of" in resource["metadata"].get("labels", {})
            )
        ]

    shells = of("Deployment")
    return diagnose(
        shells[0] if shells else None, of("ReplicaSet"), of("Pod"), of("Event"), time.time()
    )


def banner(cluster: Cluster, namespace: str) -> bytes:
    """Return the first line of sshd, where the shell's EndpointSlice says that it is."""
    asker = cluster.administrator
    end = time.monotonic() + BOUND_S
    while time.monotonic() < end:
        for piece in asker.listed(namespace, "endpointslices"):
            for endpoint in piece.get("endpoints") or ():
                ports = {port["name"]: port["port"] for port in piece["ports"]}
                address = (endpoint["addresses"][0], ports[SSH_PORT_NAME])
                try:
                    with socket.create_connection(address, timeout=2) as connection:
                        return connection.recv(64)
                except OSError:
                    continue  # not yet
        time.sleep(0.1)
    raise AssertionError("no sshd answers")
