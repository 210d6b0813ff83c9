"""The settings of step-up: the apps for which a grant is not enough."""

from typing import Annotated

from msgspec import Meta

from stagedoor.model.selector import TargetPattern, parse_target_pattern
from stagedoor.model.units import MINUTE_S
from stagedoor.settings.form import Seconds, Table


class StepUp(Table, frozen=True):
    """The apps that require a fresh proof that the person is there, for all users and grants."""

    targets: Annotated[
        tuple[str, ...],
        Meta(
            description="The apps, by patterns: `shop`, `*.production`. All access methods require the proof "
            "when a user enters; an open session goes on without a new one."
        ),
    ] = ()
    fresh_s: Annotated[
        Seconds,
        Meta(
            description="A proof counts for this many seconds, for all sessions that the same sign-in "
            "opens. A registered security key that asked for a PIN or a finger (an `sk-` key, user "
            "verification) counts for its own connection, from the login on."
        ),
    ] = 15 * MINUTE_S

    def __post_init__(self) -> None:
        for entry in self.targets:
            if parse_target_pattern(entry) is None:
                raise ValueError(
                    f"step_up.targets holds {entry!r}; write an app: `shop`, `app*.staging`, `*.production`"
                )

    @property
    def patterns(self) -> tuple[TargetPattern, ...]:
        """Return the parsed `targets`."""
        return tuple(p for p in map(parse_target_pattern, self.targets) if p is not None)
