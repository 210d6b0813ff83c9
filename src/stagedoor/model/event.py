"""Audit events, which are kept for ever or until their retention ends."""

from collections.abc import Mapping
from enum import StrEnum
from types import MappingProxyType

from msgspec import Struct


class EventKind(StrEnum):
    """The kinds of events.

    `session.*` come from the login flow, `run.*` from one-off tasks, `policy.*` from administrators,
    `audit.*` from the audit's own upkeep.
    """

    SESSION_OPENED = "session.opened"
    SESSION_CLOSED = "session.closed"
    SESSION_DENIED = "session.denied"
    SESSION_FOUND = "session.found"
    """A session that was closed as lost is alive. Its gateway could not reach the shared store, or another
    process of that gateway has adopted it (`resume`). With a `holder` in its fields: a login failed to resume
    the session, which is again that of the process that had it before."""
    SESSION_RESUMED = "session.resumed"
    """The client of a resumable tunnel came back over another connection. The fields have its address and how
    long it was away."""
    CHANNEL_OPENED = "channel.opened"
    """A shell, a command, sftp or a forward began, in a session whose SSH ends at the gateway."""
    CHANNEL_CLOSED = "channel.closed"
    CHANNEL_FILE = "channel.file"
    """A file was sent or received, or sftp removed, renamed or linked it or set its attributes."""
    CHANNEL_FILES = "channel.files"
    """A thousand more files in a channel with very many, with their count and a hash over all of them."""
    RECORDING_ENDED = "recording.ended"
    RECORDING_FAILED = "recording.failed"
    """The recording failed; whatever follows in the terminal is not recorded."""
    RECORDING_VIEWED = "recording.viewed"
    """A recording was read: on the web by `identity`, or with a command by the `actor` in its fields."""
    RUN_STARTED = "run.started"
    """A one-off task was started by `identity`; `what` in its fields is the command."""
    RUN_ENDED = "run.ended"
    RUN_CANCELLED = "run.cancelled"
    """`identity` asked for the end of a run; its `run.ended` follows."""
    RUN_VIEWED = "run.viewed"
    """The output of a run was read by `identity`, who has not started it."""
    POLICY_CHANGED = "policy.changed"
    AUDIT_CHECKPOINT = "audit.checkpoint"
    """The current end of the chain, signed; see `admin.audit.chain`."""
    AUDIT_REMOVED = "audit.removed"
    """Events were removed, after delivery to every sink and after the retention in the settings."""
    CERTIFICATE_SIGNED = "certificate.signed"
    """A certificate was signed for the key of a sign-in. The event is written before the certificate is
    sent; the certificate's serial is `sign_in`."""


Plain = str | int | float | bool | None
"""A value in the fields of an event."""
EventFields = Mapping[str, Plain]


class Event(Struct, frozen=True):
    """One audit event; `at` is seconds since the epoch, `instance` the process that observed it.

    `session` is None for events outside a session. `fields` holds plain JSON values only, and never a
    secret.
    """

    at: float
    kind: EventKind
    instance: str
    session: str | None = None
    identity: str | None = None
    target: str | None = None
    source: str | None = None
    access_method: str | None = None
    reason: str | None = None
    fields: EventFields = MappingProxyType({})
