"""The wait of a terminal's login until its user has proved in a browser that they are there."""

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
"""The name of the step that waits for the proof."""
STEP_UP_WAIT_S = 180.0
STEP_UP_LOOK_S = 0.2
"""The interval at which the policy in memory is checked; too short for a person to notice."""
STEP_UP_REPEAT_S = 10.0
"""The interval at which the instruction is repeated, so that a client which times out on silence waits."""


@dataclass(frozen=True, slots=True)
class StepUpRequest:
    """A request to the user `identity`, who has the `grant` and lacks a fresh proof."""

    step_ups: StepUps
    authoriser: Authoriser
    identity: Identity
    grant: Grant

    async def wait(
        self, refused: Denial, source: Source, progress: Progress | None, wait_s: float
    ) -> Grant | Denial:
        """Return the grant once the user has given the proof, or a denial.

        Without `progress` this does not wait, but returns `refused` with the address to go to. A wait
        shorter than `STEP_UP_WAIT_S` also ends with `refused`, and the caller asks again.
        """
        instruction = await self.step_ups.begin(self.identity, self.grant.target, source)
        if instruction is None:
            return refused
        refused = replace(
            refused, person_message=f"step-up: {instruction}, then connect again. {refused.line}"
        )
        if progress is None:
            return refused
        with self.step_ups.waiting(self.identity) as may_wait:
            verdict = await self._poll(instruction, progress, wait_s) if may_wait else refused
        return verdict or (refused if wait_s < STEP_UP_WAIT_S else self._late)

    async def _poll(
        self, instruction: str, progress: Progress, wait_s: float
    ) -> Grant | Denial | None:
        """Wait until the user has given the proof or may not enter any more. Return None on time-out."""
        for count in range(max(1, round(wait_s / STEP_UP_LOOK_S))):
            if count % int(STEP_UP_REPEAT_S / STEP_UP_LOOK_S) == 0:
                progress(StartStep(STEP_UP, instruction))
            await asyncio.sleep(STEP_UP_LOOK_S)
            still = self.authoriser.again(self.grant)
            if isinstance(still, Denial):
                return still
            if self.authoriser.step_up_needed(self.identity, self.grant.target) is None:
                return still
        return None

    @property
    def _late(self) -> Denial:
        return Denial.with_mend(
            Reason.STEP_UP_NEEDED,
            f"{self.grant.target.login_name} needs a recent proof that you are there, and none came within "
            f"{STEP_UP_WAIT_S / MINUTE_S:.3g} min",
            "step_up.targets",
            "connect again",
        )
