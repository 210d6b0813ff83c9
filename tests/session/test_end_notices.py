"""Notices before access on request ends, by the clock of the loop alone."""

import asyncio
from dataclasses import replace

import pytest

from stagedoor.model.grant import Grant
from stagedoor.model.identity import Identity, Method
from stagedoor.model.target import Target
from stagedoor.session.end_notices import EndNotices
from tests.virtual_time import in_virtual_time

DEV = Identity("dev", frozenset(), Method.PASSWORD)
GRANT = Grant(DEV, Target("app01", "prod"), 0, 400.0, request=311)
FIVE, ONE = (
    f"access to app01.prod ends in {minutes} min; ask again to extend it" for minutes in (5, 1)
)


def show_at(shown: list[tuple[float, str]]) -> EndNotices:
    now = asyncio.get_running_loop().time
    return EndNotices(lambda line: shown.append((now(), line)), now)


@pytest.mark.access(15)
@in_virtual_time
async def test_both_are_shown_and_a_grant_that_stays_changes_nothing() -> None:
    shown: list[tuple[float, str]] = []
    notices = show_at(shown)
    notices.plan(GRANT)
    await asyncio.sleep(200)
    notices.plan(replace(GRANT, changes_at=300.0))
    await asyncio.sleep(1000)
    assert shown == [(100, FIVE), (340, ONE)]


@pytest.mark.access(15)
@in_virtual_time
async def test_a_notice_is_taken_back_once_access_is_extended() -> None:
    shown: list[tuple[float, str]] = []
    notices = show_at(shown)
    notices.plan(GRANT)
    await asyncio.sleep(200)
    notices.plan(replace(GRANT, expires_at=900.0, request=312))
    await asyncio.sleep(500)
    notices.plan(replace(GRANT, expires_at=None, rule_id=7, request=None))
    await asyncio.sleep(500)
    assert shown == [(100, FIVE), (200, ""), (600, FIVE), (700, "")]


@in_virtual_time
async def test_a_standing_grant_and_a_session_that_is_over_show_nothing() -> None:
    shown: list[tuple[float, str]] = []
    notices = show_at(shown)
    notices.plan(replace(GRANT, request=None))
    await asyncio.sleep(500)
    notices.plan(replace(GRANT, expires_at=2000.0))
    notices.cancel()
    await asyncio.sleep(5000)
    assert shown == []


@pytest.mark.access(15)
@in_virtual_time
async def test_a_terminal_that_opens_late_shows_it_at_once_and_once() -> None:
    shown: list[tuple[float, str]] = []
    notices = show_at(shown)
    notices.plan(replace(GRANT, expires_at=130.0))
    await asyncio.sleep(10)
    notices.plan(replace(GRANT, expires_at=130.0, changes_at=50.0))
    await asyncio.sleep(1000)
    assert shown == [(0, FIVE.replace("5", "3")), (70, ONE)]
