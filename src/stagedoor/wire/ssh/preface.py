"""The bytes that an SSH server sends before its identification (RFC 4253 §4.2), and what they mean.

If sshd(8) refuses to serve a client, it sends one line of text in place of its identification. ssh(1)
hides that line and prints `Connection closed`, so the gateway explains it.
"""

import secrets
import struct

from stagedoor.model.denial import Denial, Reason
from stagedoor.model.target import Target
from stagedoor.wire.oneline import to_one_line
from stagedoor.wire.ssh.blob import encode_string

IDENTIFICATION = b"SSH-"
MAX_BYTES = 512
"""The limit on a refusal's preface; sshd's own lines have 26 bytes at most."""
MAX_QUOTED_CHARS = 100

_TOO_MANY_CONNECTIONS = 12
"""SSH_DISCONNECT_TOO_MANY_CONNECTIONS (RFC 4253 §11.1)."""
_DISCONNECT = 1
_BLOCK_BYTES = 8
_MEANINGS = {
    "Not allowed at this time": (
        ": it has had too many failed logins from the gateway's address, of any user, and accepts no more "
        "from there for a while",
        "exempt that address in its sshd_config: PerSourcePenaltyExemptList",
        "try again later, or ask an administrator",
    ),
    "Exceeded MaxStartups": (
        ": too many connections to it have not logged in yet",
        "raise MaxStartups in its sshd_config, and PerSourceMaxStartups if that is set",
        "try again in a moment",
    ),
}
_UNKNOWN = ("", "its own log says why", "ask an administrator: its own log says why")
"""The cause, what an administrator can do, and what the developer can do."""


class SshPreface:
    """The first bytes from the shell of `target`, at most `MAX_BYTES` of them."""

    __slots__ = ("_received", "_target")

    def __init__(self, target: Target) -> None:
        self._target = target
        self._received = b""

    def feed(self, data: bytes) -> bool:
        """Take the next bytes. Return False once they cannot be a refusal; no more bytes are needed then."""
        self._received += data[: MAX_BYTES + 1]
        return len(self._received) <= MAX_BYTES and not any(
            line.startswith(IDENTIFICATION) for line in self._received.splitlines()
        )

    def find_refusal(self) -> Denial | None:
        """Return why the shell refused, if it has closed the connection; None if it did not send one line.

        Empty lines may follow that line, since an HTTP server ends its answer with one. Call this only
        while `feed` returns True.
        """
        line, end, more = self._received.partition(b"\n")
        text = line.decode("latin-1").strip()
        # Anything else belongs to another protocol, and nothing may be appended to it.
        if not end or more.strip() or not (text.isascii() and text.isprintable() and text):
            return None
        line_text = to_one_line(text, MAX_QUOTED_CHARS)
        cause, fix, advice = _MEANINGS.get(line_text, _UNKNOWN)
        what = (
            f"the SSH server of the shell {self._target.shell_name} refused ({line_text!r}){cause}"
        )
        return Denial.with_fix(Reason.UPSTREAM_REFUSED, what, fix, advice)

    def make_farewell(self, why: str) -> bytes:
        """Return the bytes after a preface that make any SSH client show `why`.

        They are a line that `ssh -v` and `nc` show, an identification, and SSH_MSG_DISCONNECT (RFC 4253
        §11.1), which needs no key exchange.
        """
        payload = bytes([_DISCONNECT]) + struct.pack(">I", _TOO_MANY_CONNECTIONS)
        payload += encode_string(why.encode()) + encode_string(b"en")
        # RFC 4253 §6: at least four bytes of padding, and a multiple of the block in all.
        padding = _BLOCK_BYTES - (5 + len(payload)) % _BLOCK_BYTES
        padding += _BLOCK_BYTES if padding < 4 else 0
        packet = struct.pack(">IB", 1 + len(payload) + padding, padding) + payload
        line = f"stagedoor: {why}\r\n".encode()
        return line + b"SSH-2.0-Stagedoor\r\n" + packet + secrets.token_bytes(padding)
