"""Running ssh-keygen, which generates a login's key and signs with it.

This uses `posix_spawnp`, since `subprocess` would cost each renewal 6 ms of CPU time.
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


def run_with_input(command: list[str], text: str = "") -> str:
    """Run `command` with a short `text` on its stdin and return its stdout. Raises TunnelError."""
    # Their ends are not inheritable, except for those that become 0, 1 and 2.
    pipes = [os.pipe() for _ in range(3)]
    (child_in, own_in), (own_out, child_out), (own_err, child_err) = pipes
    child_fds, open_fds = (child_in, child_out, child_err), {fd for pipe in pipes for fd in pipe}

    def close_fds(*fds: int) -> None:
        for fd in fds:
            open_fds.discard(fd)
            os.close(fd)

    actions = [(os.POSIX_SPAWN_DUP2, fd, number) for number, fd in enumerate(child_fds)]
    pid = 0
    try:
        pid = os.posix_spawnp(command[0], command, os.environ, file_actions=actions)
        close_fds(*child_fds)
        with suppress(BrokenPipeError):  # the program's stderr has the reason
            os.write(own_in, text.encode())  # a pipe takes 4 KiB at once (pipe(7))
        close_fds(own_in)
        out, err = (_read_all(fd, time.monotonic() + 30) for fd in (own_out, own_err))
        _, status = os.waitpid(pid, 0)
        pid = 0
    except OSError as error:
        line = f"{command[0]} could not be run ({error.strerror or error}); install OpenSSH 8.2 or later"
        raise TunnelError(errors.USAGE, line) from None
    finally:
        if pid:
            os.kill(pid, 9)
            os.waitpid(pid, 0)
        close_fds(*open_fds)
    if status != 0:
        reason = clean(err.decode("utf-8", "replace"), 200)
        raise TunnelError(errors.USAGE, f"{command[0]} failed: {reason}")
    return out.decode("ascii", "replace")


def sign(key: Path, text: str) -> str:
    """Return the armoured signature of a message of the login protocol. Raises TunnelError."""
    return run_with_input(
        ["ssh-keygen", "-Y", "sign", "-q", "-n", _NAMESPACE, "-f", str(key)], text
    )


def find_fingerprint(signature: str) -> str:
    """Return the `SHA256:…` of the key in an armoured signature (PROTOCOL.sshsig). Raises TunnelError."""
    import hashlib
    from binascii import a2b_base64, b2a_base64

    try:
        blob = a2b_base64("".join(signature.split("-----")[2].split()))
        size = int.from_bytes(blob[10:14], "big")  # after the magic and the version
        key = blob[14 : 14 + size]
    except (ValueError, IndexError):
        key = b""
    if not key:
        raise TunnelError(
            errors.USAGE, "ssh-keygen made no signature; install OpenSSH 8.2 or later"
        )
    return "SHA256:" + b2a_base64(hashlib.sha256(key).digest()).decode().rstrip("=\n")


def _read_all(fd: int, deadline: float) -> bytes:
    """Read `fd` to its end. Raises OSError, and TimeoutError at `deadline` (monotonic seconds)."""
    output = b""
    while True:
        left_s = deadline - time.monotonic()
        if left_s <= 0 or not select.select([fd], [], [], left_s)[0]:
            raise TimeoutError("it takes too long")
        more = os.read(fd, 65536)
        if not more:
            return output
        output += more
