"""The real `stagedoor controller`, which gets SIGKILL in the middle of what it does: nothing is left."""

import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from stagedoor.serve.prepare import prepare
from stagedoor.settings.file import load_settings
from stagedoor.shells.kubernetes.derive import objects
from stagedoor.shells.kubernetes.names import IDLE_SINCE
from stagedoor.wire.rfc3339 import show_time
from tests.cluster.asking import reference
from tests.fixtures.cluster import until
from tests.fixtures.gateway import Gateway
from tests.kube.api.hands import LoneCluster
from tests.kube.api.lone import LoneApi
from tests.kube.api.reaper import Reaper
from tests.kube.apps import deployment
from tests.waiting import BOUND_S

pytestmark = pytest.mark.timeout(300)  # the first of a process starts an API server

HOUR_S, DAY_S = 3600.0, 86400.0
KINDS = {"Deployment", "Service", "ConfigMap", "Secret", "Lease"}
STOPPED = (KINDS - {"Deployment"}) | {"stopped"}
SHELL = "app01-ssh"


class Controller(Gateway):
    """`stagedoor controller`."""

    program = ("controller",)

    def lead(self) -> "Controller":
        self.launch()
        self.wait_for(lambda line: line["event"] == "controller leads")
        return self

    @property
    def pid(self) -> int:
        assert self.process is not None
        return self.process.pid


class LoneApp:
    """One app on a lone API server, and the controller of now."""

    def __init__(self, api: LoneApi, folder: Path) -> None:
        self.namespace = f"killed-{os.getpid()}-{time.monotonic_ns()}"
        cluster = LoneCluster(api, self.namespace)
        self.api = cluster.administrator
        self.reaper = Reaper(api)
        self._folder = folder
        self._kubeconfig = self.reaper.kubeconfig(cluster.kubeconfig, folder / "through")
        self.api.has(deployment(self.namespace))
        self.app = self.api.named("Deployment", self.namespace, "app01")
        self.controllers: list[Controller] = []

    def close(self) -> None:
        for controller in self.controllers:
            controller.stop()
        self.reaper.close()

    def next_controller(self) -> Controller:
        folder = self._folder / f"controller-{len(self.controllers)}"
        folder.mkdir()
        made = Controller(
            folder,
            f'[kubernetes]\nnamespaces = {{ "" = "{self.namespace}" }}\n'
            f'kubeconfig = "{self._kubeconfig}"\n'
            f'[controller]\nkit_image = "kit:1"\nnamespace = "{self.namespace}"\n',
        )
        prepare(load_settings(made.file))
        self.controllers.append(made)
        return made.lead()

    def patch(self, kind: str, patch: Any) -> None:
        patched = self.api.merge(reference(kind, SHELL, self.namespace), dict(patch))
        assert patched.ok, patched.message

    def here(self) -> set[str]:
        """The kinds of which the shell has an object; a Deployment of no replicas is `stopped`."""
        kinds = "deployments,services,configmaps,secrets,leases"
        selector = "stagedoor.dev/shell-of=app01"
        resources = self.api.listed(self.namespace, kinds, selector)
        return {
            "stopped"
            if resource["kind"] == "Deployment" and resource["spec"]["replicas"] == 0
            else str(resource["kind"])
            for resource in resources
        }

    # What makes a controller start, stop, and delete a shell.

    def request_shell(self) -> None:
        self.api.has(dict(objects.build_lease(self.app, "gateway", time.time())))

    def grow_idle(self) -> None:
        self.patch("Lease", objects.make_renewal("gateway", time.time() - 2 * HOUR_S))

    def grow_old(self) -> None:
        since = show_time(time.time() - 3 * DAY_S)
        self.patch("Deployment", {"metadata": {"annotations": {IDLE_SINCE: since}}})

    def until(self, wanted: set[str]) -> None:
        until(lambda: self.here() == wanted, f"there is {wanted or 'nothing'}")


@pytest.fixture
def lone_app(api: LoneApi, tmp_path: Path) -> Iterator[LoneApp]:
    made = LoneApp(api, tmp_path)
    yield made
    made.close()


@dataclass(frozen=True)
class Death:
    """At the `last`-th write of what `deed` asks for: before the API has it, or `late` after."""

    deed: Callable[[LoneApp], None]
    wanted: set[str]
    last: int
    late: bool


def test_a_controller_killed_at_a_request_leaves_what_the_next_one_ends(lone_app: LoneApp) -> None:
    """At each request, in memory: `tests/controller/test_killed.py`. Here four processes start."""
    leader = lone_app.next_controller()
    for death in (
        Death(LoneApp.request_shell, KINDS, 3, late=False),
        Death(LoneApp.grow_idle, STOPPED, 1, late=False),
        Death(LoneApp.grow_old, set(), 3, late=True),
    ):
        lone_app.reaper.arm(leader.pid, death.last, late=death.late)
        death.deed(lone_app)
        assert lone_app.reaper.killed.wait(BOUND_S), (
            f"{death.wanted or 'nothing'} took fewer requests"
        )
        print(f"killed at request {death.last}: {lone_app.reaper.at}")
        assert lone_app.here() != death.wanted
        # As if the dead one's lease had run out: fifteen seconds are the election's own tests'.
        gone = lone_app.api.delete(reference("Lease", "stagedoor-controller", lone_app.namespace))
        assert gone.ok, gone.message
        leader = lone_app.next_controller()
        lone_app.until(death.wanted)
