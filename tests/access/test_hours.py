"""Hours of a rule: also over the days when clocks change, and fail closed."""

from dataclasses import replace
from datetime import datetime
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import update

from stagedoor.authz.access_request import find_rule_to_ask
from stagedoor.model.grant import Grant
from stagedoor.model.hours import parse_hours
from stagedoor.model.identity import Identity, Method
from stagedoor.store.policy import load_policy
from stagedoor.store.request_tables import request_rules
from tests.access.test_requests import APP, RULE, Desk, desk

__all__ = ["desk"]
BERLIN = ZoneInfo("Europe/Berlin")
WORK = "Mon-Fri 08:00-20:00 Europe/Berlin"


def at(text: str) -> float:
    return datetime.fromisoformat(text).timestamp()


def spans(hours: str, begin: str, end: str) -> list[tuple[str, str]]:
    """Return the ranges of `hours` between two times, found minute by minute, in UTC."""
    parsed, found, open_since = parse_hours(hours), [], None
    for now in range(int(at(begin)), int(at(end)), 60):
        is_open = parsed.find_end(now) is not None
        if is_open and open_since is None:
            open_since = now
        elif not is_open and open_since is not None:
            found.append((utc(open_since), utc(now)))
            open_since = None
    return found


def utc(now: float) -> str:
    return datetime.fromtimestamp(now, ZoneInfo("UTC")).strftime("%d %H:%M")


@pytest.mark.access(17)
def test_hours_are_those_of_the_clocks_before_and_after_they_change() -> None:
    # On 29 March 2026, 02:00 is 03:00; on 25 October, 03:00 is 02:00 again.
    assert spans(WORK, "2026-03-27T00:00Z", "2026-03-31T00:00Z") == [
        ("27 07:00", "27 19:00"),
        ("30 06:00", "30 18:00"),
    ]
    night = "22:00-06:00 Europe/Berlin"
    assert spans(night, "2026-03-28T12:00Z", "2026-03-29T12:00Z") == [("28 21:00", "29 04:00")]
    assert spans(night, "2026-10-24T12:00Z", "2026-10-25T12:00Z") == [("24 20:00", "25 05:00")]
    # What the clocks never show, or show twice.
    assert spans("02:30-05:00 Europe/Berlin", "2026-03-29T00:00Z", "2026-03-29T12:00Z") == [
        ("29 01:30", "29 03:00")
    ]
    assert spans("Sun 01:00-02:30 Europe/Berlin", "2026-10-24T22:00Z", "2026-10-25T12:00Z") == [
        ("24 23:00", "25 00:30")
    ]


@given(st.integers(1_700_000_000, 1_900_000_000))
def test_the_end_is_the_first_moment_outside(now: int) -> None:
    hours = parse_hours(WORK)
    end = hours.find_end(now)
    local = datetime.fromtimestamp(now, BERLIN)
    assert (end is not None) == (local.weekday() < 5 and 8 <= local.hour < 20)
    if end is not None:
        assert datetime.fromtimestamp(end, BERLIN).strftime("%H:%M") == "20:00"
        assert hours.find_end(end) is None


@pytest.mark.parametrize(
    "text",
    ["", "8-20 UTC", "08:00-20:00", "Mon-Foo 08:00-20:00 UTC", "08:00-08:00 UTC", "08:60-09:00 UTC",
     "24:00-01:00 UTC", "00:00-25:00 UTC", "08:00-20:00 Europe/Nowhere", "08:00-20:00 ../../etc/passwd",
     "Mon-Tue-Wed 08:00-20:00 UTC", "08:00-20:00 UTC\n"],
)  # fmt: skip
def test_hours_that_are_none_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r" is (not a|neither a) "):
        parse_hours(text)


def test_days_may_go_over_sunday_and_a_day_has_24_hours() -> None:
    assert parse_hours("Sat-Mon,Wed 00:00-24:00 UTC").days == {5, 6, 0, 2}
    assert spans("Wed 00:00-24:00 UTC", "2026-12-01T00:00Z", "2026-12-04T00:00Z") == [
        ("02 00:00", "03 00:00")
    ]


def may_ask(desk: Desk) -> bool:
    identity = Identity("dev", frozenset(), Method.CERTIFICATE)
    return find_rule_to_ask(load_policy(desk.database), identity, [APP], desk.now) is not None


@pytest.mark.access(17)
def test_outside_of_the_hours_no_user_asks_and_what_was_given_ends(desk: Desk) -> None:
    desk.now = at("2026-12-01T19:30+01:00")
    rule = desk.rule(replace(RULE, hours=parse_hours(WORK)))
    assert may_ask(desk)
    desk.decide(desk.make(rule))
    verdict = desk.verdict()
    assert isinstance(verdict, Grant)
    assert verdict.expires_at == at("2026-12-01T20:00+01:00")
    desk.now = at("2026-12-01T20:00+01:00")
    assert not may_ask(desk)
    assert not desk.may_enter()
    desk.now = at("2026-12-02T00:30+01:00")
    assert not desk.may_enter()


def test_hours_in_a_zone_that_this_machine_does_not_know_never_come(desk: Desk) -> None:
    desk.rule(replace(RULE, hours=parse_hours("00:00-24:00 UTC")))
    assert may_ask(desk)
    with desk.database.write() as transaction:
        transaction.execute(update(request_rules).values(hours="00:00-24:00 Mars/Olympus"))
    assert not may_ask(desk)
