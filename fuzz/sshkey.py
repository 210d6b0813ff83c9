"""Fuzz target: OpenSSH public keys as text, and as the blob within."""

from base64 import b64encode

from stagedoor.wire.ssh.key import KeyRefused, PublicKey, parse_public_key

MAX_BYTES = 3000


def check(received: bytes) -> None:
    """Check that a text is a key that reads the same when written again, or one line of error.

    Besides the text itself its bytes are tried as the blob of a key of the type they name, for
    no fuzzer learns to write base64.
    """
    judge(received.decode("utf-8", "surrogateescape"))
    named = received[4 : 4 + int.from_bytes(received[:4], "big")]
    if 0 < len(named) < 64 and named.isascii():
        judge(f"{named.decode()} {b64encode(received).decode()} comment")


def judge(text: str) -> None:
    outcome = parse_public_key(text)
    if isinstance(outcome, KeyRefused):
        assert outcome.reason.isprintable()
        assert outcome.reason.isascii()
        return
    assert outcome.bits >= 256
    assert outcome.comment.isprintable()
    key_type, _, encoded = outcome.line.partition(" ")
    assert key_type == outcome.type
    assert encoded in text
    again = parse_public_key(outcome.line)
    assert isinstance(again, PublicKey)
    assert (again.line, again.fingerprint, again.bits) == (
        outcome.line,
        outcome.fingerprint,
        outcome.bits,
    )
