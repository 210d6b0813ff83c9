"""How much a user may have changed in the store: a pure rate, with time as an argument.

Each change makes every worker read what is new and judge every session again. So what gives somebody
something (a key, a share, a sign-in) is counted. What takes away is not: it must work at any time, and there
is never more to take away than was given. Each worker counts for itself.
"""

import math

from stagedoor.model.denial import Denial, Reason
from stagedoor.model.identity import Identity

AT_ONCE = 60
"""Changes that nobody waits for: an administrator's script, or a browser with many tabs."""
EACH_S = 1.0
"""After those, one in so long. A worker looks for changes twice a second."""
REMEMBERED = 10_000
"""Users that are remembered at most; each has been let in by a credential before."""


class ChangeRateLimit:
    """The generic cell rate algorithm (ITU-T I.371), one cell for each change."""

    def __init__(self, at_once: int = AT_ONCE, each_s: float = EACH_S) -> None:
        self._spare_s = (at_once - 1) * each_s
        self._each_s = each_s
        self._due: dict[str, float] = {}
        """When each user's changes so far would be done, one after the other."""

    def take(self, name: str, now: float) -> float:
        """0 where `name` may change something now, which is counted; else how long to wait, seconds.

        `now` is monotonic.
        """
        due = max(self._due.get(name, now), now)
        wait_s = due - now - self._spare_s
        if wait_s > 0:
            return wait_s
        if len(self._due) >= REMEMBERED:
            self._due = {one: at for one, at in self._due.items() if at > now}
        self._due[name] = due + self._each_s
        return 0.0


def too_much(allowance: ChangeRateLimit, identity: Identity, now: float) -> Denial | None:
    """Why this user may be given nothing more now; None if they may."""
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
