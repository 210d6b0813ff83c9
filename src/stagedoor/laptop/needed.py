"""The usual case of `stagedoor login --if-needed`: the certificate is valid, and ssh continues at once.

It runs on every ssh, so it imports only modules that Python has loaded already, and it uses no network.
"""

from __future__ import annotations

import os
import sys
import time

CODE, CODE_OF = "code", "of"
"""In the gateway's folder: the client's modules, compiled; in it, the stamp of the client they are from."""
FRESH, CERTIFICATE = "fresh_until", "id-cert.pub"
"""In the gateway's folder: the time until which the certificate is used without a check, in seconds since the
epoch; and the certificate."""
ASKING = "asking"
"""In the gateway's folder: the pid of the client that logs in, for the shells that wait for it."""
SINCE = "--since="
"""An option from a shell that has waited: when it began, in seconds since the epoch."""


def is_fresh(folder: str) -> bool:
    """Return True if the folder's certificate needs no renewal yet."""
    try:
        with open(os.path.join(folder, FRESH), encoding="ascii") as file:
            until = int(file.read(32))
        os.stat(os.path.join(folder, CERTIFICATE))
    except (OSError, ValueError):
        return False
    return time.time() < until


def read_stamp(file: str) -> str:
    """Return a text that changes when the file is replaced. Raises OSError."""
    status = os.stat(file)
    return f"{status.st_size} {status.st_mtime_ns}"


def use_compiled(folder: str, file: str, sources: dict[str, str]) -> None:
    """Import the laptop's modules compiled from the folder, if they are those of this file.

    Otherwise Python compiles them from `sources` on every start, which is the largest cost of a renewal.
    """
    place = os.path.join(folder, CODE)
    try:
        with open(os.path.join(place, CODE_OF), encoding="ascii") as stamp:
            is_of_file = stamp.read() == read_stamp(file)
    except OSError:
        return
    if is_of_file:
        for name in [name for name in sources if name.startswith("stagedoor.laptop.")]:
            del sources[name]
        sys.modules["stagedoor.laptop"].__path__.insert(0, place)


def parse_folder(argv: list[str]) -> str | None:
    """Return the value of `--folder` in a `login --if-needed` command line; None for any other command."""
    if argv[:1] != ["login"] or "--if-needed" not in argv:
        return None
    for at, word in enumerate(argv):
        if word == "--folder" and at + 1 < len(argv):
            return argv[at + 1]
    return None


def parse_since(argv: list[str]) -> float:
    """Return when the calling shell began to wait, seconds since the epoch; now if it has not waited."""
    values = [word[len(SINCE) :] for word in argv if word.startswith(SINCE)]
    return float(values[0]) if values and values[0].isdecimal() else time.time()
