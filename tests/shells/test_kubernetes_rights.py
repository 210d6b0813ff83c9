"""The cluster's own word on who may enter: asked after our grants, and both must say yes."""

from dataclasses import replace

from stagedoor.model.denial import Denial, Reason
from stagedoor.model.grant import Grant, Guest
from stagedoor.model.identity import Identity, Method
from stagedoor.model.target import Target
from stagedoor.shells.kubernetes.adapter import KubernetesShells
from stagedoor.shells.kubernetes.live.rights import REMEMBERED_S, ClusterAccess
from tests.kube.apps import deployment
from tests.kube.memory import MemoryCluster


def refusing() -> MemoryCluster:
    made = MemoryCluster()
    made.allowed = False
    return made


def silent() -> MemoryCluster:
    made = MemoryCluster()
    made.down = True
    return made


GRANT = Grant(
    Identity("dev", frozenset({"ops", "dba"}), Method.PUBLIC_KEY), Target("app01"), 1, None
)


async def test_the_cluster_is_asked_for_name_and_groups_in_the_apps_namespace() -> None:
    cluster = MemoryCluster()
    assert await ClusterAccess(cluster).judge(GRANT, "apps") is None
    assert cluster.reviews == [
        ("dev", ("dba", "ops", "system:authenticated"), "apps", "create", "pods/exec")
    ]


async def test_a_no_is_a_denial_that_says_what_is_missing() -> None:
    denial = await ClusterAccess(refusing()).judge(GRANT, "apps")
    assert isinstance(denial, Denial)
    assert denial.reason is Reason.NO_GRANT
    assert "does not let 'dev' create pods/exec in the namespace apps" in denial.message


async def test_a_cluster_that_does_not_answer_has_not_said_yes() -> None:
    denial = await ClusterAccess(silent()).judge(GRANT, "apps")
    assert isinstance(denial, Denial)
    assert denial.reason is Reason.SHELL_UNAVAILABLE
    assert denial.retry_after_s


async def test_a_yes_is_good_for_some_seconds_and_a_no_for_none() -> None:
    cluster, now = MemoryCluster(), 0.0
    rights = ClusterAccess(cluster, clock=lambda: now)
    assert await rights.judge(GRANT, "apps") is None
    cluster.allowed = False
    assert await rights.judge(GRANT, "apps") is None
    assert len(cluster.reviews) == 1
    # Another namespace, or other groups, is another question.
    assert await rights.judge(GRANT, "other") is not None
    now = REMEMBERED_S
    assert await rights.judge(GRANT, "apps") is not None
    cluster.allowed = True
    assert await rights.judge(GRANT, "apps") is None


async def test_of_those_inside_they_are_named_whom_the_cluster_lets_in_no_longer() -> None:
    cluster = MemoryCluster()
    rights = ClusterAccess(cluster)
    assert await rights.judge(GRANT, "apps") is None
    other = replace(GRANT, identity=replace(GRANT.identity, name="ops"))
    inside = {"1": (GRANT, "apps"), "2": (GRANT, "apps"), "3": (other, "apps")}
    assert await rights.find_denials(inside) == {}
    assert len(cluster.reviews) == 3, "once for each person; what was remembered does not count"
    cluster.allowed = False
    refused = await rights.find_denials(inside)
    assert refused.keys() == inside.keys()
    assert "does not let 'ops' create pods/exec" in refused["3"].message
    # A yes before is forgotten for who comes next, too.
    assert await rights.judge(GRANT, "apps") is not None


async def test_an_outage_of_the_cluster_puts_nobody_out() -> None:
    assert await ClusterAccess(silent()).find_denials({"1": (GRANT, "apps")}) == {}


async def test_they_are_asked_for_where_the_app_is_and_guests_who_watch_are_not() -> None:
    cluster = MemoryCluster()
    cluster.put(deployment("apps"))
    cluster.allowed = False
    shells = KubernetesShells(cluster, {None: "apps"}, "gateway", rights=ClusterAccess(cluster))
    shells.start()
    assert await shells.wait_until_synced(5)
    watcher = replace(GRANT, guest=Guest("main", "host", None))
    typist = replace(GRANT, guest=Guest("main", "host", "share", may_type=True))
    elsewhere = replace(GRANT, target=Target("static"))
    grants = {"1": GRANT, "2": watcher, "3": typist, "4": elsewhere}
    assert (await shells.find_denials(grants)).keys() == {"1", "3"}
    assert {namespace for *_, namespace, _, _ in cluster.reviews} == {"apps"}
    await shells.stop_watching()
    no_rights = KubernetesShells(cluster, {None: "apps"}, "gateway")
    assert await no_rights.find_denials(grants) == {}
