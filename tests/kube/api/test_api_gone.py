"""The API server dies, or hangs: who is inside stays, running shells are entered, and it recovers.

A real API server that is stopped. `STAGEDOOR_API_GONE_S=300` makes it the five minutes that
docs/how-to/operate-kubernetes.md describes.
"""

import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.fixtures.cluster import KubeGateway, running, until
from tests.kube.api.hands import Hands, LoneCluster
from tests.kube.api.lone import LoneApi

GONE_S = float(os.environ.get("STAGEDOOR_API_GONE_S", "0"))
"""Until the controller leads no more and a developer has entered, at least. That a shell outlives an hour of
it in which its lease is not renewed is a story of `tests/controller/test_stories.py`."""
LOUD = ("warning", "error", "critical")
MAX_TROUBLES = 60
"""In the log, for as long as the API is away: each watch says once that it fails."""

pytestmark = pytest.mark.timeout(400 + GONE_S)


@pytest.fixture
def kube(api: LoneApi, tmp_path: Path) -> Iterator[KubeGateway]:
    if os.geteuid() == 0:
        Path("/run/sshd").mkdir(exist_ok=True)  # sshd started by root insists on it
    namespace = f"gone-{os.getpid()}-{time.monotonic_ns()}"
    made = KubeGateway(tmp_path, LoneCluster(api, namespace), namespace, "kit:1")  # type: ignore[arg-type]
    with running(made):
        yield made


@pytest.fixture
def hands(kube: KubeGateway) -> Iterator[Hands]:
    made = Hands(kube)
    yield made
    made.close()


@pytest.mark.parametrize("how", ["killed", "hanging"])
def test_while_the_api_server_is_gone_the_doors_stay_open_and_then_all_works_by_itself(
    kube: KubeGateway, hands: Hands, api: LoneApi, how: str
) -> None:
    kube.app("app01")
    kube.app("app02")
    hands.soon("app01")
    with kube.inside("app01") as session:
        seen = len(kube.gateway.lines)
        (api.kill if how == "killed" else api.freeze)()
        gone_at = time.monotonic()
        try:
            kube.gateway.wait_for(
                lambda line: line["event"] == "controller leads no more", after=seen
            )
            entered = 0
            while time.monotonic() - gone_at < GONE_S or not entered:
                assert session.run("echo still") == "still"
                for access_method in ("connect", "jump"):
                    assert kube.must("app01", "echo in", access_method=access_method) == "in\n"
                entered += 1
            refused = kube.ssh("app02", access_method="jump")
            assert refused.returncode != 0
            assert "asking the cluster: " in refused.stderr
            troubles = [line for line in kube.gateway.lines[seen:] if line.get("level") in LOUD]
            print(f"{entered} rounds of logins; {len(troubles)} warnings and errors in the log")
        finally:
            back = len(kube.gateway.lines)
            (api.start if how == "killed" else api.thaw)()
        kube.gateway.wait_for(lambda line: line["event"] == "controller leads", after=back)
        before = kube.objects("leases", "stagedoor.dev/shell-of=app01")[0]["spec"]["renewTime"]
        hands.soon("app02")
        assert kube.must("app02", "echo new") == "new\n"
        until(
            lambda: (
                kube.objects("leases", "stagedoor.dev/shell-of=app01")[0]["spec"]["renewTime"]
                != before
            ),
            "the lease of who is inside is renewed again",
        )
        assert kube.pods("app01") == ["app01-ssh-0"]
        assert session.run("echo to the end") == "to the end"
        assert len(troubles) <= MAX_TROUBLES
