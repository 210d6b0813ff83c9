"""A runner for ssh-keygen, which makes a login's key and signs with it.

It uses `posix_spawnp`, since `subprocess` would cost each renewal 6 ms of CPU time.
"""

from __future__ import annotations

import os
import select
import time
from contextlib import suppress

from stagedoor.laptop.tunnel import errors
from stagedoor.laptop.tunnel.errors import TunnelError, clean

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pathlib import Path

_NAMESPACE = "login@stagedoor"


def run(command: list[str], text: str = "") -> str:
    """Run `command` with a short `text` on its stdin and return its stdout. Raises TunnelError."""
    pipes = [os.pipe() for _ in range(3)]  # not inherited, but for the ends that become 0, 1 and 2
    (theirs_in, ours_in), (ours_out, theirs_out), (ours_err, theirs_err) = pipes
    theirs, left = (theirs_in, theirs_out, theirs_err), {fd for pipe in pipes for fd in pipe}

    def close_fds(*fds: int) -> None:
        for fd in fds:
            left.discard(fd)
            os.close(fd)

    ends = [(os.POSIX_SPAWN_DUP2, fd, number) for number, fd in enumerate(theirs)]
    pid = 0
    try:
        pid = os.posix_spawnp(command[0], command, os.environ, file_actions=ends)
        close_fds(*theirs)
        with suppress(BrokenPipeError):  # the program's stderr says why it read nothing
            os.write(ours_in, text.encode())  # a pipe takes 4 KiB at once (pipe(7))
        close_fds(ours_in)
        out, err = (_read_all(fd, time.monotonic() + 30) for fd in (ours_out, ours_err))
        _, status = os.waitpid(pid, 0)
        pid = 0
    except OSError as error:
        line = f"{command[0]} could not be run ({error.strerror or error}); install OpenSSH 8.2 or later"
        raise TunnelError(errors.USAGE, line) from None
    finally:
        if pid:
            os.kill(pid, 9)
            os.waitpid(pid, 0)
        close_fds(*left)
    if status != 0:
        why = clean(err.decode("utf-8", "replace"), 200)
        raise TunnelError(errors.USAGE, f"{command[0]} failed: {why}")
    return out.decode("ascii", "replace")


def sign(key: Path, text: str) -> str:
    """Return the armoured signature of a text of the login's protocol. Raises TunnelError."""
    return run(["ssh-keygen", "-Y", "sign", "-q", "-n", _NAMESPACE, "-f", str(key)], text)


def find_fingerprint(signature: str) -> str:
    """Return the `SHA256:…` of the key that made an armoured signature (PROTOCOL.sshsig).

    Raises TunnelError.
    """
    import hashlib
    from binascii import a2b_base64, b2a_base64

    try:
        blob = a2b_base64("".join(signature.split("-----")[2].split()))
        size = int.from_bytes(blob[10:14], "big")  # behind the magic and the version
        key = blob[14 : 14 + size]
    except (ValueError, IndexError):
        key = b""
    if not key:
        raise TunnelError(
            errors.USAGE, "ssh-keygen made no signature; install OpenSSH 8.2 or later"
        )
    return "SHA256:" + b2a_base64(hashlib.sha256(key).digest()).decode().rstrip("=\n")


def _read_all(fd: int, deadline: float) -> bytes:
    """Read from `fd` to its end, until `deadline` (monotonic seconds). Raises OSError, TimeoutError."""
    output = b""
    while True:
        left = deadline - time.monotonic()
        if left <= 0 or not select.select([fd], [], [], left)[0]:
            raise TimeoutError("it takes too long")
        more = os.read(fd, 65536)
        if not more:
            return output
        output += more
