"""Signatures of Standard Webhooks (https://www.standardwebhooks.com), version `v1a`: ed25519."""

from base64 import b64encode

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey


def sign_webhook(
    key: Ed25519PrivateKey, id_: str, at: int, body: bytes
) -> tuple[tuple[str, str], ...]:
    """Return the headers that prove a message's origin. `at` is when this attempt is sent."""
    signature = key.sign(b"%s.%d.%s" % (id_.encode(), at, body))
    return (
        ("webhook-id", id_),
        ("webhook-timestamp", str(at)),
        ("webhook-signature", f"v1a,{b64encode(signature).decode()}"),
    )


def show_webhook_key(key: Ed25519PrivateKey) -> str:
    """Return the public key in the form of Standard Webhooks: `whpk_…`."""
    return f"whpk_{b64encode(key.public_key().public_bytes_raw()).decode()}"
