"""Failures: the leader dies. `api/test_api_gone.py` has those of the API."""

import contextlib
import signal
import time
from collections.abc import Callable, Iterator

import pytest

from tests.fixtures.cluster import KubeGateway
from tests.fixtures.gateway import Gateway
from tests.pace import allow

Make = Callable[..., KubeGateway]
pytestmark = pytest.mark.timeout(400)  # real clocks, on a machine that does other things too

TAKEOVER_S = allow(30.0)
"""The bound that test_lease.py proves of a network that answers, and as much again for a busy machine."""


class Beside(Gateway):
    """`stagedoor controller` with the settings of a gateway."""

    def __init__(self, kube: KubeGateway) -> None:
        super().__init__(kube.folder)
        self.file = kube.gateway.file

    def write_settings(self, settings: str, *, workers: int | None = None) -> None:
        """The gateway has written them."""

    program = ("controller",)


@contextlib.contextmanager
def controllers(kube: KubeGateway, number: int) -> Iterator[list[Beside]]:
    """So many controllers, all up: the first that leads is the first of them."""
    made = [Beside(kube) for _ in range(number)]
    try:
        for controller in made:
            controller.launch()
            controller.wait_for(lambda line: line["event"] == "controller stands by")
            made[0].wait_for(lambda line: line["event"] == "controller leads")
        yield made
    finally:
        for controller in made:
            controller.stop()


def test_when_the_leader_is_killed_the_next_takes_over_and_no_session_is_cut(
    make_kube: Make,
) -> None:
    kube = make_kube(controller=False)
    kube.app("app01")
    kube.app("app02")
    with controllers(kube, 2) as (leader, other), kube.inside("app01") as session:
        leader.signal(signal.SIGKILL)
        killed_at = time.monotonic()
        other.wait_for(lambda line: line["event"] == "controller leads")
        took_s = time.monotonic() - killed_at
        print(f"the next one leads after {took_s:.1f} s")
        assert took_s <= TAKEOVER_S
        assert session.run("echo still") == "still"
        kube.must("app02")
        assert session.run("echo and still") == "and still"
