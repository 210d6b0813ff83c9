"""The doctor names the apps whose running shells do not keep their tunnels."""

from types import SimpleNamespace
from typing import cast
from unittest.mock import AsyncMock

import pytest

from stagedoor.kube.cluster import KubeCluster
from stagedoor.model.cluster import ClusterError
from stagedoor.serve.doctor.cluster import check_endpoints
from stagedoor.serve.doctor.judge import MAX_APPS
from stagedoor.shells.kubernetes.names import CONTAINER, SHELL_OF

OLDER = "the gateway keeps the tunnels of shells with an older kit: "


def pod(app: str, *ports: str) -> dict[str, object]:
    container = {
        "name": CONTAINER,
        "ports": [{"name": name, "containerPort": 2222} for name in ports],
    }
    return {"metadata": {"labels": {SHELL_OF: app}}, "spec": {"containers": [container]}}


async def named(**outcome: object) -> list[str]:
    cluster = cast(KubeCluster, SimpleNamespace(list=AsyncMock(**outcome)))
    return [finding.what for finding in await check_endpoints(cluster, ["apps"])]


@pytest.mark.parametrize(
    ("ports", "wanted"), [(("ssh", "resume"), []), (("ssh",), [f"{OLDER}app01"])]
)
async def test_apps_with_shells_of_an_older_kit(ports: tuple[str, ...], wanted: list[str]) -> None:
    assert await named(return_value=[pod("app01", *ports), pod("app02", "resume")]) == wanted


async def test_of_many_the_first_are_named() -> None:
    pods = [pod(f"app0{number}") for number in range(MAX_APPS + 1)]
    assert await named(return_value=pods) == [f"{OLDER}app00, app01, app02, app03, app04, …"]


async def test_pods_that_may_not_be_listed_are_the_rights_matter() -> None:
    assert (
        await named(
            side_effect=ClusterError("forbidden", status=403, reason="Forbidden", retry=False)
        )
        == []
    )
