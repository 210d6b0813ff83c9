"""The lines for logins and their ends. Pure; `show` reads the store and writes to the terminal."""

from collections.abc import Sequence
from dataclasses import dataclass

from stagedoor.model.event import Event, Kind
from stagedoor.model.session import End
from stagedoor.model.units import HOUR_S, MINUTE_S, size
from stagedoor.store.sessions import SessionRecord

_END = {
    End.EVICTED: "closed by an administrator",
    End.REVOKED: "closed: nothing lets them in any more",
    End.EXPIRED: "closed: the grant expired",
    End.DRAINED: "closed: the gateway stops",
}


@dataclass(frozen=True)
class StatusLine:
    """A line that stays on the screen. `good` is True for a login, False for a refusal, None for the rest."""

    text: str
    good: bool | None = None


def describe(event: Event) -> StatusLine | None:
    """Return the line for an audit event; None for events that the demo does not show."""
    who = f"{event.identity} → {event.target}"
    match event.kind:
        case Kind.SESSION_OPENED:
            return StatusLine(f"{who}  open, from {event.source}", True)
        case Kind.SESSION_CLOSED:
            lasted_s = float(event.fields.get("duration_s") or 0)
            sent, received = (int(event.fields.get(name) or 0) for name in ("sent", "received"))
            end = End(event.reason) if event.reason else End.CLOSED
            return StatusLine(
                f"{who}  {_END.get(end, end.value.replace('_', ' '))} after {lasting(lasted_s)}, "
                f"{size(sent)} up, {size(received)} down"
            )
        case Kind.SESSION_DENIED:
            name = event.identity or event.source
            who = f"{name} → {event.target}" if event.target else f"{name}"
            if (count := event.fields.get("count")) is not None:
                why = (event.reason or "").replace("_", " ")
                return StatusLine(f"{who}  refused {count} times more: {why}", False)
            return StatusLine(f"{who}  refused: {event.fields.get('message')}", False)
        case _:
            return None


def session_lines(records: Sequence[SessionRecord], now: float, rows: int) -> list[str]:
    """Return the open sessions, one a line, in at most `rows` lines. `now` is seconds since the epoch."""
    if not records:
        return ["nobody is inside"]
    lines = [
        f"{record.identity} in {record.target}  {lasting(now - record.opened_at)}  "
        f"{size(record.sent)} up, {size(record.received)} down"
        for record in records
    ]
    if len(lines) > rows:
        left_out = len(lines) - rows + 1
        lines = [*lines[: rows - 1], f"and {left_out} more"]
    return lines


def lasting(seconds: float) -> str:
    """Return a short text for a duration: `0.4 s`, `12 s`, `3 min`, `2 h 5 min`."""
    if seconds < 10:
        return f"{max(0.0, seconds):.1f} s"
    if seconds < MINUTE_S:
        return f"{seconds:.0f} s"
    minutes = int(seconds // MINUTE_S)
    if seconds < HOUR_S:
        return f"{minutes} min"
    return f"{minutes // 60} h {minutes % 60} min"
