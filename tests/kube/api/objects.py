"""Objects for the tests."""

import json

from stagedoor.kube.cluster import KubeCluster
from stagedoor.kube.http import HttpRequest
from stagedoor.model.cluster import Object
from tests.kube.api.lone import UNPRIVILEGED


def config_map(namespace: str, name: str, **data: str) -> Object:
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"namespace": namespace, "name": name},
        "data": data,
    }


def labelled(manifest: Object, **labels: str) -> Object:
    return {**manifest, "metadata": {**manifest["metadata"], "labels": labels}}


async def allow(cluster: KubeCluster, namespace: str, resource: str, *verbs: str) -> None:
    """Let `UNPRIVILEGED` do that: a Role and its binding, which are no kinds of ours."""
    root = f"/apis/rbac.authorization.k8s.io/v1/namespaces/{namespace}"
    meta = {"metadata": {"name": f"may-{resource}"}}
    rule = {"apiGroups": [""], "resources": [resource], "verbs": list(verbs)}
    subject = {"kind": "User", "name": UNPRIVILEGED}
    role = {"kind": "Role", "name": meta["metadata"]["name"]}
    for plural, body in (
        ("roles", {**meta, "rules": [rule]}),
        ("rolebindings", {**meta, "subjects": [subject], "roleRef": role}),
    ):
        request = HttpRequest("POST", f"{root}/{plural}", json.dumps(body).encode())
        answer = await cluster.http.send(request, 10)
        assert answer.status == 201, answer.body
