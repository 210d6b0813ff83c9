"""The fast path of `stagedoor login --if-needed`: the certificate is valid, and ssh continues at once.

Every ssh runs it, so it uses no network, and imports only modules that Python has already loaded.
"""

from __future__ import annotations

import os
import sys
import time

CODE, CODE_STAMP = "code", "of"
"""In the gateway's folder: the folder of the client's compiled modules, and the stamp of the client in it."""
FRESH, CERTIFICATE = "fresh_until", "id-cert.pub"
"""In the gateway's folder: when to renew the certificate, in seconds since the epoch, and the certificate."""
PID_FILE = "asking"
"""In the gateway's folder: the pid of the client that is logging in, for the shells that wait for it."""
SINCE = "--since="
"""The option by which a shell reports when it started to wait, in seconds since the epoch."""


def is_fresh(folder: str) -> bool:
    """Return True if the folder's certificate needs no renewal."""
    try:
        with open(os.path.join(folder, FRESH), encoding="ascii") as file:
            until = int(file.read(32))
        os.stat(os.path.join(folder, CERTIFICATE))
    except (OSError, ValueError):
        return False
    return time.time() < until


def read_stamp(file: str) -> str:
    """Return a stamp that changes when the file is replaced. Raises OSError."""
    status = os.stat(file)
    return f"{status.st_size} {status.st_mtime_ns}"


def use_compiled(folder: str, file: str, sources: dict[str, str]) -> None:
    """Use the compiled modules in the folder, if they are from the client `file`.

    Otherwise Python compiles `sources` on every start, which is the largest cost of a renewal.
    """
    place = os.path.join(folder, CODE)
    try:
        with open(os.path.join(place, CODE_STAMP), encoding="ascii") as stamp:
            is_current = stamp.read() == read_stamp(file)
    except OSError:
        return
    if is_current:
        for name in [name for name in sources if name.startswith("stagedoor.laptop.")]:
            del sources[name]
        sys.modules["stagedoor.laptop"].__path__.insert(0, place)


def parse_folder(argv: list[str]) -> str | None:
    """Return the value of `--folder` in a `login --if-needed` command line, or None for other commands."""
    if argv[:1] != ["login"] or "--if-needed" not in argv:
        return None
    for at, word in enumerate(argv):
        if word == "--folder" and at + 1 < len(argv):
            return argv[at + 1]
    return None


def parse_since(argv: list[str]) -> float:
    """Return when the calling shell started to wait, in seconds since the epoch. The default is now."""
    values = [word[len(SINCE) :] for word in argv if word.startswith(SINCE)]
    return float(values[0]) if values and values[0].isdecimal() else time.time()
