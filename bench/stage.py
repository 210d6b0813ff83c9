"""What every benchmark is given: a folder, the peers that are there, and where to put what it finds."""

import contextlib
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from load.tunnel import LoadError
from measure import cpu_s, tree
from peers import Ground, MissingError, Peer, direct, haproxy, squid, stagedoor, tinyproxy
from peers.process import StartError
from series import Result

Start = Callable[[Ground], Peer]
STARTS: Mapping[str, Start] = {
    "direct": direct,
    "haproxy": haproxy.start,
    "haproxy-1m": haproxy.start_1m,
    "haproxy-auto": haproxy.start_auto,
    "squid": squid.start,
    "tinyproxy": tinyproxy.start,
    "stagedoor": stagedoor.start,
}
USUAL = tuple(name for name in STARTS if name != "haproxy-auto")


@dataclass
class Stage:
    """`wanted` names the peers to measure; `open_files` is each process's limit."""

    folder: Path
    result: Result
    quick: bool
    wanted: Sequence[str]
    open_files: int
    failed: set[tuple[str, str]] = field(default_factory=set)

    def tell(self, text: str) -> None:
        """Progress, for the person who waits."""
        print(text, file=sys.stderr, flush=True)

    def note(self, text: str) -> None:
        """What the reader of the tables must know; each once."""
        if text not in self.result.notes:
            self.result.notes.append(text)
            self.tell(f"  note: {text}")

    @contextlib.contextmanager
    def peers(
        self, upstreams: Mapping[str, int], *, names: Sequence[str] = ()
    ) -> Iterator[list[Peer]]:
        """All wanted peers (or those of `names` among them) side by side; the missing are noted."""
        with contextlib.ExitStack() as stack:
            found = []
            for name in self.wanted:
                if not names or name in names:
                    peer = self.start(stack, name, upstreams)
                    if peer is not None:
                        found.append(peer)
            yield found

    def start(
        self,
        stack: contextlib.ExitStack,
        name: str,
        upstreams: Mapping[str, int],
        tunnels: int = 256,
    ) -> Peer | None:
        """One peer, stopped when `stack` closes; None, with a note, if it is missing."""
        ground = Ground(self.new_folder(name), upstreams, tunnels)
        try:
            peer = STARTS[name](ground)
        except (MissingError, StartError) as error:
            self.note(f"{name} is left out: {error}")
            return None
        stack.callback(peer.stop)
        if peer.version:
            self.result.machine.setdefault(f"peer {name}", f"{peer.version}; logs {peer.logs}")
        return peer

    def new_folder(self, name: str) -> Path:
        folder = Path(tempfile.mkdtemp(prefix=f"{name}-", dir=self.folder))
        folder.chmod(0o755)  # squid goes on as another user
        return folder

    @contextlib.contextmanager
    def tolerating(self, benchmark: str, subject: str) -> Iterator[None]:
        """A subject that fails is noted, and `has_failed` from then on."""
        try:
            yield
        except LoadError as error:
            self.failed.add((benchmark, subject))
            self.note(f"{benchmark}: {subject} failed and is left out: {error}")

    def has_failed(self, benchmark: str, subject: str) -> bool:
        return (benchmark, subject) in self.failed


def peer_cpu_s(peer: Peer) -> float:
    """CPU seconds that the peer's processes have used so far; 0 for the plain way."""
    return cpu_s(tree(peer.pid)) if peer.pid is not None else 0.0
