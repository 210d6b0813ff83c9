"""What is measured: programs that stand between a load and its upstream, and the plain way past them.

Each module starts one program on free ports of loopback, with its files in a folder of the run, as
one thread (or one worker), asking for a name and password where it can, and logging each tunnel
once. Nothing here loads or measures anything.
"""

import base64
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from peers.process import Process

NAME = "bench"
PASSWORD = secrets.token_urlsafe(18)


class MissingError(Exception):
    """A program is not there or would not start; `str(error)` says which and what to do."""


@dataclass(frozen=True)
class Door:
    """Where to knock to reach one upstream.

    `target` is what to ask CONNECT for, as host and port; None where plain TCP leads there. `secret` is
    in the password's place.
    """

    address: tuple[str, int]
    target: tuple[str, int] | None = None
    secret: str = PASSWORD

    @property
    def request(self) -> bytes:
        """The CONNECT request (RFC 9110 §9.3.6) with Basic credentials; empty for plain TCP."""
        if self.target is None:
            return b""
        authority = f"{self.target[0]}:{self.target[1]}"
        basic = base64.b64encode(f"{NAME}:{self.secret}".encode()).decode()
        return (
            f"CONNECT {authority} HTTP/1.1\r\nHost: {authority}\r\n"
            f"Proxy-Authorization: Basic {basic}\r\n\r\n"
        ).encode()


@dataclass(frozen=True)
class Ground:
    """What a program is started with.

    `upstreams` gives the port on 127.0.0.1 of each named upstream; `tunnels` is how many tunnels
    at once must fit.
    """

    folder: Path
    upstreams: Mapping[str, int]
    tunnels: int = 256


@dataclass
class Peer:
    """A program that runs, or the plain way (`process` is None)."""

    name: str
    doors: Mapping[str, Door]
    process: Process | None = None
    version: str = ""
    logs: str = ""

    @property
    def pid(self) -> int | None:
        return self.process.pid if self.process else None

    def stop(self) -> None:
        if self.process:
            self.process.stop()


def direct(ground: Ground) -> Peer:
    """No program between: the ceiling of the load itself."""
    doors = {name: Door(("127.0.0.1", port)) for name, port in ground.upstreams.items()}
    return Peer("direct", doors)
