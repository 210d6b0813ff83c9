"""The connections to the same sshd that the ssh benchmarks compare."""

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from peers import Door, MissingError, sshd
from peers.process import StartError
from stage import Stage
from ways import WAYS, Way

APP = "app01"


@dataclass
class Ways:
    """The gateway, the sshd behind it, and the ways to it that are available.

    All ways but `direct` go to the target of `door`; `direct` goes to the sshd's own port.
    """

    gateway: str
    door: Door
    server: sshd.Sshd
    ways: Sequence[Way]

    def arguments(self, way: Way) -> list[str]:
        """Return the arguments of ssh or scp before the host: settings, way and port."""
        port = self.server.port if way.name == "direct" else self._target[1]
        return ["-F", str(self.server.client_settings), *way.options, "-o", f"Port={port}"]

    def host(self, way: Way) -> str:
        """Return the host to give to ssh."""
        return "127.0.0.1" if way.name == "direct" else self._target[0]

    @property
    def _target(self) -> tuple[str, int]:
        assert self.door.target is not None, "a gateway's door names a target"
        return self.door.target


@contextlib.contextmanager
def ssh_ways(stage: Stage, names: Sequence[str]) -> Iterator[Ways | None]:
    """Yield `direct` and the ways of `names` that are installed, or None if ssh or a gateway is missing.

    They go through our gateway; without it they go through squid, with a note.
    """
    with contextlib.ExitStack() as stack:
        folder = stage.new_folder("ssh")
        try:
            server = sshd.start(folder)
        except (MissingError, StartError) as error:
            stage.note(f"ssh is left out: {error}")
            yield None
            return
        stack.callback(server.process.stop)
        peer = None
        for name in ("stagedoor", "squid"):
            if peer is None and name in stage.wanted:
                peer = stage.start(stack, name, {APP: server.port})
        if peer is None:
            stage.note("ssh is left out: it needs stagedoor or squid as the gateway")
            yield None
            return
        if peer.name != "stagedoor":
            stage.note(f"ssh and scp went through {peer.name}, since stagedoor was not there")
        door = peer.doors[APP]
        ways = [Way("direct", ())]
        for name in names:
            try:
                ways.append(WAYS[name](door, folder))
            except MissingError as error:
                stage.note(f"{name} is left out: {error}")
        yield Ways(peer.name, door, server, ways)
