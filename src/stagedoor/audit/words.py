"""Conversion of the flow's values to audit events. Pure."""

from types import MappingProxyType

from stagedoor.model.denial import Denial
from stagedoor.model.event import Event, EventFields, EventKind
from stagedoor.model.grant import Grant
from stagedoor.model.session import (
    AccessMethod,
    EndReason,
    OpenedSession,
    ResumedSession,
    SessionResult,
)
from stagedoor.model.source import Source
from stagedoor.model.target import Target
from stagedoor.wire.oneline import escape, to_one_line

_TEXT_LIMIT = 500
_WHOLE = frozenset({"what", "what_end", "original", "original_end", "path", "to", "first", "last"})
"""The fields of events in a session that are not cut. The code that makes them bounds them, and they must
show exactly what a person ran or moved."""


def make_opened_event(opened: OpenedSession, instance: str) -> Event:
    """Return the event of a session that begins."""
    grant, shell = opened.ready.grant, opened.ready.shell
    fields: EventFields = {
        **_grant(grant),
        "shell": f"{shell.host}:{shell.port}",
        **({} if grant.request is None else {"request": grant.request}),
        **_guest(grant),
    }
    return _session_event(EventKind.SESSION_OPENED, opened, fields, instance, opened.at)


def make_resumed_event(
    opened: OpenedSession, earlier: ResumedSession, instance: str, now: float
) -> Event:
    """Return the event of a session that continues because its client came back or a worker adopted it."""
    if not earlier.is_adopted:
        back: EventFields = {**_grant(opened.ready.grant), "away_s": round(earlier.away_s, 3)}
        return _session_event(EventKind.SESSION_RESUMED, opened, back, instance, now)
    fields: EventFields = {
        "sent": opened.before.sent,
        "received": opened.before.received,
        "detail": "its client is away, and its gateway process has ended",
    }
    return _session_event(EventKind.SESSION_FOUND, opened, fields, instance, now)


def make_returned_event(opened: OpenedSession, why: str, instance: str, now: float) -> Event:
    """Return the event of a session that this process took over but does not carry.

    It is again that of the process that had it before, its `holder`, with the state that it had then.
    """
    earlier = opened.continues
    assert earlier is not None, "only a session that continues is returned"
    fields: EventFields = {
        "sent": opened.before.sent,
        "received": opened.before.received,
        "detail": clean_text(why),
        "holder": earlier.instance,
        "holder_source": earlier.source,
        "holder_closed_at": earlier.closed_at,
        "holder_end": earlier.end,
    }
    return _session_event(EventKind.SESSION_FOUND, opened, fields, instance, now)


def make_closed_event(
    opened: OpenedSession, ended: SessionResult, instance: str, now: float
) -> Event:
    """Return the event of a session's end."""
    fields: EventFields = {
        "sent": ended.counts.sent,
        "received": ended.counts.received,
        "duration_s": round(max(0.0, now - opened.at), 3),
        "detail": clean_text(ended.detail),
    }
    return _session_event(EventKind.SESSION_CLOSED, opened, fields, instance, now, ended.end)


def make_noted_event(
    opened: OpenedSession, kind: EventKind, fields: EventFields, instance: str, now: float
) -> Event:
    """Return the event of something inside a session: a channel, a recording."""
    noted = {
        name: _clean_field(name, value) if isinstance(value, str) else value
        for name, value in fields.items()
    }
    return _session_event(kind, opened, noted, instance, now)


def _session_event(
    kind: EventKind,
    opened: OpenedSession,
    fields: EventFields,
    instance: str,
    at: float,
    end: EndReason | None = None,
) -> Event:
    grant = opened.ready.grant
    return Event(
        at=at,
        kind=kind,
        instance=instance,
        session=opened.id,
        identity=grant.identity.name,
        target=str(grant.target),
        source=str(opened.source),
        access_method=opened.access_method,
        reason=end,
        fields=MappingProxyType(fields),
    )


def _grant(grant: Grant) -> EventFields:
    """Return the fields that say by which credential and grant a user entered."""
    return {
        "method": grant.identity.method.value,
        "credential": grant.identity.credential_id,
        "grant": grant.rule_id,
        "grant_expires_at": grant.expires_at,
    }


def _guest(grant: Grant) -> EventFields:
    """Return the fields of a guest, who was admitted to one terminal of another user."""
    guest = grant.guest
    if guest is None:
        return {}
    return {
        "terminal": guest.terminal,
        "host": guest.host,
        "share": guest.share,
        "may_type": guest.may_type,
    }


def _clean_field(name: str, value: str) -> str:
    return escape(value) if name in _WHOLE else clean_text(value)


def make_denied_event(
    denial: Denial,
    access_method: AccessMethod,
    source: Source,
    identity: str | None,
    target: Target | None,
    instance: str,
    now: float,
) -> Event:
    """Return the event of a refusal."""
    return Event(
        at=now,
        kind=EventKind.SESSION_DENIED,
        instance=instance,
        identity=None if identity is None else clean_text(identity),
        target=None if target is None else str(target),
        source=str(source),
        access_method=access_method,
        reason=denial.reason,
        fields=MappingProxyType({"message": clean_text(denial.message)}),
    )


def clean_text(text: str) -> str:
    """Return `text` as one line of at most 500 characters that is safe for any terminal and database."""
    return to_one_line(text, _TEXT_LIMIT)
