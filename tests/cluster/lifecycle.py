"""Bring the cluster up, take it down, and say how it is."""

import json
import os
import shutil
from pathlib import Path

from tests.cluster import cgroups, control, link, needs, processes, programs, start
from tests.cluster.commands import ALL
from tests.cluster.fault import ClusterError
from tests.cluster.place import Place
from tests.cluster.turn import turn

_MACHINE = Path("/run")
"""Starts and ends take turns at this folder."""
LONGEST_STATE_BYTES = 104 - len("/containerd2.sock.ttrpc")
"""What containerd takes for the path of a socket, and the longest that it has in the state folder."""


def why_not() -> str | None:
    """Why the cluster cannot run on this machine, and what would help; None if it can."""
    try:
        needs.check()
    except ClusterError as error:
        return str(error)
    return None


def up(place: Place) -> None:
    """Start the cluster, or what of it is missing, and return when all of it answers.

    Raises:
        ClusterError: it cannot run here, another one does, or a part did not come up.
    """
    needs.check()
    if len(os.fsencode(place.state)) > LONGEST_STATE_BYTES:
        raise ClusterError(f"{place.state} is too long a path for sockets; give a shorter --state")
    programs.build()
    with turn(_MACHINE):
        _no_other(place)
        if is_ready(place):
            return
        try:
            start.start(place)
        except ClusterError as error:
            raise ClusterError(
                f"{error}; script/cluster down --state {place.state} removes what is there\n"
                f"{start.last_words(place)}"
            ) from error


def down(place: Place) -> None:
    """End the cluster and remove everything of it, whatever state it is in.

    Raises:
        ClusterError: something does not let itself be removed.
    """
    if reason := needs.why_not():
        raise ClusterError(reason)
    with turn(_MACHINE):
        running = processes.find()
        try:
            processes.end(place.state)
            cgroups.remove(place)
            if not set(running) - {place.state}:
                link.cut()
        except OSError as error:
            raise ClusterError(f"cannot remove all of the cluster: {error}") from error
        shutil.rmtree(place.state, ignore_errors=True)


def is_ready(place: Place) -> bool:
    """Return whether all of the cluster has answered once, and its node still runs."""
    first = processes.first_process(place.state)
    try:
        return first is not None and place.ready.read_text() == str(first)
    except FileNotFoundError:
        return False


def status(place: Place) -> str:
    """One line for each program, and whether the cluster is ready."""
    first = processes.first_process(place.state)
    if first is None:
        others = ", ".join(str(process) for process in processes.find())
        return "down" + (f"; another cluster runs in {others}" if others else "")
    told = json.loads(control.order(place, "status"))
    lines = [f"{'ready' if is_ready(place) else 'starting'}: process {first}, {place.state}"]
    for name in ALL:
        own = told["running"].get(name)
        lines.append(f"{name}: {'stopped' if own is None else f'process {own} of the node'}")
    return "\n".join(lines)


def _no_other(place: Place) -> None:
    others = [state for state in processes.find() if state != place.state]
    if others:
        raise ClusterError(
            f"a cluster runs already on this machine, in {others[0]}, and there can be one. "
            f"Use it: export STAGEDOOR_CLUSTER_STATE={others[0]}. "
            f"Or end it: script/cluster down --state {others[0]}"
        )
