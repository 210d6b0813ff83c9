"""A signing key held by an ssh-agent, for example in a PKCS #11 token that never exports it.

Source: draft-ietf-sshm-ssh-agent §3 (framing), §4.6 (signing).
"""

import socket
from base64 import b64decode
from pathlib import Path

from stagedoor.model.errors import StagedoorError
from stagedoor.wire.ssh.blob import Reader, TruncatedError, encode_string

ANSWER_S = 10.0
"""A token may take a second; a gateway cannot use one that waits for a touch."""
_SIGN_REQUEST, _SIGN_RESPONSE = 13, 14
_RSA_SHA2_512 = 4
"""Without this flag an agent signs with SHA-1 (RFC 8332 §1)."""
_MAX_BYTES = 64 * 1024


class AgentError(StagedoorError):
    """Raised when the agent does not sign. The message is the reason, which developers do not see."""

    def __init__(self, agent: Path, why: str) -> None:
        """Create the error: the agent at the socket `agent` does `why`."""
        super().__init__(
            f"the agent at {agent} (keys.user_ca_agent) {why}",
            "the gateway's user CA does not sign now; its log says why",
        )


class AgentKey:
    """The implementation of `keys.ca.SigningKey`. `line` is the public key, `type base64`."""

    def __init__(self, agent: Path, line: str) -> None:
        self._agent = agent
        self.line = line
        self.blob = b64decode(line.split()[1])

    def sign(self, data: bytes) -> bytes:
        """Return the agent's signature over `data`. Blocks for up to ANSWER_S. Raises AgentError."""
        flags = _RSA_SHA2_512 if self.line.startswith("ssh-rsa ") else 0
        request = (
            bytes([_SIGN_REQUEST])
            + encode_string(self.blob)
            + encode_string(data)
            + flags.to_bytes(4, "big")
        )
        try:
            answer = Reader(self._ask(request))
            if answer.read_byte() != _SIGN_RESPONSE:
                raise AgentError(
                    self._agent,
                    "does not sign with the user CA's key; "
                    "see whether it has it: SSH_AUTH_SOCK=… ssh-add -L",
                )
            return answer.read_string()
        except OSError as error:
            why = error.strerror or str(error) or type(error).__name__
            raise AgentError(self._agent, f"does not answer: {why}") from None
        except TruncatedError:
            raise AgentError(self._agent, "answers in another protocol") from None

    def _ask(self, request: bytes) -> bytes:
        with socket.socket(socket.AF_UNIX) as agent:
            agent.settimeout(ANSWER_S)
            agent.connect(str(self._agent))
            agent.sendall(encode_string(request))
            length = int.from_bytes(_receive_exactly(agent, 4), "big")
            if length > _MAX_BYTES:
                raise TruncatedError("it is longer than any answer")
            return _receive_exactly(agent, length)


def _receive_exactly(agent: socket.socket, size: int) -> bytes:
    received = b""
    while len(received) < size:
        more = agent.recv(size - len(received))
        if not more:
            raise TruncatedError("it ends too early")
        received += more
    return received
