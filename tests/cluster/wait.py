"""Wait for a part of the cluster to answer, with a bound, and say what was waited for."""

import json
import socket
import ssl
import struct
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from typing import Any, TypeVar

from tests.cluster.fault import ClusterError
from tests.cluster.place import API_PORT, DNS_SERVICE, NODE_ADDRESS, NODE_NAME, Place

PERIOD_S = 0.05

Answer = TypeVar("Answer")


def until(what: str, answered: Callable[[], Answer | None], within_s: float) -> Answer:
    """Ask again and again until `answered` says something true, and return that.

    Raises:
        ClusterError: it did not within `within_s` seconds.
    """
    end = time.monotonic() + within_s
    while not (answer := answered()):
        if time.monotonic() > end:
            raise ClusterError(f"{what}: not within {within_s:.0f} s")
        time.sleep(PERIOD_S)
    return answer


class Api:
    """The little of the API that the start needs, without a client library."""

    def __init__(self, place: Place) -> None:
        config = json.loads(place.kubeconfig.read_text(encoding="utf-8"))
        self._token = config["users"][0]["user"]["token"]
        self._context = ssl.create_default_context(cafile=place.secrets / "ca.crt")
        # Its CA has no key identifiers, for which Python alone asks, since 3.13.
        self._context.verify_flags &= ~ssl.VERIFY_X509_STRICT

    def get(self, path: str) -> str | None:
        """The text at `path`; None while there is none."""
        request = urllib.request.Request(f"https://{NODE_ADDRESS}:{API_PORT}{path}")
        request.add_header("Authorization", f"Bearer {self._token}")
        try:
            with urllib.request.urlopen(request, timeout=2, context=self._context) as answer:
                return str(answer.read().decode())
        except (OSError, urllib.error.URLError):
            return None

    def ready(self) -> bool:
        """Exactly `ok`: before that the roles that the programs need are not there."""
        return self.get("/readyz") == "ok"

    def node_there(self) -> bool:
        """Return whether the kubelet has registered its node."""
        return self.get(f"/api/v1/nodes/{NODE_NAME}") is not None

    def node_ready(self, name: str = NODE_NAME) -> bool:
        return _condition(self.get(f"/api/v1/nodes/{name}"), "Ready")

    def dns_pod(self) -> str | None:
        """The address of the ready CoreDNS pod; None while there is none."""
        path = "/api/v1/namespaces/kube-system/pods?labelSelector=k8s-app%3Dkube-dns"
        listed: dict[str, Any] = json.loads(self.get(path) or "{}")
        for pod in listed.get("items", []):
            if _condition(json.dumps(pod), "Ready"):
                return str(pod["status"]["podIP"])
        return None


def _condition(text: str | None, kind: str) -> bool:
    thing: dict[str, Any] = json.loads(text or "{}")
    conditions = thing.get("status", {}).get("conditions", [])
    return any(
        condition["type"] == kind and condition["status"] == "True" for condition in conditions
    )


def dns_answers(name: str = "kubernetes.default.svc.cluster.local") -> bool:
    """Whether the Service of CoreDNS resolves `name` (a query as in RFC 1035, section 4.1)."""
    question = b"".join(bytes([len(part)]) + part.encode() for part in name.split(".")) + b"\0"
    query = struct.pack(">6H", 7, 0x0100, 1, 0, 0, 0) + question + struct.pack(">2H", 1, 1)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asked:
        asked.settimeout(0.5)
        try:
            asked.sendto(query, (DNS_SERVICE, 53))
            answer = asked.recv(512)
        except OSError:
            return False
    identity, flags, _, answers = struct.unpack(">4H", answer[:8])
    return bool(identity == 7 and flags & 0xF == 0 and answers > 0)


def firewall_guards(first_process: int, address: str) -> bool:
    """Return whether kube-router has a chain for the pod with this address."""
    listed = subprocess.run(
        ["nsenter", f"--net=/proc/{first_process}/ns/net", "iptables-save", "-t", "filter"],
        capture_output=True,
        text=True,
        check=False,
    )
    jumps = [line for line in listed.stdout.splitlines() if f" {address}/32 " in f"{line} "]
    return any("KUBE-POD-FW" in line for line in jumps)
