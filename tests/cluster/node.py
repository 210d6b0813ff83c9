"""The node's first process: it sets the node up, runs its programs, and takes orders.

Started by `lifecycle.py` as process 1 of new mount, network and PID namespaces; when it ends, all
of the node ends. Orders come over a socket, one per connection: `start NAME`, `stop NAME`,
`status`; the answer is `ok …` or `error …`. A program that ends by itself is started again.
"""

import contextlib
import json
import os
import selectors
import signal
import socket
import sys
import time
from pathlib import Path

from tests.cluster import cgroups, inside
from tests.cluster.commands import ALL, command
from tests.cluster.place import Place

RESTART_DELAY_S = 1.0
"""How long a program that ended by itself stays away: time to read why, and no busy loop."""


class Node:
    """The programs that run and those that should."""

    def __init__(self, place: Place) -> None:
        self.place = place
        self.running: dict[str, int] = {}
        self.due: dict[str, float] = {}
        self.ended: dict[str, int] = {}
        """How often each ended by itself since it was last ordered to start."""

    def order(self, line: str) -> str:
        """Carry out one order and say how it went."""
        verb, _, name = line.strip().partition(" ")
        if verb == "status":
            return "ok " + json.dumps({"running": self.running, "ended": self.ended})
        if name not in ALL:
            return f"error there is no program {name!r}; there are {', '.join(ALL)}"
        if verb == "start":
            self.ended.pop(name, None)
            if name not in self.running:
                self.start(name)
            return "ok"
        if verb == "stop":
            self.due.pop(name, None)
            if name in self.running:
                os.kill(self.running.pop(name), signal.SIGKILL)
            return "ok"
        return f"error {verb!r} is no order; there are start, stop and status"

    def start(self, name: str) -> None:
        self.due.pop(name, None)
        path = self.place.log / f"{name}.log"
        pid = os.fork()
        if pid == 0:
            try:
                output = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
                os.dup2(output, 1)
                os.dup2(output, 2)
                os.setsid()
                arguments = command(self.place, name)
                os.execvp(arguments[0], arguments)
            except OSError as error:
                print(f"{name} cannot start: {error}", file=sys.stderr, flush=True)
            finally:
                os._exit(127)
        self.running[name] = pid

    def reap(self) -> None:
        """Take in whatever has ended: our programs, and orphans such as containerd's shims."""
        with contextlib.suppress(ChildProcessError):
            while True:
                pid, status = os.waitpid(-1, os.WNOHANG)
                if pid == 0:
                    return
                for name in [name for name, its in self.running.items() if its == pid]:
                    del self.running[name]
                    self.ended[name] = self.ended.get(name, 0) + 1
                    self.due[name] = time.monotonic() + RESTART_DELAY_S
                    code = os.waitstatus_to_exitcode(status)
                    print(f"{name} ended with {code}; see {name}.log", flush=True)

    def restart_due(self) -> None:
        now = time.monotonic()
        for name in [name for name, at in self.due.items() if at <= now]:
            self.start(name)

    def wait_s(self) -> float | None:
        """Until the next restart; None if there is none."""
        return max(0.0, min(self.due.values()) - time.monotonic()) if self.due else None


def serve(place: Place) -> None:
    """Run until killed."""
    reader, writer = socket.socketpair()
    reader.setblocking(False)
    writer.setblocking(False)
    signal.set_wakeup_fd(writer.fileno())
    signal.signal(signal.SIGCHLD, lambda *_: None)
    place.control_socket.unlink(missing_ok=True)
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(place.control_socket))
    listener.listen()
    selector = selectors.DefaultSelector()
    selector.register(reader, selectors.EVENT_READ)
    selector.register(listener, selectors.EVENT_READ)
    node = Node(place)
    print("the node takes orders", flush=True)
    while True:
        for key, _ in selector.select(node.wait_s()):
            if key.fileobj is reader:
                with contextlib.suppress(BlockingIOError):
                    reader.recv(4096)
            else:
                _take_order(listener, node)
        node.reap()
        node.restart_due()


def _take_order(listener: socket.socket, node: Node) -> None:
    connection, _ = listener.accept()
    # One who asks and goes away, or never asks, may not hold up the node.
    with connection, contextlib.suppress(OSError):
        connection.settimeout(10)
        line = connection.recv(4096).decode()
        connection.sendall(node.order(line).encode())


def main() -> None:
    """`node.py --state FOLDER`, once the starter has given the node its link and says so on stdin."""
    place = Place(Path(sys.argv[sys.argv.index("--state") + 1]))
    if sys.stdin.readline() != "go\n":
        return  # the starter is gone
    cgroups.enter(place)
    inside.set_up(place)
    serve(place)


if __name__ == "__main__":
    main()
