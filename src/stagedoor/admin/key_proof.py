"""What shows that people hold the SSH keys that they add to their accounts: each signs a line of ours.

A public key is public. Without a proof, anybody could register the key of somebody else, who could not
register it any more, and whose `ssh app01@gateway` would lead to a stranger's account.
"""

import hashlib

from stagedoor.keys.signing import signed_by
from stagedoor.model.errors import RefusedError
from stagedoor.model.identity import Identity
from stagedoor.wire.sshkey import PublicKey

NAMESPACE = "key@stagedoor"
"""Of the signatures, so that one that was made for something else is worth nothing here."""
_BEGIN = "-----BEGIN SSH SIGNATURE-----"
_ENDS = (b"\n", b"\r\n", b" \r\n")
"""What `echo` writes behind a line: in a shell, in PowerShell, in cmd."""
_NOT_SIGNED_IN = "keys are added by somebody who is signed in; sign in again"


def line_to_sign(identity: Identity, host: str) -> str:
    """For this person at this gateway, and as long as their sign-in lasts. No shell reads it as anything
    but a word. Raises RefusedError for who is not signed in."""
    if identity.sign_in is None:
        raise RefusedError(_NOT_SIGNED_IN)
    nonce = hashlib.sha256(b"add a key\n" + identity.sign_in.id).hexdigest()[:32]
    return f"key-of:{identity.name}@{host.translate({ord(c): None for c in '[]'})}:{nonce}"


def command_to_sign(line: str) -> str:
    """What a person types, on Unix and on Windows; the key's file may be another."""
    return f"echo {line} | ssh-keygen -Y sign -n {NAMESPACE} -f ~/.ssh/id_ed25519"


def proved_key(line: str, signature: str) -> PublicKey:
    """The key by which this line was signed. Raises RefusedError."""
    if "PRIVATE KEY" in signature:
        raise RefusedError(
            "this is a private key, which must never leave its owner's machine; make another "
            "(ssh-keygen -t ed25519), and paste what the command prints"
        )
    if _BEGIN not in signature:
        raise RefusedError(
            f"paste what the command prints, which begins with {_BEGIN}; a public key alone does not show "
            "that you hold it"
        )
    for end in _ENDS:
        key = signed_by(signature, NAMESPACE, line.encode() + end, None)
        if key is not None:
            return key
    raise RefusedError(
        "this is no signature of the line that is shown now, which is another after each sign-in; run the "
        "command again, by a key of ed25519, ecdsa, rsa (2048 bits or more), sk-ed25519 or sk-ecdsa"
    )
