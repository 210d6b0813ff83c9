"""The cluster's own word on who may enter (`kubernetes.authorise`), by the RBAC of a real one."""

import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from stagedoor.admin.certificates.authorities import user_key
from stagedoor.admin.service import add_grant, add_keys, add_user
from tests.cluster.fixtures import Cluster
from tests.kube.house import House, until
from tests.kube.relay import Relay, target_of, through

Make = Callable[..., House]
pytestmark = pytest.mark.timeout(400)  # real clocks, on a machine that does other things too

AUTHORISE = 'authorise = "pods/exec"'


@pytest.fixture
def relay(cluster: Cluster) -> Iterator[Relay]:
    made = Relay(target_of(cluster.kubeconfig))
    yield made
    made.close()


def bind(house: House, kind: str, name: str) -> None:
    """Let somebody run programs in the pods of the namespace, by a Role that says no more."""
    house.kubectl("create", "role", "exec", "--verb=create", "--resource=pods/exec")
    house.kubectl("create", "rolebinding", "exec", "--role=exec", f"--{kind}={name}")


def allowed(house: House, *who: str) -> bool:
    """What the API server itself says: it comes to know of a RoleBinding by a watch."""
    asked = {
        "apiVersion": "authorization.k8s.io/v1",
        "kind": "SubjectAccessReview",
        "spec": {
            "user": who[0],
            "groups": [*who[1:], "system:authenticated"],
            "resourceAttributes": {
                "namespace": house.namespace,
                "verb": "create",
                "resource": "pods",
                "subresource": "exec",
            },
        },
    }
    said = house.cluster.administrator.request(
        "POST", "/apis/authorization.k8s.io/v1/subjectaccessreviews", asked
    )
    return bool(said.body["status"]["allowed"])


@pytest.mark.parametrize("way", ["connect", "jump"])
def test_without_a_role_binding_nobody_enters_and_with_one_he_does(
    make_house: Make, way: str
) -> None:
    house = make_house(kubernetes=AUTHORISE)
    house.app()
    refused = house.ssh("app01", way=way)
    assert refused.returncode != 0
    assert (
        f"the cluster does not let 'dev' create pods/exec in the namespace {house.namespace}"
        in refused.stderr
    )
    assert house.left("app01") == [], "nothing is started for somebody who may not enter"
    bind(house, "user", "dev")
    until(lambda: allowed(house, "dev"), "the API server knows")
    house.must("app01", way=way)


def test_a_group_of_ours_is_a_group_to_the_cluster(make_house: Make) -> None:
    house = make_house(kubernetes=AUTHORISE)
    house.app()
    key = house.folder / "id_ann"
    with house.gateway.changed() as service:
        add_user(service, "ann", groups=("ops",))
        add_keys(service, "ann", [user_key(key)])
        add_grant(service, "user:ann", "*")
    bind(house, "group", "ops")
    until(lambda: allowed(house, "ann", "ops"), "the API server knows")
    house.key = key
    house.gateway.wait_for(lambda line: line["event"] == "controller leads")
    command = [
        one.replace("dev@localhost", "ann@localhost")
        for one in house.ssh_command("app01.ssh", "echo in", way="jump")
    ]
    until(lambda: _stdout(command) == "in\n", "ann enters")


def _stdout(command: list[str]) -> str:
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=120, stdin=subprocess.DEVNULL
    )
    return done.stdout


def test_while_the_cluster_cannot_be_asked_nobody_enters_and_then_all_is_as_before(
    make_house: Make, cluster: Cluster, relay: Relay, tmp_path: Path
) -> None:
    kubeconfig = through(cluster.kubeconfig, relay, tmp_path / "kubeconfig")
    house = make_house(kubernetes=AUTHORISE, kubeconfig=kubeconfig)
    house.app()
    bind(house, "user", "dev")
    until(lambda: allowed(house, "dev"), "the API server knows")
    with house.inside("app01") as session:
        relay.cut()

        def refused() -> bool:
            """A yes is remembered for ten seconds."""
            done = house.ssh("app01", way="jump")
            return "the cluster could not be asked whether 'dev' may enter" in done.stderr

        until(refused, "nobody gets in any more")
        assert session.run("echo still") == "still"
        relay.mend()
        until(lambda: house.ssh("app01", way="jump").returncode == 0, "people get in again")


def test_a_yes_that_is_taken_back_counts_within_seconds(make_house: Make) -> None:
    house = make_house(kubernetes=AUTHORISE)
    house.app()
    bind(house, "user", "dev")
    until(lambda: allowed(house, "dev"), "the API server knows")
    with house.inside("app01") as session:
        assert session.run("echo in") == "in"
        house.kubectl("delete", "rolebinding", "exec")

        def refused() -> bool:
            return "does not let 'dev'" in house.ssh("app01", way="jump").stderr

        until(refused, "the yes is forgotten", within_s=60)
        # Who is inside is asked about as well, every 20 s, and told why they have to leave.
        ended = house.gateway.wait_for(lambda line: line.get("outcome") == "revoked")
        assert "does not let 'dev' create pods/exec" in str(ended["detail"])
        until(lambda: session.process.poll() is not None, "the session ends", within_s=60)
