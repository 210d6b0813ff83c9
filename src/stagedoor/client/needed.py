"""`stagedoor login --if-needed`, the usual case: the certificate is good, and ssh goes on at once.

It runs on every ssh, so it imports nothing but what has been imported already, and asks no network.
Python 3.8 or later.
"""

from __future__ import annotations

import os
import sys
import time

CODE, CODE_OF = "code", "of"
"""In the gateway's folder: the client's modules as files, which Python keeps compiled; and which client's."""
FRESH, CERTIFICATE = "fresh_until", "id-cert.pub"
"""In the gateway's folder: until when the certificate is used without a word, seconds since the epoch; and
itself."""
ASKING = "asking"
"""In the gateway's folder: the pid of the client that asks, as the shells have it that wait for it."""
SINCE = "--since="
"""Told by a shell that has waited: since when."""


def is_fresh(folder: str) -> bool:
    """Whether the certificate in the folder is good for a while yet."""
    try:
        with open(os.path.join(folder, FRESH), encoding="ascii") as file:  # noqa: PTH118, PTH123
            until = int(file.read(32))
        os.stat(os.path.join(folder, CERTIFICATE))  # noqa: PTH116, PTH118
    except (OSError, ValueError):
        return False
    return time.time() < until


def file_stamp(file: str) -> str:
    """What changes when the file is replaced. Raises OSError."""
    known = os.stat(file)  # noqa: PTH116
    return f"{known.st_size} {known.st_mtime_ns}"


def use_compiled(folder: str, file: str) -> None:
    """Have the rest of the client imported from the folder, where that is of this `file`, an archive: what is
    in one is compiled again each time, which costs more than all else that a renewal does here."""
    place = os.path.join(folder, CODE)  # noqa: PTH118
    try:
        with open(os.path.join(place, CODE_OF), encoding="ascii") as said:  # noqa: PTH118, PTH123
            if said.read() == file_stamp(file):
                sys.modules["stagedoor.client"].__path__.insert(0, place)
    except OSError:
        pass


def folder_in(argv: list[str]) -> str | None:
    """What `--folder` names among the arguments of `login --if-needed`; None for another call."""
    if argv[:1] != ["login"] or "--if-needed" not in argv:
        return None
    for at, word in enumerate(argv):
        if word == "--folder" and at + 1 < len(argv):
            return argv[at + 1]
    return None


def since_in(argv: list[str]) -> float:
    """What `SINCE` says there: seconds since the epoch; now, where a shell has not waited before."""
    said = [word[len(SINCE) :] for word in argv if word.startswith(SINCE)]
    return float(said[0]) if said and said[0].isdecimal() else time.time()
