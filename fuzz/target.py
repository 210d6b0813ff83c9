"""Fuzz target: the names and ports that a client asks for."""

from stagedoor.model.denial import Reason
from stagedoor.model.target import Target
from stagedoor.wire.target import parse_target

MAX_BYTES = 300
_LABEL = frozenset("abcdefghijklmnopqrstuvwxyz0123456789-")


def check(received: bytes) -> None:
    """Check that only what the grammar can write is a target; the rest is one documented refusal."""
    offered, colon, port = received.decode("utf-8", "surrogateescape").rpartition(":")
    host = offered if colon else port
    outcome = parse_target(host, port if colon else None)
    if isinstance(outcome, Target):
        assert not colon or port == "22"
        assert host.isascii()
        assert host.lower() in (outcome.host_name, outcome.shell_name)
        assert is_label(f"{outcome.app}-ssh")
        assert is_label(outcome.app)
        assert not outcome.app.endswith("-ssh")
        assert outcome.environment is None or is_label(outcome.environment)
        assert outcome.environment != "ssh"
        assert parse_target(outcome.host_name) == parse_target(outcome.shell_name) == outcome
    else:
        assert outcome.reason in (Reason.BAD_REQUEST, Reason.TARGET_NOT_ALLOWED)
        assert outcome.message.isascii()
        assert outcome.message.isprintable()
        assert len(outcome.message) < 300


def is_label(text: str) -> bool:
    """Return whether this is a label of RFC 1123, without the pattern that the parser uses."""
    return 0 < len(text) <= 63 and _LABEL.issuperset(text) and "-" not in (text[0], text[-1])
