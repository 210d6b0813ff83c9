"""`stagedoor login --if-needed`, the usual case: the certificate is good, and ssh goes on at once.

It runs on every ssh, so it imports nothing but what has been imported already, and asks no network.
Python 3.8 or later.
"""

from __future__ import annotations

import os
import time

FRESH, CERTIFICATE = "fresh_until", "id-cert.pub"
"""In the gateway's folder: until when the certificate is used without a word, seconds since the epoch; and
itself."""


def is_fresh(folder: str) -> bool:
    """Whether the certificate in the folder is good for a while yet."""
    try:
        with open(os.path.join(folder, FRESH), encoding="ascii") as file:  # noqa: PTH118, PTH123
            until = int(file.read(32))
        os.stat(os.path.join(folder, CERTIFICATE))  # noqa: PTH116, PTH118
    except (OSError, ValueError):
        return False
    return time.time() < until


def folder_in(argv: list[str]) -> str | None:
    """What `--folder` names among the arguments of `login --if-needed`; None for another call."""
    if argv[:1] != ["login"] or "--if-needed" not in argv:
        return None
    for at, word in enumerate(argv):
        if word == "--folder" and at + 1 < len(argv):
            return argv[at + 1]
    return None
