"""A load of many idle tunnels, in as many processes as the limit of open files requires."""

import contextlib
import multiprocessing
import signal
from collections.abc import Iterator, Sequence
from multiprocessing.connection import Connection

from load.greeting import HOLD, greet
from load.tunnel import LoadError, expect_mark, open_tunnel
from peers import Door

OPEN_TIMEOUT_S = 300.0
SPARE_FILES = 400  # open files of a process for other things than tunnels


def _hold(shares: Sequence[tuple[Door, int]], report: Connection) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent ends this process
    socks = []
    try:
        for door, count in shares:
            for _ in range(count):
                sock = open_tunnel(door)
                sock.sendall(greet(HOLD))
                expect_mark(sock)
                socks.append(sock)
    except (LoadError, OSError) as error:
        report.send(f"tunnel {len(socks) + 1} failed: {error}")
        return
    report.send("")
    with contextlib.suppress(EOFError, OSError):
        report.recv()  # until the parent closes the pipe


@contextlib.contextmanager
def idle_tunnels(shares: Sequence[tuple[Door, int]], open_files: int) -> Iterator[None]:
    """Hold tunnels open, each after a few bytes. `shares` are doors with their numbers of tunnels.

    Raises LoadError.
    """
    fork = multiprocessing.get_context("fork")
    most = open_files - SPARE_FILES
    pieces = [
        (door, min(most, count - begun))
        for door, count in shares
        for begun in range(0, count, most)
    ]
    holders = []
    try:
        for piece in pieces:
            ours, theirs = fork.Pipe()
            process = fork.Process(target=_hold, args=([piece], theirs), daemon=True)
            process.start()
            theirs.close()
            holders.append((process, ours))
        for _, ours in holders:
            if not ours.poll(OPEN_TIMEOUT_S):
                raise LoadError(f"the tunnels were not open after {OPEN_TIMEOUT_S:.0f} s")
            try:
                failure = ours.recv()
            except EOFError:
                failure = "the process that holds them died"
            if failure:
                raise LoadError(failure)
        yield
    finally:
        for process, ours in holders:
            ours.close()
            process.terminate()
            process.join()
