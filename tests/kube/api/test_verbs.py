"""Each verb against the real API server, beyond what `test_memory` holds of both clusters."""

import asyncio
import json
import re
import secrets
from typing import Any

import pytest

from stagedoor.kube import lists
from stagedoor.kube.cluster import KubeCluster
from stagedoor.kube.http import HttpRequest
from stagedoor.kube.lists import ListOptions
from stagedoor.kube.pace import Limits
from stagedoor.model.cluster import ClusterError, Kind, Object
from tests.kube.api.conftest import Connect
from tests.kube.api.lone import UNPRIVILEGED, LoneApi
from tests.kube.api.objects import allow, config_map, labelled

pytestmark = pytest.mark.timeout(300)  # the first of a process starts an API server


async def test_an_object_of_the_whole_cluster_has_no_namespace(
    cluster: KubeCluster, namespace: str
) -> None:
    resource = await cluster.get(Kind.NAMESPACE, "", namespace)
    assert resource is not None
    assert resource["status"]["phase"] == "Active"


async def test_list_says_what_the_items_are_and_reads_all_namespaces(
    cluster: KubeCluster, namespace: str
) -> None:
    await cluster.create(labelled(config_map(namespace, "one"), team="red"))
    await cluster.create(labelled(config_map(namespace, "two"), team="blue"))
    [item] = await cluster.list(Kind.CONFIG_MAP, namespace, "team=red")
    assert (item["apiVersion"], item["kind"]) == ("v1", "ConfigMap")
    everywhere = await cluster.list(Kind.CONFIG_MAP, "", "team in (red, blue)")
    assert {"one", "two"} <= {item["metadata"]["name"] for item in everywhere}


async def test_a_long_list_comes_in_pages_of_one_moment(
    connect: Connect, namespace: str, cluster: KubeCluster
) -> None:
    async def make(numbers: range) -> None:
        for number in numbers:
            await quick.create(config_map(namespace, f"map-{number:04}"))

    quick = cluster.with_priority()
    await asyncio.gather(*(make(range(start, 1200, 12)) for start in range(12)))
    paged = connect()
    items, version = await lists.list_objects(
        paged._client, ListOptions(Kind.CONFIG_MAP, namespace)
    )
    assert [item["metadata"]["name"] for item in items] == [f"map-{n:04}" for n in range(1200)]
    assert paged.requests["list", "ConfigMap", 200] == 3
    assert int(version) >= max(int(item["metadata"]["resourceVersion"]) for item in items)


async def test_a_list_that_etcd_forgets_meanwhile_is_read_anew(
    api: LoneApi, connect: Connect, cluster: KubeCluster, namespace: str
) -> None:
    # The API server keeps snapshots of most kinds; of events it has what etcd has.
    about = config_map(namespace, "one")
    for number in range(6):
        await cluster.report(about, reason="Counted", message=str(number))
    paged = connect(limits=Limits(page=2))
    seen: list[str] = []

    def trim(item: Object) -> Object:
        seen.append(item["note"])
        if len(seen) == 2:
            # Between two pages: the moment of the first is gone when the second is asked for.
            api.write_and_compact()
        return item

    items, _ = await lists.list_objects(paged._client, ListOptions(Kind.EVENT, namespace), trim)
    assert {item["note"] for item in items} == {str(number) for number in range(6)}
    assert len(items) == 6
    assert paged.requests["list", "Event", 410] == 1


async def test_an_apply_takes_a_field_from_another_manager(
    cluster: KubeCluster, connect: Connect, namespace: str
) -> None:
    other = connect(limits=None)
    other._field_manager = "another"
    await other.apply(config_map(namespace, "one", key="theirs"))
    applied = await cluster.apply(config_map(namespace, "one", key="ours"))
    assert applied["data"]["key"] == "ours"


async def test_many_at_once_apply_the_same(cluster: KubeCluster, namespace: str) -> None:
    outcomes = await asyncio.gather(
        *(cluster.apply(config_map(namespace, "one", key=str(n % 3))) for n in range(30))
    )
    assert len({item["metadata"]["uid"] for item in outcomes}) == 1


async def test_who_may_not_is_told_which_rule_is_missing(connect: Connect, namespace: str) -> None:
    with pytest.raises(ClusterError) as raised:
        await connect(UNPRIVILEGED).get(Kind.DEPLOYMENT, namespace, "web")
    assert (raised.value.status, raised.value.reason) == (403, "Forbidden")
    assert raised.value.message == (
        f'cannot get Deployment web in namespace {namespace}: deployments.apps "web" is forbidden: '
        'User "nobody" cannot get resource "deployments" in API group "apps" in the namespace '
        f'"{namespace}"; allow it by a Role in namespace {namespace} with the rule '
        'apiGroups: ["apps"], resources: ["deployments"], verbs: ["get"]'
    )


async def test_an_apply_names_the_right_that_makes(
    cluster: KubeCluster, connect: Connect, namespace: str
) -> None:
    """It asks with `patch`, and to make something takes `create` as well."""
    await allow(cluster, namespace, "configmaps", "get", "patch")
    with pytest.raises(ClusterError) as raised:
        await connect(UNPRIVILEGED).apply(config_map(namespace, "one"))
    assert raised.value.message.endswith(
        'with the rule apiGroups: [""], resources: ["configmaps"], verbs: ["create"]'
    )
    await cluster.create(config_map(namespace, "one"))
    await connect(UNPRIVILEGED).apply(config_map(namespace, "one", a="1"))
    with pytest.raises(ClusterError, match=r'resources: \["pods/log"\], verbs: \["get"\]'):
        await connect(UNPRIVILEGED).read_logs(namespace, "web", "shell", lines=1)
    with pytest.raises(ClusterError, match=r'ClusterRole .* \["subjectaccessreviews"\]'):
        await connect(UNPRIVILEGED).may("jane", [], namespace, "create", "pods/exec")


async def test_what_the_api_finds_wrong_is_told_in_its_words(
    cluster: KubeCluster, namespace: str
) -> None:
    with pytest.raises(ClusterError) as raised:
        await cluster.apply(deployment(namespace, "Bad_Name"))
    assert raised.value.reason == "Invalid"
    assert "Bad_Name" in raised.value.message
    manifest = deployment(namespace, "web")
    manifest["spec"]["template"]["spec"]["containers"] = []
    with pytest.raises(ClusterError) as raised:
        await cluster.apply(manifest)
    assert (raised.value.status, raised.value.reason) == (422, "Invalid")
    assert not raised.value.retry
    assert re.search(r"spec.template.spec.containers: Required value", raised.value.message)


async def test_a_quota_speaks_for_itself_and_is_no_missing_right(
    cluster: KubeCluster, namespace: str
) -> None:
    path = f"/api/v1/namespaces/{namespace}/resourcequotas"
    hard = {"hard": {"configmaps": "1"}}
    quota = {
        "metadata": {"name": "few"},
        "spec": hard,
        "status": {**hard, "used": {"configmaps": "1"}},
    }
    made = await cluster.http.send(HttpRequest("POST", path, json.dumps(quota).encode()), 10)
    assert made.status == 201, made.body
    # No controller is here to fill its status in.
    patch = json.dumps({"status": quota["status"]}).encode()
    content_type = "application/merge-patch+json"
    done = await cluster.http.send(
        HttpRequest("PATCH", f"{path}/few/status", patch, content_type), 10
    )
    assert done.status == 200, done.body
    raised: ClusterError | None = None
    async with asyncio.timeout(20):
        while raised is None:
            try:
                await cluster.create(config_map(namespace, f"map-{secrets.token_hex(4)}"))
                await asyncio.sleep(0.05)  # the API server has not seen the quota yet
            except ClusterError as error:
                raised = error
    assert raised.status == 403
    assert "exceeded quota: few, requested: configmaps=1, used: configmaps=1" in raised.message
    assert "apiGroups" not in raised.message


async def test_a_token_that_is_not_known_is_told_and_not_shown(
    api: LoneApi, connect: Connect
) -> None:
    kubeconfig = api.kubeconfig(token="made-up-token-of-nobody")
    with pytest.raises(ClusterError) as raised:
        await connect(kubeconfig=kubeconfig).get(Kind.POD, "default", "none")
    assert raised.value.status == 401
    assert "does not know our credential" in raised.value.message
    assert "made-up-token" not in raised.value.message


async def test_may_asks_the_cluster(cluster: KubeCluster, namespace: str) -> None:
    assert await cluster.may("anyone", ["system:masters"], namespace, "create", "pods/exec")
    assert not await cluster.may("anyone", ["developers"], namespace, "create", "pods/exec")
    assert not await cluster.may("anyone", [], namespace, "get", "deployments.apps")


async def test_an_event_is_written_once_and_then_counted(connect: Connect, namespace: str) -> None:
    now = 1000.0
    cluster = connect(clock=lambda: now)
    about = await cluster.create(config_map(namespace, "one"))
    for _ in range(5):
        await cluster.report(
            about, reason="WrongAnnotation", message="no: " + "é" * 2000, warning=True
        )
    [event] = await cluster.list(Kind.EVENT, namespace)
    assert (event["type"], event["reason"]) == ("Warning", "WrongAnnotation")
    assert event["regarding"]["uid"] == about["metadata"]["uid"]
    assert event["reportingController"] == "stagedoor-test"
    assert len(event["note"].encode()) <= 1024
    assert event["note"].endswith("é…")
    assert not event.get("series")
    now += 31
    await cluster.report(about, reason="WrongAnnotation", message="no: " + "é" * 2000, warning=True)
    [event] = await cluster.list(Kind.EVENT, namespace)
    assert event["series"]["count"] == 6
    now += 400
    await cluster.report(about, reason="WrongAnnotation", message="no: " + "é" * 2000, warning=True)
    assert len(await cluster.list(Kind.EVENT, namespace)) == 2


async def test_report_raises_nothing(connect: Connect, namespace: str) -> None:
    about = config_map(namespace, "one")
    await connect(UNPRIVILEGED).report(about, reason="Odd", message="nobody may write")


def deployment(namespace: str, name: str, replicas: int = 0) -> dict[str, Any]:
    labels = {"app": "web"}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"namespace": namespace, "name": name},
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": labels},
            "template": {
                "metadata": {"labels": labels},
                "spec": {"containers": [{"name": "web", "image": "web:1"}]},
            },
        },
    }
