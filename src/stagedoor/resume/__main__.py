"""`python -m stagedoor.resume FOLDER`: the endpoint's process, which only `control` starts.

It prints one line once it listens, and goes on as a daemon, so that it outlives the worker that started it.
"""

import os
import signal
import sys
from pathlib import Path

from stagedoor.resume.endpoint import Endpoint


def main() -> None:
    """Detach from the worker, then serve. Faults go to stderr, which `control` sends to a file."""
    if os.fork():
        os._exit(0)
    for number in (signal.SIGHUP, signal.SIGINT):  # a ^C is for the gateway in the terminal
        signal.signal(number, signal.SIG_IGN)
    endpoint = Endpoint(Path(sys.argv[1]))
    os.write(1, b"listening\n")
    null = os.open(os.devnull, os.O_RDWR)
    os.dup2(null, 0)
    os.dup2(null, 1)
    os.close(null)
    endpoint.run()


main()
