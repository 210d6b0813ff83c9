"""The order in which a cluster comes up, and what each step waits for."""

import json
import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

from tests.cluster import cgroups, control, images, link, load, needs, processes, programs, wait
from tests.cluster.certificates import write_secrets
from tests.cluster.commands import FIREWALL, REST, STORE
from tests.cluster.fault import ClusterError
from tests.cluster.place import ROOT, Place

START_TIMEOUT_S = 120.0
"""For each step of the start, on a slow and busy machine. A step takes a second or two."""

HOPELESS = 5
"""A program that ended so often by itself will not come up. One may do so while another is missing."""

HANDED_ON = ("XDG_", "GOGC", "GOMEMLIMIT")
"""The variables that the node's programs have of ours begin so. By the last two Go collects garbage."""

_begun: list["subprocess.Popen[bytes]"] = []
"""The node outlives whoever started it: a dropped Popen would warn of that, in the middle of a test."""


def start(place: Place) -> None:
    """Start what does not run yet, in order, telling each step on stderr.

    Raises:
        ClusterError: a step did not come to its end; the text says which.
    """
    place.state.mkdir(mode=0o700, parents=True, exist_ok=True)
    place.log.mkdir(exist_ok=True)
    write_secrets(place)
    if processes.first_process(place.state) is None:
        _clear(place)
        _start_node(place)
    wait.until("the node's first process", lambda: _answers(place), START_TIMEOUT_S)
    steps = _Steps(place)
    for name in STORE:
        control.order(place, f"start {name}")
    steps.wait("containerd", lambda: load.answers(place))
    failures: list[BaseException] = []
    loading = threading.Thread(target=_load_own_images, args=(place, failures))
    loading.start()
    api = wait.Api(place)
    try:
        steps.wait("API server", api.ready)
    finally:
        loading.join()
    if failures:
        raise ClusterError(f"the node's own images: {failures[0]}")
    for name in REST:
        control.order(place, f"start {name}")
    _apply(place, Path(__file__).with_name("dns.yaml"))
    steps.wait("node, registered", api.node_there)
    for name in FIREWALL:
        control.order(place, f"start {name}")
    steps.wait("node, Ready", api.node_ready)
    steps.wait("CoreDNS", lambda: api.dns_pod() is not None)
    steps.wait("names and Services", wait.dns_answers)
    address = api.dns_pod()
    assert address is not None, "it was there a moment ago"
    steps.wait("NetworkPolicy", lambda: wait.firewall_guards(steps.first, address))
    place.ready.write_text(str(steps.first))


class _Steps:
    """Waits for one thing after the other, as long as the node lives, and reports the time of each."""

    def __init__(self, place: Place) -> None:
        first = processes.first_process(place.state)
        if first is None:
            raise ClusterError("the node ended as soon as it began")
        self.first = first
        self._place = place
        self._began = time.monotonic()

    def wait(self, what: str, answered: Callable[[], bool]) -> None:
        """Raises ClusterError if it does not happen, or cannot any more."""

        def answered_by_the_living() -> bool:
            if not Path(f"/proc/{self.first}").exists():
                raise ClusterError(f"the node ended while {what} was waited for")
            if answered():
                return True
            for name, times in json.loads(control.order(self._place, "status"))["ended"].items():
                if times >= HOPELESS:
                    raise ClusterError(f"{name} ended {times} times while {what} was waited for")
            return False

        wait.until(what, answered_by_the_living, START_TIMEOUT_S)
        after = time.monotonic() - self._began
        print(f"cluster: {what} after {after:.1f} s", file=sys.stderr, flush=True)


def _clear(place: Place) -> None:
    """Remove the remains of an ended cluster: a node starts with an empty store."""
    link.cut()
    cgroups.remove(place)
    place.ready.unlink(missing_ok=True)
    second = ("containerd2", "pods2")
    for name in ("etcd", "kubelet", "containerd", "cni", "pods", "loaded", *second):
        shutil.rmtree(place.state / name, ignore_errors=True)


def _start_node(place: Place) -> None:
    needs.load_modules()
    log = place.log / "node.log"
    with log.open("a") as output:
        began = subprocess.Popen(
            [
                "unshare",
                "--mount",
                "--net",
                "--pid",
                "--fork",
                "--kill-child",
                "--mount-proc",
                sys.executable,
                "-P",
                "-m",
                processes.MODULE,
                "--state",
                str(place.state),
            ],
            stdin=subprocess.PIPE,
            stdout=output,
            stderr=output,
            cwd="/",
            env=make_environment(os.environ),
            start_new_session=True,
        )
    _begun.append(began)
    assert began.stdin is not None
    with began.stdin as go:
        # Seen once is enough: while it turns from unshare into Python it has no arguments to find.
        begun = partial(processes.first_process, place.state)
        link.lay(wait.until("the node's namespaces", begun, START_TIMEOUT_S))
        go.write(b"go\n")


def make_environment(ours: Mapping[str, str]) -> dict[str, str]:
    """Return the environment of the node's programs, where `ours` is that of whoever starts it."""
    return {
        "PYTHONPATH": str(ROOT),
        "PATH": ours["PATH"],
        "HOME": str(Path.home()),
        "PYTHONDONTWRITEBYTECODE": "1",
        **{name: value for name, value in ours.items() if name.startswith(HANDED_ON)},
    }


def _answers(place: Place) -> bool:
    try:
        control.order(place, "status")
    except ClusterError:
        return False
    return True


def _load_own_images(place: Place, failures: list[BaseException]) -> None:
    try:
        for name in ("sandbox", "coredns"):
            load.load_once(place, images.build(name))
    except BaseException as error:  # reported by the thread that waits for this one
        failures.append(error)


def _apply(place: Place, manifest: Path) -> None:
    done = subprocess.run(
        [
            str(programs.program("kubectl")),
            f"--kubeconfig={place.kubeconfig}",
            f"--cache-dir={place.state}/kubectl",
            "apply",
            "-f",
            str(manifest),
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        raise ClusterError(f"kubectl apply -f {manifest.name}: {done.stderr.strip()}")


def last_words(place: Place) -> str:
    """The ends of all the node's logs, for whoever has to find out."""
    parts = []
    for log in sorted(place.log.glob("*.log")):
        tail = log.read_text(errors="replace").splitlines()[-5:]
        parts.append(f"--- {log}\n" + "\n".join(tail))
    return "\n".join(parts)
