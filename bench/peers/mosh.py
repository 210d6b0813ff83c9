"""mosh, whose own protocol over UDP survives a lost network, in front of a program that echoes."""

import contextlib
import os
import pty
import re
import signal
import subprocess
import termios
import tty
from collections.abc import Iterator

from load.outage import UdpOutage
from peers import MissingError
from peers.process import StartError, program, version_of

_CONNECT = re.compile(rb"MOSH CONNECT (\d+) (\S+)")
_SERVER = re.compile(rb"detached, pid = (\d+)")


@contextlib.contextmanager
def running(command: str) -> Iterator[tuple[int, UdpOutage, str]]:
    """Run a command under mosh. Yield its terminal, the relay in between, and mosh's version.

    Raises MissingError and StartError.
    """
    server, client = program("mosh-server"), program("mosh-client")
    if server is None or client is None:
        raise MissingError("mosh is not installed (apt-get install mosh)")
    env = {**os.environ, "LC_ALL": "C.UTF-8", "TERM": "xterm", "MOSH_PREDICTION_DISPLAY": "never"}
    begun = subprocess.run(
        [server, "new", "-i", "127.0.0.1", "--", "sh", "-c", command],
        capture_output=True,
        env=env,
        check=False,
    )
    said = begun.stdout + begun.stderr
    begin, detached = _CONNECT.search(said), _SERVER.search(said)
    if begin is None or detached is None:
        raise StartError(f"mosh-server said {said[-200:]!r}")
    with contextlib.ExitStack() as stack:
        stack.callback(os.kill, int(detached[1]), signal.SIGKILL)
        relay = UdpOutage(int(begin[1]))
        stack.callback(relay.stop)
        pid, terminal = pty.fork()
        if pid == 0:
            env["MOSH_KEY"] = begin[2].decode()
            tty.setraw(0)  # until the client does so, the terminal itself would echo
            termios.tcsetwinsize(0, (24, 80))  # the client aborts in a window without lines
            os.execve(client, [client, "127.0.0.1", str(relay.port)], env)
        stack.callback(os.waitpid, pid, 0)
        stack.callback(os.close, terminal)
        stack.callback(os.kill, pid, signal.SIGKILL)
        yield terminal, relay, version_of(server, "--version")
