"""The cluster's own word on who may enter (`kubernetes.authorise`), by the RBAC of a real one."""

import json
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import yaml

from stagedoor.admin.certificates.authorities import ensure_user_key
from stagedoor.admin.service import add_grant, add_keys, add_user
from tests.fixtures.cluster import Cluster, KubeGateway, until
from tests.web.relay import CuttingRelay

Make = Callable[..., KubeGateway]
pytestmark = pytest.mark.timeout(400)  # real clocks, on a machine that does other things too

AUTHORISE = 'authorise = "pods/exec"'


@contextmanager
def relayed(kubeconfig: Path, written: Path) -> Iterator[CuttingRelay]:
    """Yield a relay to the API of a kubeconfig. A copy of it that goes through the relay is `written`."""
    document = yaml.safe_load(kubeconfig.read_text())
    [entry] = document["clusters"]
    host, _, port = entry["cluster"]["server"].removeprefix("https://").partition(":")
    with CuttingRelay(int(port), host=host) as relay:
        entry["cluster"] |= {"server": f"https://127.0.0.1:{relay.port}", "tls-server-name": host}
        written.touch(mode=0o600)
        written.write_text(json.dumps(document))
        yield relay


def bind(kube: KubeGateway, kind: str, name: str) -> None:
    """Let a user run programs in the pods of the namespace, by a Role that says no more."""
    kube.kubectl("create", "role", "exec", "--verb=create", "--resource=pods/exec")
    kube.kubectl("create", "rolebinding", "exec", "--role=exec", f"--{kind}={name}")


def allowed(kube: KubeGateway, *who: str) -> bool:
    """Return the answer of the API server itself, which learns of a RoleBinding by a watch."""
    asked = {
        "apiVersion": "authorization.k8s.io/v1",
        "kind": "SubjectAccessReview",
        "spec": {
            "user": who[0],
            "groups": [*who[1:], "system:authenticated"],
            "resourceAttributes": {
                "namespace": kube.namespace,
                "verb": "create",
                "resource": "pods",
                "subresource": "exec",
            },
        },
    }
    said = kube.cluster.administrator.request(
        "POST", "/apis/authorization.k8s.io/v1/subjectaccessreviews", asked
    )
    return bool(said.body["status"]["allowed"])


@pytest.mark.parametrize("access_method", ["connect", "jump"])
def test_without_a_role_binding_nobody_enters_and_with_one_he_does(
    make_kube: Make, access_method: str
) -> None:
    kube = make_kube(kubernetes=AUTHORISE)
    kube.app()
    refused = kube.ssh("app01", access_method=access_method)
    assert refused.returncode != 0
    assert (
        f"the cluster does not let 'dev' create pods/exec in the namespace {kube.namespace}"
        in refused.stderr
    )
    assert kube.left("app01") == [], "nothing is started for somebody who may not enter"
    bind(kube, "user", "dev")
    until(lambda: allowed(kube, "dev"), "the API server knows")
    kube.must("app01", access_method=access_method)


def test_a_group_of_ours_is_a_group_to_the_cluster(make_kube: Make) -> None:
    kube = make_kube(kubernetes=AUTHORISE)
    kube.app()
    key = kube.folder / "id_ann"
    with kube.gateway.changed() as service:
        add_user(service, "ann", groups=("ops",))
        add_keys(service, "ann", [ensure_user_key(key)])
        add_grant(service, "user:ann", "*")
    bind(kube, "group", "ops")
    until(lambda: allowed(kube, "ann", "ops"), "the API server knows")
    kube.key = key
    kube.gateway.wait_for(lambda line: line["event"] == "controller leads")
    command = [
        word.replace("dev@localhost", "ann@localhost")
        for word in kube.ssh_command("app01.ssh", "echo in", access_method="jump")
    ]
    until(lambda: _stdout(command) == "in\n", "ann enters")


def _stdout(command: list[str]) -> str:
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=120, stdin=subprocess.DEVNULL
    )
    return done.stdout


def test_while_the_cluster_cannot_be_asked_nobody_enters_and_then_all_is_as_before(
    make_kube: Make, cluster: Cluster, tmp_path_factory: pytest.TempPathFactory
) -> None:
    kubeconfig = tmp_path_factory.mktemp("relayed") / "kubeconfig"
    with relayed(cluster.kubeconfig, kubeconfig) as relay:
        kube = make_kube(kubernetes=AUTHORISE, kubeconfig=kubeconfig)
        kube.app()
        bind(kube, "user", "dev")
        until(lambda: allowed(kube, "dev"), "the API server knows")
        with kube.inside("app01") as session:
            relay.cut()

            def refused() -> bool:
                """A yes is remembered for ten seconds."""
                done = kube.ssh("app01", access_method="jump")
                return "the cluster could not be asked whether 'dev' may enter" in done.stderr

            until(refused, "nobody gets in any more")
            assert session.run("echo still") == "still"
            relay.mend()
            until(
                lambda: kube.ssh("app01", access_method="jump").returncode == 0,
                "people get in again",
            )


def test_a_yes_that_is_taken_back_counts_within_seconds(make_kube: Make) -> None:
    kube = make_kube(kubernetes=AUTHORISE)
    kube.app()
    bind(kube, "user", "dev")
    until(lambda: allowed(kube, "dev"), "the API server knows")
    with kube.inside("app01") as session:
        assert session.run("echo in") == "in"
        kube.kubectl("delete", "rolebinding", "exec")

        def refused() -> bool:
            return "does not let 'dev'" in kube.ssh("app01", access_method="jump").stderr

        until(refused, "the yes is forgotten", within_s=60)
        # The API is asked about developers inside as well, every 20 s; they hear why they have to leave.
        ended = kube.gateway.wait_for(lambda line: line.get("outcome") == "revoked")
        assert "does not let 'dev' create pods/exec" in str(ended["detail"])
        until(lambda: session.process.poll() is not None, "the session ends", within_s=60)
