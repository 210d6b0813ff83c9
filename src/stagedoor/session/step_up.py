"""The wait of a terminal's login until its user has proved in a browser that they are there."""

from dataclasses import dataclass, replace

from stagedoor.model.denial import Denial, Reason
from stagedoor.model.grant import Grant
from stagedoor.model.identity import Identity
from stagedoor.model.shell import Progress, StartStep
from stagedoor.model.source import Source
from stagedoor.model.units import MINUTE_S
from stagedoor.session.person_wait import STEP_UP, wait_for_person
from stagedoor.session.ports import Authoriser, PolicyReader, StepUps

STEP_UP_WAIT_S = 180.0
STEP_UP_REPEAT_S = 10.0


@dataclass(frozen=True, slots=True)
class StepUpRequest:
    """A request to the user `identity`, who has the `grant` and lacks a fresh proof."""

    step_ups: StepUps
    authoriser: Authoriser
    policy: PolicyReader
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

        def look() -> Grant | Denial | StartStep:
            still = self.authoriser.judge_again(self.grant)
            if isinstance(still, Denial):
                return still
            if self.authoriser.check_proof(self.identity, self.grant.target) is None:
                return still
            return StartStep(STEP_UP, instruction)

        with self.step_ups.waiting(self.identity) as may_wait:
            if not may_wait:
                return refused
            verdict = await wait_for_person(look, self.policy, progress, wait_s, STEP_UP_REPEAT_S)
        return verdict or (refused if wait_s < STEP_UP_WAIT_S else self._late)

    @property
    def _late(self) -> Denial:
        return Denial.with_mend(
            Reason.STEP_UP_NEEDED,
            f"{self.grant.target.login_name} needs a recent proof that you are there, and none came within "
            f"{STEP_UP_WAIT_S / MINUTE_S:.3g} min",
            "step_up.targets",
            "connect again",
        )
