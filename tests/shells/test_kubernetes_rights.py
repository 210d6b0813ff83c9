"""The cluster's own word on who may enter: asked after our grants, and both must say yes."""

from stagedoor.model.denial import Denial, Reason
from stagedoor.model.grant import Grant
from stagedoor.model.identity import Identity, Method
from stagedoor.model.target import Target
from stagedoor.shells.kubernetes.rights import REMEMBERED_S, Rights
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
    assert await Rights(cluster).judge(GRANT, "apps") is None
    assert cluster.reviews == [
        ("dev", ("dba", "ops", "system:authenticated"), "apps", "create", "pods/exec")
    ]


async def test_a_no_is_a_denial_that_says_what_is_missing() -> None:
    denial = await Rights(refusing()).judge(GRANT, "apps")
    assert isinstance(denial, Denial)
    assert denial.reason is Reason.NO_GRANT
    assert "does not let 'dev' create pods/exec in the namespace apps" in denial.message


async def test_a_cluster_that_does_not_answer_has_not_said_yes() -> None:
    denial = await Rights(silent()).judge(GRANT, "apps")
    assert isinstance(denial, Denial)
    assert denial.reason is Reason.SHELL_UNAVAILABLE
    assert denial.retry_after_s


async def test_a_yes_is_good_for_some_seconds_and_a_no_for_none() -> None:
    cluster, now = MemoryCluster(), 0.0
    rights = Rights(cluster, clock=lambda: now)
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
