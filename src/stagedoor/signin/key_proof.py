"""Proof that users hold the SSH keys that they add to their accounts: the key signs a line of the gateway.

A public key is public. Without a proof, a user could register another user's key. The other user could then
not register it, and their `ssh app01@gateway` would lead to the wrong account.
"""

import hashlib

from stagedoor.keys.signing import find_signing_key
from stagedoor.model.errors import RefusedError
from stagedoor.model.identity import Identity
from stagedoor.wire.ssh.key import PublicKey

NAMESPACE = "key@stagedoor"
"""The namespace of the signatures, so that a signature for another purpose is refused here."""
_BEGIN = "-----BEGIN SSH SIGNATURE-----"
_LINE_ENDS = (b"\n", b"\r\n", b" \r\n")
"""The line ends that `echo` writes in a Unix shell, in PowerShell, and in cmd."""
_NOT_SIGNED_IN = "only a user who is signed in can add keys; sign in again"


def make_line_to_sign(identity: Identity, host: str) -> str:
    """Return the line that a key has to sign. It is bound to the user, the gateway and the sign-in.

    Every shell reads it as one plain word. Raises RefusedError if the identity has no sign-in.
    """
    if identity.sign_in is None:
        raise RefusedError(_NOT_SIGNED_IN)
    nonce = hashlib.sha256(b"add a key\n" + identity.sign_in.id).hexdigest()[:32]
    return f"key-of:{identity.name}@{host.translate({ord(c): None for c in '[]'})}:{nonce}"


def render_sign_command(line: str) -> str:
    """Return the command that signs the line, for Unix and Windows. The user may name another key file."""
    return f"echo {line} | ssh-keygen -Y sign -n {NAMESPACE} -f ~/.ssh/id_ed25519"


def verify_line(line: str, signature: str) -> PublicKey:
    """Return the key that signed this line. Raises RefusedError."""
    if "PRIVATE KEY" in signature:
        raise RefusedError(
            "this is a private key, which must never leave its owner's machine; make another "
            "(ssh-keygen -t ed25519), and paste what the command prints"
        )
    if _BEGIN not in signature:
        raise RefusedError(
            f"paste what the command prints, which begins with {_BEGIN}; a public key alone does not prove "
            "that you have its private half"
        )
    for end in _LINE_ENDS:
        key = find_signing_key(signature, NAMESPACE, line.encode() + end, None)
        if key is not None:
            return key
    raise RefusedError(
        "this is not a signature of the line shown now, which changes with each sign-in; run the command "
        "again, with a key of type ed25519, ecdsa, rsa (2048 bits or more), sk-ed25519 or sk-ecdsa"
    )
