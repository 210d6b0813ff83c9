"""Traefik on the test cluster: a real Ingress controller before an installed Stagedoor."""

import http.client
import socket
import ssl
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from string import Template
from typing import Any

from stagedoor.net.tls import make_client_context
from tests.cluster import archive, load, trees
from tests.cluster.archive import Files, Start
from tests.cluster.turn import turn
from tests.fixtures.cluster import Cluster
from tests.web.mover import Mover
from tests.web.proxies import need_traefik

IMAGE = "stagedoor.test/traefik:1"
TOO_LONG_S = 5
"""Its bound on a request to come whole: 60 s by default. Here less, to be waited for."""
HTTP, HTTPS = 8000, 8443
_MANIFESTS = Path(__file__).with_name("traefik.yaml")


@dataclass(frozen=True)
class Front:
    """It runs, in the namespace `own`, which is the name of its class as well."""

    cluster: Cluster
    own: str

    @property
    def address(self) -> str:
        """Its pod's."""
        [pod] = self.cluster.administrator.listed(self.own, "pods", "app=traefik")
        return str(pod["status"]["podIP"])

    def log(self) -> str:
        return self.cluster.kubectl("-n", self.own, "logs", "deploy/traefik", "--tail=-1")


@contextmanager
def front(cluster: Cluster, own: str, watched: str) -> Iterator[Front]:
    """One for the Ingresses of the namespace `watched`. Both namespaces are there already."""
    _bring(cluster)
    names = {"own": own, "watched": watched, "image": IMAGE, "timeout": f"{TOO_LONG_S}s"}
    text = Template(_MANIFESTS.read_text()).substitute(names)
    try:
        cluster.kubectl("apply", "-f", "-", text=text)
        cluster.kubectl("-n", own, "rollout", "status", "deployment/traefik", "--timeout=240s")
        yield Front(cluster, own)
    finally:
        cluster.kubectl("delete", "--ignore-not-found", "--wait=false", "-f", "-", text=text)


def _bring(cluster: Cluster) -> None:
    """Its image onto the node: the program alone."""
    program = need_traefik()
    target = trees.folder() / f"traefik-{program.parent.name}.tar"
    with turn(trees.folder()):
        if not target.exists():
            with tempfile.TemporaryDirectory(dir=trees.folder()) as beside:
                files = Files({"/traefik": program}, open_folders=("/tmp",))
                layer = archive.layer(files, Path(beside) / "layer")
                archive.image(IMAGE, [layer], Start([], entrypoint=["/traefik"]), target)
    load.load_once(cluster.place, target)


class _Line(http.client.HTTPSConnection):
    """By TLS to `door`, for whatever name the other end has to have a certificate."""

    def __init__(self, name: str, door: tuple[str, int], context: ssl.SSLContext) -> None:
        super().__init__(name, timeout=60, context=context)
        self._door, self._trusted = door, context

    def connect(self) -> None:
        plain = socket.create_connection(self._door, timeout=self.timeout)
        self.sock = self._trusted.wrap_socket(plain, server_hostname=self.host)


class Guest(Mover):
    """A browser's side that comes in by it, and minds certificates."""

    def __init__(self, door: tuple[str, int], ca: Path, app: str, **place: Any) -> None:
        self.door = door
        self.context = make_client_context(ca)
        super().__init__(door[1], app, **place)

    def connect(self, port: int | None = None) -> http.client.HTTPSConnection:
        return _Line(self.host, self.door, self.context)
