"""The wait of a login for a person: for the user's proof in a browser, or for an approver's decision."""

import asyncio
from collections.abc import Callable

from stagedoor.model.denial import Denial
from stagedoor.model.grant import Grant
from stagedoor.model.shell import Progress, ProgressStep
from stagedoor.session.ports import PolicyReader

STEP_UP = "step-up"
"""The name of the step that waits for a proof."""
ACCESS_REQUEST = "access"
"""The name of the step that waits for an approval."""
PERSON_STEPS = frozenset({STEP_UP, ACCESS_REQUEST})
"""The steps in which a person has to act."""
ACCESS_GRANTED = "access granted"
"""The name of the step after an approval."""
SHOWN_STEPS = PERSON_STEPS | {ACCESS_GRANTED}
"""The steps that are shown at once, also by scp and rsync."""

Check = Callable[[], Grant | Denial | ProgressStep]
"""Returns the result of the wait by the policy in memory, or the step to show while it continues."""


async def wait_for_person(
    check: Check,
    policy: PolicyReader,
    progress: Progress,
    wait_s: float,
    find_pause: Callable[[], float],
) -> Grant | Denial | None:
    """Call `check` after each change of the policy until it returns a verdict, and return that.

    Return None after `wait_s` seconds without a verdict. `find_pause` returns the seconds after which `check`
    is called without a change. The step is then repeated, so that clients do not time out.
    """
    clock = asyncio.get_running_loop().time
    until, due, shown = clock() + wait_s, 0.0, None
    while True:
        version = policy.version
        step = check()
        if not isinstance(step, ProgressStep):
            return step
        now = clock()
        if step != shown or now >= due:
            progress(step)
            shown, due = step, now + find_pause()
        if now >= until:
            return None
        await policy.wait_for_change(version, min(due, until) - now)
