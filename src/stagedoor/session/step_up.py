"""A terminal's login that waits until its person has proved in a browser that they are there."""

import asyncio
from dataclasses import dataclass, replace

from stagedoor.model.denial import Denial, Reason
from stagedoor.model.grant import Grant
from stagedoor.model.identity import Identity
from stagedoor.model.shell import Progress, StartStep
from stagedoor.model.source import Source
from stagedoor.model.units import MINUTE_S
from stagedoor.session.ports import Authoriser, StepUps

STEP_UP = "step-up"
"""The step of a login that waits for its person's proof."""
STEP_UP_WAIT_S = 180.0
STEP_UP_LOOK_S = 0.2
"""So often the policy in memory is looked at: a person sees no delay."""
STEP_UP_TELL_S = 10.0
"""So often it is said again, so that a client that counts silence goes on waiting."""


@dataclass(frozen=True, slots=True)
class StepUpRequest:
    """Put to the person behind `identity`, who has the `grant` and lacks a fresh proof."""

    step_ups: StepUps
    authoriser: Authoriser
    identity: Identity
    grant: Grant

    async def answered(
        self, refused: Denial, source: Source, progress: Progress | None, wait_s: float
    ) -> Grant | Denial:
        """The grant once they have proved it. Without `progress` nobody waits: `refused`, and where to go.
        One who waits for less than `STEP_UP_WAIT_S` is `refused` too, and asks again."""
        told = await self.step_ups.begin(self.identity, self.grant.target, source)
        if told is None:
            return refused
        refused = replace(
            refused, person_message=f"step-up: {told}, then connect again. {refused.message}"
        )
        if progress is None:
            return refused
        with self.step_ups.waiting(self.identity) as allowed:
            found = await self._waited(told, progress, wait_s) if allowed else refused
        return found or (refused if wait_s < STEP_UP_WAIT_S else self._late)

    async def _waited(self, told: str, progress: Progress, wait_s: float) -> Grant | Denial | None:
        """Until somebody has proved that they are there, or may not enter any more; None: neither in time."""
        for look in range(max(1, round(wait_s / STEP_UP_LOOK_S))):
            if look % int(STEP_UP_TELL_S / STEP_UP_LOOK_S) == 0:
                progress(StartStep(STEP_UP, told))
            await asyncio.sleep(STEP_UP_LOOK_S)
            still = self.authoriser.again(self.grant)
            if isinstance(still, Denial):
                return still
            if self.authoriser.step_up_needed(self.identity, self.grant.target) is None:
                return still
        return None

    @property
    def _late(self) -> Denial:
        return Denial(
            Reason.STEP_UP_NEEDED,
            f"nobody proved within {STEP_UP_WAIT_S / MINUTE_S:.3g} min that they are there, which "
            f"{self.grant.target.login_name} wants (step_up.targets); connect again",
        )
