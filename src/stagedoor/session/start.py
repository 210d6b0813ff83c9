"""The start of a shell within its limit of time."""

import asyncio

from stagedoor.model.denial import Denial, Reason
from stagedoor.model.grant import Grant
from stagedoor.model.shell import Progress, ProgressStep, Shell
from stagedoor.shells.ports import Shells

FIRST_STEP = ProgressStep("requested")


async def start_shell(
    shells: Shells, grant: Grant, progress: Progress, limit_s: float
) -> Shell | Denial:
    """Start the shell within `limit_s` seconds, and as many more as a step asks for.

    Return the running shell, or a denial that names the last step.
    """
    last = FIRST_STEP
    began, allowed_s = asyncio.get_running_loop().time(), limit_s

    def remember(step: ProgressStep) -> None:
        nonlocal last, allowed_s
        last = step
        if limit_s + step.patience_s > allowed_s:
            allowed_s = limit_s + step.patience_s
            limit.reschedule(began + allowed_s)
        progress(step)

    try:
        async with asyncio.timeout_at(began + allowed_s) as limit:
            return await shells.ensure(grant, remember)
    except TimeoutError:
        return Denial(
            Reason.START_TIMEOUT,
            f"the shell {grant.target.shell_name} was not ready after {allowed_s:g} s "
            f"(last step: {last.line})",
            retry_after_s=5,
        )
