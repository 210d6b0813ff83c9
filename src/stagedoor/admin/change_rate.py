"""A limit on how fast a user may change the store: a pure rate, with time as an argument.

Each change makes every worker read the policy again and check every session again. So changes that give a
user something (a key, a share, a sign-in) are counted. Changes that take something away are not: they must
work at any time, and no more can be taken away than was given. Each worker counts on its own.
"""

import math

from stagedoor.model.denial import Denial, Reason
from stagedoor.model.identity import Identity

AT_ONCE = 60
"""The changes in a row that need not wait, for a script or for a browser with many tabs."""
EACH_S = 1.0
"""The time per change after those. A worker looks for changes twice a second."""
REMEMBERED = 10_000
"""The users that are remembered at most. Each of them has authenticated before."""


class ChangeRateLimit:
    """The generic cell rate algorithm (ITU-T I.371), one cell for each change."""

    def __init__(self, at_once: int = AT_ONCE, each_s: float = EACH_S) -> None:
        self._spare_s = (at_once - 1) * each_s
        self._each_s = each_s
        self._due: dict[str, float] = {}
        """When each user's changes so far would be done, one after the other."""

    def take(self, name: str, now: float) -> float:
        """Count a change by the user `name` and return 0, or return how many seconds they have to wait.

        `now` is monotonic.
        """
        due = max(self._due.get(name, now), now)
        wait_s = due - now - self._spare_s
        if wait_s > 0:
            return wait_s
        if len(self._due) >= REMEMBERED:
            self._due = {user: due_at for user, due_at in self._due.items() if due_at > now}
        self._due[name] = due + self._each_s
        return 0.0


def count_change(allowance: ChangeRateLimit, identity: Identity, now: float) -> Denial | None:
    """Count a change that gives this user something. Return why it has to wait, or None if it need not."""
    wait_s = allowance.take(identity.name, now)
    if wait_s == 0:
        return None
    seconds = math.ceil(wait_s)
    return Denial(
        Reason.THROTTLED,
        f"{identity.name} has made {AT_ONCE} changes (passwords, tokens, keys, shares, sign-ins) in a row; "
        f"try again in {seconds} s",
        seconds,
    )
