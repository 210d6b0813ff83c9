"""The tmux of one shell. Without this, shells that run as one account would share that account's tmux.

The sockets of tmux are in `TMUX_TMPDIR/tmux-UID` (tmux(1), ENVIRONMENT). There a login by ssh finds the tmux
that a WebShell's terminal has started, and vice versa.
"""

import hashlib
import os
import shutil
import subprocess
from contextlib import suppress
from pathlib import Path

from stagedoor.holder.folder import make_private_folder

VARIABLE = "TMUX_TMPDIR"
_SOCKET_BYTES = 107
"""The longest path of a socket, in bytes (unix(7))."""
_NAME_BYTES = 32
"""The longest name of a socket (tmux(1), `-L`) that always fits into the path. tmux's own is `default`."""
_END_S = 5.0


def make_folder(shell: Path) -> Path:
    """Return the value of VARIABLE for the shell with the existing folder `shell`. Raises OSError."""
    folder = _folder(shell)
    if folder != shell:
        make_private_folder(folder)
    return folder


def end(shell: Path) -> None:
    """End every tmux of the shell, with all programs in them."""
    folder, tmux = _folder(shell), shutil.which("tmux")
    for socket in (folder / f"tmux-{os.getuid()}").glob("*"):
        if tmux is not None:
            with suppress(OSError, subprocess.TimeoutExpired):
                subprocess.run(
                    [tmux, "-S", socket, "kill-server"],
                    stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                    timeout=_END_S, check=False,
                )  # fmt: skip
    if folder != shell:
        shutil.rmtree(folder, ignore_errors=True)


def _folder(shell: Path) -> Path:
    """Return the shell's folder, or one in /tmp if a socket's path would be too long."""
    if len(f"{shell}/tmux-{os.getuid()}/".encode()) + _NAME_BYTES <= _SOCKET_BYTES:
        return shell
    name = hashlib.sha256(str(shell).encode()).hexdigest()[:16]
    return Path(f"/tmp/stagedoor-tmux-{os.getuid()}-{name}")  # noqa: S108 - make_private_folder checks it
