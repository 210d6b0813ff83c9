"""The real API server without the rest of a cluster."""

import itertools
import os
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest

from stagedoor.kube.cluster import KubeCluster
from stagedoor.kube.kubeconfig import load
from stagedoor.kube.pace import Limits
from tests.cluster.asking import namespace_of
from tests.kube.api.lone import ADMIN, LoneApi

Connect = Callable[..., KubeCluster]
_numbers = itertools.count()


@pytest.fixture(scope="session")
def api(lone: LoneApi) -> LoneApi:
    return lone


class Problems(list[tuple[str, str | None]]):
    """The problems that were reported about watches."""


@pytest.fixture
def problems() -> Problems:
    return Problems()


@pytest.fixture
async def connect(api: LoneApi, problems: Problems) -> AsyncIterator[Connect]:
    """Yield a function that makes a KubeCluster for the API server, as a user, with limits."""
    async with AsyncExitStack() as stack:

        def make(
            who: str = ADMIN,
            *,
            kubeconfig: Path | None = None,
            limits: Limits | None = None,
            **other: Any,
        ) -> KubeCluster:
            cluster = KubeCluster(
                load(kubeconfig or api.kubeconfig(who)),
                field_manager="stagedoor",
                component="stagedoor-test",
                instance="test-0",
                on_problem=lambda what, problem: problems.append((what, problem)),
                limits=limits,
                **other,
            )
            stack.push_async_callback(cluster.close_connections)
            return cluster

        yield make


@pytest.fixture
async def cluster(connect: Connect) -> KubeCluster:
    return connect()


@pytest.fixture
async def namespace(cluster: KubeCluster) -> str:
    """Make a fresh one. No controller is there to delete it: it goes with the API server's data."""
    name = f"test-{os.getpid()}-{next(_numbers)}"
    await cluster.create(namespace_of(name))
    return name
