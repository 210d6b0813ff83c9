"""Notices in terminals that access on request is about to end."""

import asyncio
import math
from collections.abc import Callable

from stagedoor.model.grant import Grant
from stagedoor.model.units import MINUTE_S

NOTICE_MINUTES = (5, 1)
"""The minutes before the end at which terminals show a notice. A terminal opened later shows one at once."""


class EndNotices:
    """The timers of one session. Belongs to one event loop.

    `show` gets a line for the user, or "" to withdraw the last one because access was extended.
    `now` returns seconds since the epoch.
    """

    def __init__(self, show: Callable[[str], None], now: Callable[[], float]) -> None:
        self._show = show
        self._now = now
        self._timers: list[asyncio.Handle] = []
        self._shown: Grant | None = None

    def plan(self, grant: Grant) -> None:
        """Follow the grant that covers the session now. Only a grant by an access request has notices."""
        self.cancel()
        is_on_request = grant.request is not None and grant.expires_at is not None
        ends_at = grant.expires_at if is_on_request else None
        if self._shown is not None and self._shown.expires_at != ends_at:
            self._shown = None
            self._show("")
        if ends_at is None:
            return
        loop, left_s = asyncio.get_running_loop(), ends_at - self._now()
        if self._shown is None and left_s < NOTICE_MINUTES[0] * MINUTE_S:
            minutes_left = max(1, math.ceil(left_s / MINUTE_S))
            self._timers.append(loop.call_soon(self._notify, grant, minutes_left))
        for minutes in NOTICE_MINUTES:
            if (wait_s := left_s - minutes * MINUTE_S) > 0:
                self._timers.append(loop.call_later(wait_s, self._notify, grant, minutes))

    def _notify(self, grant: Grant, minutes: int) -> None:
        self._shown = grant
        name = grant.target.login_name
        self._show(f"access to {name} ends in {minutes} min; ask again to extend it")

    def cancel(self) -> None:
        """Cancel all notices."""
        for timer in self._timers:
            timer.cancel()
        self._timers.clear()
