"""What an SSH server says before its identification (RFC 4253 §4.2), and what it means if nothing else comes.

sshd(8) refuses a client that it does not want to serve with one line of text in place of its identification.
ssh(1) hides such a line and prints `Connection closed`; so the gateway explains it.
"""

import secrets
import struct

from stagedoor.wire.blob import string
from stagedoor.wire.oneline import one_line

IDENTIFICATION = b"SSH-"
MAX_BYTES = 512
"""The preface of a refusal: sshd's own lines have 26 bytes at most."""
SAID_CHARS = 100

PARTING_S = 5.0
"""How long the client has to read a farewell. Were its connection closed at once, then ssh(1) would fail to
write its next message before it reads this one; behind a ProxyCommand or `ssh -W` it always might."""

_TOO_MANY_CONNECTIONS = 12
"""SSH_DISCONNECT_TOO_MANY_CONNECTIONS (RFC 4253 §11.1)."""
_DISCONNECT = 1
_BLOCK_BYTES = 8
_MEANINGS = {
    "Not allowed at this time": (
        "it has had too many failed logins from the gateway's address, of any user, and takes no more "
        "from there for a while; exempt that address in its sshd_config (PerSourcePenaltyExemptList)"
    ),
    "Exceeded MaxStartups": (
        "too many connections to it have not logged in yet; raise MaxStartups (and PerSourceMaxStartups, "
        "if it is set) in its sshd_config"
    ),
}


class SshPreface:
    """The first bytes of the shell `name`, as they come; holds no more than `MAX_BYTES`."""

    __slots__ = ("_heard", "_name")

    def __init__(self, name: str) -> None:
        self._name = name
        self._heard = b""

    def hear(self, data: bytes) -> bool:
        """Take the next bytes; False once they cannot be a refusal, and no more need be heard."""
        self._heard += data[: MAX_BYTES + 1]
        return len(self._heard) <= MAX_BYTES and not any(
            line.startswith(IDENTIFICATION) for line in self._heard.splitlines()
        )

    def refusal(self) -> str | None:
        """Why the shell let nobody in, if it hung up now; None if what it said is not one line of text.

        Empty lines may follow it: an HTTP server ends its answer with one.

        Only for as long as `hear` has returned True.
        """
        line, end, more = self._heard.partition(b"\n")
        text = line.decode("latin-1").strip()
        # What is no text, or more of it, was for somebody else: nothing may be put behind it.
        if not end or more.strip() or not (text.isascii() and text.isprintable() and text):
            return None
        said = one_line(text, SAID_CHARS)
        meaning = _MEANINGS.get(said, "its own log says why")
        return f"the SSH server of the shell {self._name} refused ({said!r}): {meaning}"

    def farewell(self, why: str) -> bytes:
        """As the function `farewell`."""
        return farewell(why)


def farewell(why: str) -> bytes:
    """What to send after a preface so that any SSH client shows `why`: a line that `ssh -v` and `nc` show, an
    identification, and SSH_MSG_DISCONNECT (RFC 4253 §11.1), which needs no key exchange."""
    payload = bytes([_DISCONNECT]) + struct.pack(">I", _TOO_MANY_CONNECTIONS)
    payload += string(why.encode()) + string(b"en")
    # RFC 4253 §6: at least four bytes of padding, and a multiple of the block in all.
    padding = _BLOCK_BYTES - (5 + len(payload)) % _BLOCK_BYTES
    padding += _BLOCK_BYTES if padding < 4 else 0
    packet = struct.pack(">IB", 1 + len(payload) + padding, padding) + payload
    line = f"stagedoor: {why}\r\n".encode()
    return line + b"SSH-2.0-Stagedoor\r\n" + packet + secrets.token_bytes(padding)
