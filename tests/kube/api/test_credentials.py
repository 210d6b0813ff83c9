"""The user of each credential, as the real API server sees it."""

import asyncio
import base64
import json
import sys
from pathlib import Path
from typing import Any

import pytest

from stagedoor.kube.access import load_service_account
from stagedoor.kube.cluster import KubeCluster
from stagedoor.kube.http import HttpRequest
from stagedoor.model.cluster import ClusterError, Kind
from tests.kube.api.conftest import Connect
from tests.kube.api.lone import LoneApi, make_ca

pytestmark = pytest.mark.timeout(300)  # the first of a process starts an API server

REVIEW = "/apis/authentication.k8s.io/v1/selfsubjectreviews"


async def who(cluster: KubeCluster) -> tuple[str, list[str]]:
    answer = await cluster.http.send(HttpRequest("POST", REVIEW, b"{}"), 10)
    assert answer.status == 201, answer.body
    info = json.loads(answer.body)["status"]["userInfo"]
    return info["username"], info["groups"]


async def test_a_token_of_a_kubeconfig(connect: Connect) -> None:
    assert (await who(connect()))[0] == "admin"


async def test_a_certificate_in_files_or_in_the_kubeconfig(api: LoneApi, connect: Connect) -> None:
    def data(name: str) -> str:
        return base64.b64encode((api.folder / name).read_bytes()).decode()

    for user in (
        {"client-certificate": "admin.crt", "client-key": "admin.key"},
        {"client-certificate-data": data("admin.crt"), "client-key-data": data("admin.key")},
    ):
        name, groups = await who(connect(kubeconfig=api.kubeconfig(**user)))
        assert name == "by-certificate"
        assert "system:masters" in groups


async def test_a_program_brings_a_token_or_a_certificate(
    api: LoneApi, connect: Connect, tmp_path: Path
) -> None:
    files = {"clientCertificateData": "admin.crt", "clientKeyData": "admin.key"}
    certificate = {key: (api.folder / name).read_text() for key, name in files.items()}
    for status, expected in (
        ({"token": api.token()}, "admin"),
        (certificate, "by-certificate"),
    ):
        credential = {"apiVersion": "client.authentication.k8s.io/v1", "kind": "ExecCredential"}
        output = tmp_path / "output"
        output.write_text(json.dumps({**credential, "status": status}))
        entry = {
            "apiVersion": credential["apiVersion"],
            "command": sys.executable,
            "args": ["-c", f"print(open({str(output)!r}).read())"],
        }
        cluster = connect(kubeconfig=api.kubeconfig(exec=entry))
        assert (await who(cluster))[0] == expected


async def test_whom_to_act_as(api: LoneApi, connect: Connect, namespace: str) -> None:
    user: dict[str, Any] = {"token": api.token(), "as": "jane", "as-groups": ["dev"]}
    cluster = connect(kubeconfig=api.kubeconfig(**user))
    name, groups = await who(cluster)
    assert (name, "dev" in groups) == ("jane", True)
    with pytest.raises(ClusterError, match='User "jane" cannot list resource "pods"'):
        await cluster.list(Kind.POD, namespace)


async def test_a_pods_service_account_and_its_renewed_token(
    api: LoneApi, connect: Connect, cluster: KubeCluster, namespace: str, tmp_path: Path
) -> None:
    """The folder as the kubelet makes it; the token is replaced by one of another account, so that
    the API server knows which was read."""
    root = f"/api/v1/namespaces/{namespace}/serviceaccounts"

    async def token(name: str) -> str:
        body = json.dumps({"metadata": {"name": name}}).encode()
        await cluster.http.send(HttpRequest("POST", root, body), 10)
        answer = await cluster.http.send(
            HttpRequest("POST", f"{root}/{name}/token", b'{"spec":{}}'), 10
        )
        assert answer.status == 201, answer.body
        return str(json.loads(answer.body)["status"]["token"])

    (tmp_path / "ca.crt").write_bytes((api.folder / "ca.crt").read_bytes())
    (tmp_path / "namespace").write_text(namespace)
    (tmp_path / "token").write_text(await token("first"))
    pod = {"KUBERNETES_SERVICE_HOST": "127.0.0.1", "KUBERNETES_SERVICE_PORT": str(api.port)}
    access = load_service_account(tmp_path, pod.get)
    inside = KubeCluster(
        access, field_manager="t", component="t", instance="t", on_problem=lambda *_: None
    )
    assert (await who(inside))[0] == f"system:serviceaccount:{namespace}:first"
    (tmp_path / "token").write_text(await token("second"))
    # The first is deleted, its token with it: the 401 makes us read the second.
    answer = await cluster.http.send(HttpRequest("DELETE", f"{root}/first"), 10)
    assert answer.status == 200
    async with asyncio.timeout(30):
        while (await who(inside))[0].endswith("first"):
            await asyncio.sleep(0.2)  # the API server remembers an accepted token for 10 s
    assert (await who(inside))[0] == f"system:serviceaccount:{namespace}:second"
    await inside.close_connections()


async def test_another_clusters_certificate_is_not_trusted(
    api: LoneApi, connect: Connect, tmp_path: Path
) -> None:
    make_ca(tmp_path)
    path = api.kubeconfig()
    content = json.loads(path.read_text())
    content["clusters"][0]["cluster"]["certificate-authority"] = str(tmp_path / "ca.crt")
    path.write_text(json.dumps(content))
    with pytest.raises(ClusterError) as raised:
        await connect(kubeconfig=path).get(Kind.POD, "default", "none")
    assert "is not trusted" in raised.value.message
    assert "check certificate-authority" in raised.value.message
    assert api.token() not in raised.value.message


async def test_the_servers_name_is_checked_and_may_be_given(api: LoneApi, connect: Connect) -> None:
    path = api.kubeconfig()
    content = json.loads(path.read_text())
    content["clusters"][0]["cluster"]["tls-server-name"] = "other.test"
    path.write_text(json.dumps(content))
    with pytest.raises(ClusterError, match=r"is not trusted.*other\.test"):
        await connect(kubeconfig=path).get(Kind.POD, "default", "none")
    content["clusters"][0]["cluster"]["tls-server-name"] = "localhost"
    path.write_text(json.dumps(content))
    assert (await who(connect(kubeconfig=path)))[0] == "admin"
