"""Audit events: what is written down, for ever or until retention ends."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from types import MappingProxyType


class Kind(StrEnum):
    """What happened. `session.*` come from the flow, `policy.*` from an administrator, `audit.*` from the
    audit's own care."""

    SESSION_OPENED = "session.opened"
    SESSION_CLOSED = "session.closed"
    SESSION_DENIED = "session.denied"
    SESSION_FOUND = "session.found"
    """It was closed as lost, and lives: its gateway could not reach the store that machines share."""
    CHANNEL_OPENED = "channel.opened"
    """Inside a session whose SSH ends at the gateway: a shell, a command, sftp, a forward."""
    CHANNEL_CLOSED = "channel.closed"
    CHANNEL_FILE = "channel.file"
    """A file was sent or received, or changed by sftp: removed, renamed, linked, its attributes set."""
    CHANNEL_FILES = "channel.files"
    """A thousand more, in a channel that has moved very many: their count, and a hash over all of them."""
    RECORDING_ENDED = "recording.ended"
    RECORDING_FAILED = "recording.failed"
    """What came after it is not recorded."""
    RECORDING_VIEWED = "recording.viewed"
    """Somebody read a recording: on the web by `identity`, by a command as `actor` of its fields."""
    POLICY_CHANGED = "policy.changed"
    AUDIT_CHECKPOINT = "audit.checkpoint"
    """How far the chain has come, signed; see `audit.chain`."""
    AUDIT_REMOVED = "audit.removed"
    """Events that were delivered to every sink, and kept for as long as the settings say."""
    CERTIFICATE_SIGNED = "certificate.signed"
    """For the key of a sign-in, written before the certificate leaves; its serial is `sign_in`."""


@dataclass(frozen=True, slots=True)
class Event:
    """One audit event; `at` is seconds since the epoch, `instance` names the process that saw it.

    `session` is None for what belongs to no session. `fields` holds plain JSON values only, and
    never a secret.
    """

    at: float
    kind: Kind
    instance: str
    session: str | None = None
    identity: str | None = None
    target: str | None = None
    source: str | None = None
    way: str | None = None
    reason: str | None = None
    fields: Mapping[str, str | int | float | bool | None] = field(
        default_factory=lambda: MappingProxyType({})
    )
