"""The endpoint's process.

    python -m stagedoor.resume FOLDER           started by a worker (`control`): it goes on as a daemon, and
                                                ends when neither a session nor a worker is left
    python -m stagedoor.resume --config FILE    started by a service manager: it stays in the foreground

The second one survives whatever ends the gateway's own service. Its folder is in the `data_dir` of the
settings.
"""

import os
import signal
import sys
from pathlib import Path

from stagedoor.resume.endpoint import Endpoint
from stagedoor.resume.messages import lock_folder

_STAYS = "--stay"


def main(words: list[str]) -> None:
    """Run by the command line's words. Faults go to stderr, which `control` sends to a file."""
    if words[0] == "--config":
        # Settings are read by a program that ends here: they would stay in memory as long as the endpoint.
        from stagedoor.settings.file import load_settings

        folder = str(load_settings(Path(words[1])).data_dir / "resume")
        own = [sys.executable, "-P", "-m", "stagedoor.resume", _STAYS, folder]
        os.execv(sys.executable, own)  # noqa: S606 - this very program
    if words[0] == _STAYS:
        _stay(Path(words[1]))
    else:
        _detach(Path(words[0]))


def _stay(folder: Path) -> None:
    """Serve until a signal ends the process."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    with lock_folder(folder) as runs_already:
        if runs_already:
            sys.exit("an endpoint that a worker started serves here until its last session ends")
        endpoint = Endpoint(folder, stays=True)
    endpoint.run()


def _detach(folder: Path) -> None:
    """Detach from the worker, then serve."""
    if os.fork():
        os._exit(0)
    for number in (signal.SIGHUP, signal.SIGINT):  # a ^C is for the gateway in the terminal
        signal.signal(number, signal.SIG_IGN)
    endpoint = Endpoint(folder)
    os.write(1, b"listening\n")
    null = os.open(os.devnull, os.O_RDWR)
    os.dup2(null, 0)
    os.dup2(null, 1)
    os.close(null)
    endpoint.run()


main(sys.argv[1:])
