"""The cluster as tests have it. A conftest imports the fixtures that its tests use."""

import os
import subprocess
import uuid
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import pytest

from tests.cluster import control, images, lifecycle, load, programs
from tests.cluster.asking import Asker, administrator
from tests.cluster.place import HOST_ADDRESS, NODE_ADDRESS, Place, default_state
from tests.missing import missing


@dataclass(frozen=True)
class Cluster:
    """A running cluster. `kubeconfig` is the administrator's."""

    place: Place

    host_address = HOST_ADDRESS
    """Where pods reach a server of the tests."""
    node_address = NODE_ADDRESS
    """Where NodePorts are."""

    @property
    def kubeconfig(self) -> Path:
        return self.place.kubeconfig

    @cached_property
    def administrator(self) -> Asker:
        """Costs a hundredth of what `kubectl` does, which starts a process."""
        return administrator(self.kubeconfig)

    def kubectl(self, *arguments: str, text: str | None = None) -> str:
        """What kubectl prints, given `text` to read.

        Raises:
            subprocess.CalledProcessError: it failed; `stderr` says why.
        """
        command = [str(programs.program("kubectl")), f"--kubeconfig={self.kubeconfig}"]
        command.append(f"--cache-dir={self.place.state}/kubectl")
        done = subprocess.run(
            [*command, *arguments], input=text, capture_output=True, text=True, check=False
        )
        if done.returncode != 0:
            # The error that subprocess makes does not show what went wrong.
            error = subprocess.CalledProcessError(
                done.returncode, arguments, done.stdout, done.stderr
            )
            error.add_note(done.stderr)
            raise error
        return done.stdout

    def image(self, name: str) -> str:
        """Bring one of the test images (`images.names()`) onto the node; what a pod calls it."""
        load.load_once(self.place, images.build(name))
        return images.reference(name)

    def load_image(self, what: Path | str) -> list[str]:
        """Bring an archive, or an image of buildah's store, onto the node; the names in it."""
        if isinstance(what, Path):
            return load.load_file(self.place, what)
        return load.load_reference(self.place, what)

    def order(self, verb: str, program: str) -> None:
        """`stop` or `start` a program of the node. All tests share it: put it back."""
        control.order(self.place, f"{verb} {program}")


@pytest.fixture(scope="session")
def cluster() -> Cluster:
    """The machine's cluster: the one that runs ($STAGEDOOR_CLUSTER_STATE says where), or a new one.

    Of several workers the first starts it and the others wait. It is left running for the next
    tests; `script/test` takes down what it started, by hand it is `script/cluster down`.
    """
    place = Place(Path(os.environ.get("STAGEDOOR_CLUSTER_STATE") or default_state()))
    if not lifecycle.is_ready(place):
        reason = lifecycle.why_not()
        if reason is None and programs.missing():
            reason = "its programs are not built, which takes minutes: script/cluster build"
        if reason is not None:
            missing(reason)
        lifecycle.up(place)
    return Cluster(place)


@pytest.fixture
def fresh_namespace(cluster: Cluster) -> Iterator[Callable[..., str]]:
    """Makes namespaces, with labels if wanted; they are deleted after the test."""
    made: list[str] = []

    def make(labels: Mapping[str, str] | None = None) -> str:
        name = f"test-{uuid.uuid4().hex[:10]}"
        made.append(name)
        cluster.administrator.make_namespace(name, labels)
        return name

    yield make
    cluster.administrator.forget("Namespace", *made)
