"""The endpoint's process.

    python -m stagedoor.resume FOLDER           started by a worker (`control`): it becomes a daemon, and ends
                                                when neither a session nor a worker is left
    python -m stagedoor.resume --config FILE    started by a service manager: it stays in the foreground

The second survives a stop of the gateway's own service. Its folder is in the `data_dir` of the settings. On
SIGUSR2 it starts the program that is installed now, which serves new sessions; it keeps its own sessions, and
ends after the last one.
"""

import os
import signal
import sys
from pathlib import Path

from stagedoor.net.notify import notify_service_manager
from stagedoor.resume.endpoint import Endpoint
from stagedoor.resume.messages import lock_folder, retire_endpoint

_STAYS, _TAKES_OVER = "--stay", "--take-over"


def main(words: list[str]) -> None:
    """Run with the words of the command line. Faults go to stderr, which `control` redirects to a file."""
    if words[0] == "--config":
        # A program that ends here reads the settings, which would otherwise stay in memory as long as the
        # endpoint.
        from stagedoor.settings.file import load_settings

        folder = str(load_settings(Path(words[1])).data_dir / "resume")
        own = _make_command(_STAYS, folder)
        os.execv(sys.executable, own)  # noqa: S606 - this very program
    if words[0] == _TAKES_OVER and os.fork():
        os._exit(0)  # a service manager notices only the ends of its own children
    if words[0] in (_STAYS, _TAKES_OVER):
        _stay(Path(words[1]))
    else:
        _detach(Path(words[0]))


def _make_command(*words: str) -> list[str]:
    return [sys.executable, "-P", "-m", "stagedoor.resume", *words]


def _stay(folder: Path) -> None:
    """Serve until a signal ends the process. Replace an endpoint that is already running."""
    # It does not wait for the processes that it starts.
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    successor = _make_command(_TAKES_OVER, str(folder))
    signal.signal(signal.SIGUSR2, lambda *_: os.posix_spawn(sys.executable, successor, os.environ))
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    with lock_folder(folder) as runs_already:
        if runs_already:
            retire_endpoint(folder)
        endpoint = Endpoint(folder, stays=True)
    notify_service_manager(f"MAINPID={os.getpid()}")
    endpoint.run()


def _detach(folder: Path) -> None:
    """Detach from the worker, then serve."""
    if os.fork():
        os._exit(0)
    for number in (signal.SIGHUP, signal.SIGINT):  # a Ctrl-C is for the gateway in the terminal
        signal.signal(number, signal.SIG_IGN)
    endpoint = Endpoint(folder)
    os.write(1, b"listening\n")
    null = os.open(os.devnull, os.O_RDWR)
    os.dup2(null, 0)
    os.dup2(null, 1)
    os.close(null)
    endpoint.run()


main(sys.argv[1:])
