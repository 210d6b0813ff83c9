"""Checks that a person can approve a login now, so that unattended programs open no browser."""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path

_ANCESTORS = 6
"""The number of parent processes to search for ssh, which starts this program through a shell or wrappers."""
_SSH_OPTIONS = "1246AaB:b:Cc:D:E:e:F:fGgI:i:J:KkL:l:Mm:NnO:o:P:p:Q:qR:S:sTtVvW:w:XxYy"
_BATCH = re.compile(r'\s*BatchMode\s*[\s=]\s*"?(yes|true)\b', re.IGNORECASE)
_UNATTENDED_VARIABLES = ("CI", "CRON_TZ")


def find_reason_not_to_ask() -> str:
    """Return the reason not to ask a person to log in now, or "" if there is none."""
    if any(os.environ.get(name) for name in _UNATTENDED_VARIABLES):
        return "this is a CI job"
    options = parse_ssh_options(find_parent_ssh())
    if ("-G", "") in options:
        return "ssh -G only prints its configuration"
    if any(name == "-o" and _BATCH.match(value) for name, value in options):
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


def find_parent_ssh() -> list[str]:
    """Return the words of the ssh that runs this process, or an empty list if none does."""
    pid = os.getppid()
    for _ in range(_ANCESTORS):
        if pid <= 1:
            break
        parent, words = _read_process(pid)
        if words and Path(words[0]).name == "ssh":
            return words
        pid = parent
    return []


def parse_ssh_options(words: list[str]) -> list[tuple[str, str]]:
    """Return the options of an ssh command line as names and values, "" for a flag.

    Like ssh, accept options before and after the host. The remote command follows them.
    """
    import getopt

    try:
        options, rest = getopt.getopt(words[1:], _SSH_OPTIONS)
        is_terminated = words[len(words) - len(rest) - 1 :][:1] == ["--"]
        return options if is_terminated else options + getopt.getopt(rest[1:], _SSH_OPTIONS)[0]
    except getopt.GetoptError:
        return []  # an ssh with other options


def _read_process(pid: int) -> tuple[int, list[str]]:
    """Return the pid of a process's parent and its words, or (0, []) if they are unknown."""
    try:
        status = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
        line = Path(f"/proc/{pid}/cmdline").read_bytes().decode("utf-8", "replace")
        return int(status.rpartition(")")[2].split()[1]), line.split("\0")[:-1]
    except (OSError, ValueError, IndexError):
        pass
    import subprocess

    try:
        command = ["ps", "-o", "ppid=,args=", "-p", str(pid)]
        text = subprocess.run(command, stdout=subprocess.PIPE, timeout=5).stdout
        return split_ps_line(text.decode("utf-8", "replace"))
    except (OSError, ValueError, subprocess.SubprocessError):
        return 0, []


def split_ps_line(line: str) -> tuple[int, list[str]]:
    """Return the pid of the parent and the words of a process in ps(1)'s line. Raises ValueError.

    ps does not quote, so the name and the value of an option `-o "NAME VALUE"` are joined by `=` here.
    """
    parent, *words = re.sub(r" -o (\w+) ", r" -o \1=", line).split()
    return int(parent), words
