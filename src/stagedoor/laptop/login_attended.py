"""Checks that a person can approve a login now, so that unattended programs open no browser."""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path

_ANCESTORS = 6
"""The number of parent processes to search for ssh, which starts this program through a shell or wrappers."""
_SSH = re.compile(r"(?:^|/)ssh(?:\s|$)")
_ONLY_PRINTS = re.compile(r"\s-[46AaCfgKkMNnqsTtVvXxYy]*G")
_BATCH = re.compile(r"\s-o\s*BatchMode[\s=]\s*yes", re.IGNORECASE)
_UNATTENDED_VARIABLES = ("CI", "CRON_TZ")


def find_reason_not_to_ask() -> str:
    """Return the reason not to ask a person to log in now, or "" if there is none."""
    if any(os.environ.get(name) for name in _UNATTENDED_VARIABLES):
        return "this is a CI job"
    command = find_parent_ssh()
    if _ONLY_PRINTS.search(command):
        return "ssh -G only prints its configuration"
    if _BATCH.search(command):
        return "BatchMode is on"
    if not has_terminal() and not has_desktop():
        return "there is no terminal and no desktop"
    return ""


def has_terminal() -> bool:
    """Return True if this process has a controlling terminal."""
    try:
        fd = os.open("/dev/tty", os.O_RDWR | os.O_NOCTTY)
    except OSError:
        return False
    os.close(fd)
    return True


def has_desktop() -> bool:
    """Return True if a browser that starts here appears on the user's desktop."""
    env = os.environ
    if env.get("DISPLAY") or env.get("WAYLAND_DISPLAY"):
        return True
    return sys.platform == "darwin" and not env.get("SSH_CONNECTION")


def open_browser(url: str) -> bool:
    """Open `url` in a graphical browser. Return True if one started.

    This never starts a text browser, since ssh uses the terminal.
    """
    if not has_desktop() and not os.environ.get("BROWSER"):
        return False
    import webbrowser

    # Keep the browser's output off the terminal.
    saved, null = [os.dup(fd) for fd in (1, 2)], os.open(os.devnull, os.O_WRONLY)
    try:
        for fd in (1, 2):
            os.dup2(null, fd)
        return webbrowser.open(url)
    except (webbrowser.Error, OSError):
        return False
    finally:
        for fd, copy in enumerate(saved, 1):
            os.dup2(copy, fd)
            os.close(copy)
        os.close(null)


def find_parent_ssh() -> str:
    """Return the command line of the ssh that runs this process, or "" if none does."""
    pid = os.getppid()
    for _ in range(_ANCESTORS):
        if pid <= 1:
            break
        parent, command = _read_process(pid)
        if _SSH.search(command):
            return command
        pid = parent
    return ""


def _read_process(pid: int) -> tuple[int, str]:
    """Return the pid of a process's parent and its command line, or (0, "") if they are unknown."""
    try:
        status = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
        words = Path(f"/proc/{pid}/cmdline").read_bytes().decode("utf-8", "replace")
        return int(status.rpartition(")")[2].split()[1]), words.replace("\0", " ").strip()
    except (OSError, ValueError, IndexError):
        pass
    import subprocess

    try:
        command = ["ps", "-o", "ppid=,args=", "-p", str(pid)]
        text = subprocess.run(command, stdout=subprocess.PIPE, timeout=5).stdout
        parent, _, words = text.decode("utf-8", "replace").strip().partition(" ")
        return int(parent), words
    except (OSError, ValueError, subprocess.SubprocessError):
        return 0, ""
