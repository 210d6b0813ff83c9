"""The lines that a person who watches the demo reads."""

import pytest
from msgspec.structs import replace

from stagedoor.demo.show import describe, format_duration, render_sessions
from stagedoor.model.event import Event, EventKind
from stagedoor.store.sessions import SessionRecord

RECORD = SessionRecord(
    id="1a", opened_at=100.0, closed_at=None, identity="dev", target="app01.ssh",
    source="127.0.0.1:40000", access_method="connect", instance="i", end=None, sent=2048, received=10,
    last_active_at=None, close_requested_at=None, close_reason=None,
)  # fmt: skip


def event(kind: EventKind, reason: str | None = None, **fields: str | float) -> Event:
    return Event(
        1.0, kind, "i", "1a", "dev", "app01.ssh", "127.0.0.1:40000", "connect", reason, fields
    )


@pytest.mark.parametrize(
    ("happened", "text", "good"),
    [
        (event(EventKind.SESSION_OPENED), "dev → app01.ssh  open, from 127.0.0.1:40000", True),
        (
            event(EventKind.SESSION_RESUMED, away_s=5.0),
            "dev → app01.ssh  back after 5.0 s, from 127.0.0.1:40000",
            True,
        ),
        (
            event(EventKind.SESSION_CLOSED, "closed", duration_s=1.25, sent=0, received=2048),
            "dev → app01.ssh  closed after 1.2 s, 0 B up, 2.0 KiB down",
            None,
        ),
        (
            event(EventKind.SESSION_CLOSED, "revoked", duration_s=75.0),
            "dev → app01.ssh  closed: nothing lets them in any more after 1 min, 0 B up, 0 B down",
            None,
        ),
        (
            # The sum of those that were alike within a minute.
            event(EventKind.SESSION_DENIED, "no_grant", count=3, first_at=1.0, last_at=2.0),
            "dev → app01.ssh  refused 3 times more: no grant",
            False,
        ),
        (
            event(EventKind.SESSION_DENIED, "no_grant", message="no grant for dev"),
            "dev → app01.ssh  refused: no grant for dev",
            False,
        ),
        (
            event(EventKind.RUN_STARTED, run="3f2a", what="./report.sh"),
            "dev → app01.ssh  run 3f2a started: ./report.sh",
            True,
        ),
        (
            event(EventKind.RUN_ENDED, "timed_out", run="3f2a", code=124, duration_s=75.0),
            "dev → app01.ssh  run 3f2a timed out with 124 after 1 min",
            None,
        ),
    ],
)
def test_each_event_is_one_line(happened: Event, text: str, good: bool | None) -> None:
    line = describe(happened)
    assert line is not None
    assert (line.text, line.good) == (text, good)


def test_somebody_unknown_at_no_app_is_told_by_his_address() -> None:
    anonymous = replace(event(EventKind.SESSION_DENIED, "bad_request", message="no"), identity=None)
    line = describe(replace(anonymous, target=None))
    assert line is not None
    assert line.text == "127.0.0.1:40000  refused: no"


def test_a_change_of_the_policy_is_no_news() -> None:
    assert describe(event(EventKind.POLICY_CHANGED)) is None


def test_those_inside_never_take_more_lines_than_there_are() -> None:
    assert render_sessions([], 0.0, 3) == ["no open sessions"]
    assert render_sessions([RECORD], 160.0, 3) == ["dev in app01.ssh  1 min  2.0 KiB up, 10 B down"]
    assert render_sessions([RECORD] * 5, 160.0, 3)[2:] == ["and 3 more"]
    assert len(render_sessions([RECORD] * 3, 160.0, 3)) == 3


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(-1, "0.0 s"), (0.44, "0.4 s"), (59.4, "59 s"), (60, "1 min"), (7500, "2 h 5 min")],
)
def test_durations_are_as_coarse_as_they_are_long(seconds: float, text: str) -> None:
    assert format_duration(seconds) == text
