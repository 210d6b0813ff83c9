"""Fields of an app that the API server takes in an update and refuses in a server-side apply."""

import pytest

from stagedoor.kube.cluster import KubeCluster
from stagedoor.shells.kubernetes.derive.shell import with_replicas
from tests.kube.apps import deployment
from tests.shells.kubernetes.samples import derived

pytestmark = pytest.mark.timeout(300)  # the first of a process starts an API server


async def test_an_app_that_names_things_twice_has_a_shell(
    cluster: KubeCluster, namespace: str
) -> None:
    app = deployment(namespace)
    pod = app["spec"]["template"]["spec"]
    pod["containers"][0]["env"] = [{"name": "A", "value": "1"}, {"name": "A", "value": "$(A)2"}]
    pod["hostAliases"] = [{"ip": "10.0.0.1", "hostnames": [name]} for name in ("db", "cache")]
    pod["imagePullSecrets"] = [{"name": "pull"}, {"name": "pull"}]
    taken = await cluster.create(app)
    assert len(taken["spec"]["template"]["spec"]["hostAliases"]) == 2, "as it was written"
    made = await cluster.apply(with_replicas(derived(dict(taken)).deployment, 0))
    spec = made["spec"]["template"]["spec"]
    assert spec["hostAliases"] == [{"ip": "10.0.0.1", "hostnames": ["db", "cache"]}]
    assert spec["imagePullSecrets"] == [{"name": "pull"}]
    (shell,) = (container for container in spec["containers"] if container["name"] == "shell")
    assert shell["env"] == [{"name": "A", "value": "12"}]
