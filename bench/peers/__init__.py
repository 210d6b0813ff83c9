"""The peers: programs between a load and its upstream, and the direct connection without any.

Each module starts one program on free ports of loopback, with its files in a folder of the run. If
possible, it has one thread (or one worker), asks for a name and password, and logs each tunnel once.
Nothing here loads or measures anything.
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
    """A program is missing or does not start; `str(error)` says which, and what to do."""


@dataclass(frozen=True)
class Door:
    """The address by which one upstream is reached.

    `target` is the host and port for CONNECT; None if plain TCP leads there. `secret` replaces the password.
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
    """The parameters of a program's start.

    `upstreams` has the port on 127.0.0.1 of each named upstream; `tunnels` is the number of tunnels
    that must be possible at once.
    """

    folder: Path
    upstreams: Mapping[str, int]
    tunnels: int = 256


@dataclass
class Peer:
    """A program that runs, or the direct connection (`process` is None)."""

    name: str
    doors: Mapping[str, Door]
    process: Process | None = None
    version: str = ""
    logs: str = ""

    @property
    def pid(self) -> int | None:
        """The program's pid."""
        return self.process.pid if self.process else None

    def stop(self) -> None:
        """Stop the program, if there is one."""
        if self.process:
            self.process.stop()


def direct(ground: Ground) -> Peer:
    """Return a peer without a program, which shows the limit of the load itself."""
    doors = {name: Door(("127.0.0.1", port)) for name, port in ground.upstreams.items()}
    return Peer("direct", doors)
