"""The flow's values as audit events. Pure."""

from collections.abc import Mapping
from types import MappingProxyType

from stagedoor.model.denial import Denial
from stagedoor.model.event import Event, EventKind
from stagedoor.model.grant import Grant
from stagedoor.model.session import AccessMethod, Ended, Opened, RunningSession
from stagedoor.model.source import Source
from stagedoor.model.target import Target
from stagedoor.wire.oneline import escape, to_one_line

Fields = Mapping[str, str | int | float | bool | None]
_TEXT_LIMIT = 500
_WHOLE = frozenset({"what", "what_end", "original", "original_end", "path", "to", "first", "last"})
"""Fields of what happens in a session that are not cut: their makers bound them, and what a person ran or
moved must be in them as it was."""


def make_opened_event(opened: Opened, instance: str) -> Event:
    """Return the event of a session that begins."""
    grant = opened.ready.grant
    shell = opened.ready.shell
    return Event(
        at=opened.at,
        kind=EventKind.SESSION_OPENED,
        instance=instance,
        session=opened.id,
        identity=grant.identity.name,
        target=str(grant.target),
        source=str(opened.source),
        way=opened.way,
        fields=MappingProxyType(
            {
                "method": grant.identity.method.value,
                "credential": grant.identity.credential_id,
                "grant": grant.rule_id,
                "grant_expires_at": grant.expires_at,
                "shell": f"{shell.host}:{shell.port}",
                **({} if grant.request is None else {"request": grant.request}),
                **_guest(grant),
            }
        ),
    )


def make_resumed_event(opened: Opened, earlier: RunningSession, instance: str, now: float) -> Event:
    """Return the event of a session that goes on, because its client came back or a worker adopted it."""
    grant = opened.ready.grant
    fields: dict[str, str | int | float | bool | None] = {
        "method": grant.identity.method.value,
        "credential": grant.identity.credential_id,
        "grant": grant.rule_id,
        "grant_expires_at": grant.expires_at,
        "away_s": round(earlier.away_s, 3),
    }
    if earlier.is_adopted:
        fields = {
            "sent": opened.before.sent,
            "received": opened.before.received,
            "detail": "its client is away, and its gateway process has ended",
        }
    return Event(
        at=now,
        kind=EventKind.SESSION_FOUND if earlier.is_adopted else EventKind.SESSION_RESUMED,
        instance=instance,
        session=opened.id,
        identity=grant.identity.name,
        target=str(grant.target),
        source=str(opened.source),
        way=opened.way,
        fields=MappingProxyType(fields),
    )


def _guest(grant: Grant) -> Fields:
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


def make_closed_event(opened: Opened, ended: Ended, instance: str, now: float) -> Event:
    """Return the event of a session's end."""
    grant = opened.ready.grant
    return Event(
        at=now,
        kind=EventKind.SESSION_CLOSED,
        instance=instance,
        session=opened.id,
        identity=grant.identity.name,
        target=str(grant.target),
        source=str(opened.source),
        way=opened.way,
        reason=ended.end,
        fields=MappingProxyType(
            {
                "sent": ended.counts.sent,
                "received": ended.counts.received,
                "duration_s": round(max(0.0, now - opened.at), 3),
                "detail": clean_text(ended.detail),
            }
        ),
    )


def make_noted_event(
    opened: Opened, kind: EventKind, fields: Fields, instance: str, now: float
) -> Event:
    """Return the event of something inside a session: a channel, a recording."""
    grant = opened.ready.grant
    return Event(
        at=now,
        kind=kind,
        instance=instance,
        session=opened.id,
        identity=grant.identity.name,
        target=str(grant.target),
        source=str(opened.source),
        way=opened.way,
        fields=MappingProxyType(
            {
                name: _noted(name, value) if isinstance(value, str) else value
                for name, value in fields.items()
            }
        ),
    )


def _noted(name: str, value: str) -> str:
    return escape(value) if name in _WHOLE else clean_text(value)


def make_denied_event(
    denial: Denial,
    way: AccessMethod,
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
        way=way,
        reason=denial.reason,
        fields=MappingProxyType({"message": clean_text(denial.message)}),
    )


def clean_text(text: str) -> str:
    """Return `text` on one line of at most 500 characters that any terminal and database can take."""
    return to_one_line(text, _TEXT_LIMIT)
