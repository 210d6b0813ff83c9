"""The stage that every benchmark gets: a folder, the available peers, and the result to fill."""

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
    """The stage of a run. `wanted` names the peers to measure; `open_files` is each process's limit."""

    folder: Path
    result: Result
    quick: bool
    wanted: Sequence[str]
    open_files: int
    failed: set[tuple[str, str]] = field(default_factory=set)

    def report(self, text: str) -> None:
        """Print progress on stderr."""
        print(text, file=sys.stderr, flush=True)

    def note(self, text: str) -> None:
        """Add a note for the reader of the tables, each text once."""
        if text not in self.result.notes:
            self.result.notes.append(text)
            self.report(f"  note: {text}")

    @contextlib.contextmanager
    def peers(
        self, upstreams: Mapping[str, int], *, names: Sequence[str] = ()
    ) -> Iterator[list[Peer]]:
        """Run all wanted peers, or those of `names` among them, side by side; note the missing ones."""
        with contextlib.ExitStack() as stack:
            peers = []
            for name in self.wanted:
                if not names or name in names:
                    peer = self.start(stack, name, upstreams)
                    if peer is not None:
                        peers.append(peer)
            yield peers

    def start(
        self,
        stack: contextlib.ExitStack,
        name: str,
        upstreams: Mapping[str, int],
        tunnels: int = 256,
    ) -> Peer | None:
        """Start one peer, which stops when `stack` closes; return None, with a note, if it is missing."""
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
        """Make a folder for this run, which other users can read."""
        folder = Path(tempfile.mkdtemp(prefix=f"{name}-", dir=self.folder))
        folder.chmod(0o755)  # squid changes to another user
        return folder

    @contextlib.contextmanager
    def tolerating(self, benchmark: str, subject: str) -> Iterator[None]:
        """Catch a LoadError of the block: note that the subject failed, as `has_failed` then reports."""
        try:
            yield
        except LoadError as error:
            self.failed.add((benchmark, subject))
            self.note(f"{benchmark}: {subject} failed and is left out: {error}")

    def has_failed(self, benchmark: str, subject: str) -> bool:
        """Return True if the subject has failed in the benchmark."""
        return (benchmark, subject) in self.failed


def peer_cpu_s(peer: Peer) -> float:
    """Return the CPU seconds of the peer's processes so far; 0 for the direct connection."""
    return cpu_s(tree(peer.pid)) if peer.pid is not None else 0.0
