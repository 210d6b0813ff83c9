"""The canonical log line of one login, which has all of its fields."""

from collections.abc import Mapping

from stagedoor.model.denial import Denial
from stagedoor.model.session import LoginOrigin, OpenedSession, ResumedSession, SessionResult
from stagedoor.model.target import Target

LogLine = Mapping[str, str | int | float | None]


def make_ended_line(opened: OpenedSession, ended: SessionResult, now: float) -> LogLine:
    """Return the line for a session that has ended. `duration_s` counts from its opening in the audit."""
    grant = opened.ready.grant
    return {
        **_session_line(opened, ended.end.value),
        **({} if grant.request is None else {"request": grant.request}),
        "sent": ended.counts.sent,
        "received": ended.counts.received,
        "duration_s": round(now - opened.at, 3),
        "detail": ended.detail or None,
    }


def make_resumed_line(opened: OpenedSession, earlier: ResumedSession) -> LogLine:
    """Return the line for a session that continues because its client came back or a worker adopted it."""
    line = _session_line(opened, "adopted" if earlier.is_adopted else "resumed")
    return {**line, "away_s": round(earlier.away_s, 3)}


def make_not_resumed_line(opened: OpenedSession, why: str) -> LogLine:
    """Return the line for a login that did not connect to the session that it resumed."""
    return {**_session_line(opened, "not_resumed"), "detail": why or None}


def _session_line(opened: OpenedSession, outcome: str) -> LogLine:
    grant = opened.ready.grant
    return {
        "event": "session",
        "outcome": outcome,
        "session": opened.id,
        "trace": opened.ready.trace_id or None,
        "way": opened.access_method.value,
        "identity": grant.identity.name,
        "method": grant.identity.method.value,
        "credential": grant.identity.credential_id,
        "target": grant.target.host_name,
        "source": str(opened.source),
        "grant": grant.rule_id,
    }


def make_denied_line(
    denial: Denial, origin: LoginOrigin, identity: str | None, target: Target | None
) -> LogLine:
    """Return the line for a login that was refused."""
    return {
        "event": "session",
        "outcome": "denied",
        "reason": denial.reason.value,
        "trace": origin.trace_context.trace_id if origin.trace_context else None,
        "way": origin.access_method.value,
        "identity": identity,
        "target": target.host_name if target else None,
        "source": str(origin.source),
        "detail": denial.message,
    }
