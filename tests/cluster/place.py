"""Where everything of a cluster is: addresses, names, and the files below its state folder."""

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path

HOST_ADDRESS = "10.99.0.1"
"""This machine, as the node and the pods see it: a server that listens here is reached by pods."""
NODE_ADDRESS = "10.99.0.2"
"""The node, as this machine sees it: API server, kubelet and NodePorts."""
POD_NETWORK = "10.244.0.0/24"
SERVICE_NETWORK = "10.96.0.0/16"
API_SERVICE = "10.96.0.1"
DNS_SERVICE = "10.96.0.10"
API_PORT = 6443
NODE_NAME = "stagedoor"
SECOND_TAINT = "stagedoor.test/second-node"
"""The taint of the second node, which pods of other tests do not tolerate."""
HOST_LINK = "stagedoor0"
"""This machine's end of the veth pair. There is one, so there is one cluster per machine."""
NODE_LINK = "host0"
POD_BRIDGE = "pods0"
SANDBOX_IMAGE = "stagedoor.test/sandbox:1"
COREDNS_IMAGE = "stagedoor.test/coredns:1"
ROOT = Path(__file__).resolve().parents[2]
"""The checkout."""


@dataclass(frozen=True)
class Place:
    """The state folder of one cluster (mode 0700: it holds the keys), and the files in it.

    With `node` "2" the place is that of the second node (`second.py`), where it has files of its own.
    """

    state: Path
    node: str = ""

    @property
    def node_name(self) -> str:
        return NODE_NAME + self.node

    @property
    def kubeconfig(self) -> Path:
        """For `kubectl` and tests: an administrator (system:masters)."""
        return self.secrets / "admin.kubeconfig"

    @property
    def secrets(self) -> Path:
        return self.state / "secrets"

    @property
    def config(self) -> Path:
        return self.state / "config"

    @property
    def log(self) -> Path:
        """A file for each program, `node.log` for the one that runs them."""
        return self.state / "log"

    @property
    def containerd_socket(self) -> Path:
        return self.state / f"containerd{self.node}.sock"

    @property
    def control_socket(self) -> Path:
        """Return the socket on which the node's first process takes orders."""
        return self.state / "node.sock"

    @property
    def cgroup(self) -> str:
        """The cgroup, in every hierarchy, below which the node's programs and pods are."""
        return "stagedoor-cluster-" + hashlib.sha256(os.fsencode(self.state)).hexdigest()[:8]

    @property
    def ready(self) -> Path:
        """There when all of the cluster answered; its text is the number of the first process."""
        return self.state / "ready"


def default_state() -> Path:
    """`$XDG_STATE_HOME/stagedoor/cluster`, in ~/.local/state without it."""
    return _xdg("XDG_STATE_HOME", ".local/state") / "cluster"


def cache() -> Path:
    """Programs and images that take long to make: `$XDG_CACHE_HOME/stagedoor/cluster`."""
    return _xdg("XDG_CACHE_HOME", ".cache") / "cluster"


def _xdg(variable: str, otherwise: str) -> Path:
    return Path(os.environ.get(variable) or Path.home() / otherwise) / "stagedoor"
