"""The authz stage: `decide` with the policy and the clock of this process."""

from collections.abc import Callable

from stagedoor.authz import guest
from stagedoor.authz.decide import authorise
from stagedoor.authz.step_up import NOWHERE, StepUpRules, step_up_needed
from stagedoor.model.denial import Denial
from stagedoor.model.grant import Grant
from stagedoor.model.identity import Identity, SignIn
from stagedoor.model.policy import Policy
from stagedoor.model.target import Target

REMEMBERED = 10_000
"""Grants that are remembered at most: some 3 MB."""


class Authoriser:
    """Satisfies `session.ports.Authoriser`. For any thread.

    `policy` returns the policy as it is now; `now` the time, seconds since the epoch; `step_up` says which
    targets want more than a grant.

    A login asks three times, and people come again and again, so grants are remembered as long as
    the policy is the same object: by one policy nothing but the grant's own end, or a rule's, changes it.
    Thousands of sessions then share one grant. Denials are worked out each time.
    """

    def __init__(
        self,
        policy: Callable[[], Policy],
        now: Callable[[], float],
        step_up: StepUpRules = NOWHERE,
    ) -> None:
        self._policy = policy
        self._now = now
        self._step_up = step_up
        self._given = _Given(policy())

    def authorise(self, identity: Identity, target: Target) -> Grant | Denial:
        """Return a grant if `identity` may enter `target` now, else the denial."""
        policy, now = self._policy(), self._now()
        given = self._given
        if given.by is not policy:
            given = self._given = _Given(policy)
        # The hash and the sign-in are named apart, since they are no part of an identity's value: what an
        # old password opened must not be covered by what the new one does.
        key = (identity, identity.password_hash, identity.sign_in, target)
        grant = given.grants.get(key)
        if grant is not None and grant.holds(now):
            return grant
        verdict = authorise(policy, identity, target, now)
        if isinstance(verdict, Grant) and len(given.grants) < REMEMBERED:
            given.grants[key] = verdict
        return verdict

    def by_share(self, identity: Identity, share_id: str) -> Grant | Denial:
        """Return what `identity` may do by this share now. See `authz.guest`."""
        return guest.by_share(self._policy(), identity, share_id, self._now())

    def to_watch(
        self, identity: Identity, target: Target, terminal: str, host: str
    ) -> Grant | Denial:
        """Return a grant if `identity` may watch this terminal of `host` now, else the denial."""
        at = (target, terminal, host)
        return guest.by_rule(self._policy(), identity, *at, self._now())

    def step_up_needed(self, identity: Identity, target: Target) -> Denial | None:
        """Return why a grant does not suffice now, None if it does. See `authz.step_up`."""
        return step_up_needed(self._step_up, self._policy(), identity, target, self._now())

    def again(self, grant: Grant) -> Grant | Denial:
        """Return a new grant if the reasons for `grant` still hold, else the denial."""
        if grant.guest is None:
            return self.authorise(grant.identity, grant.target)
        return guest.again(self._policy(), grant, self._now())


class _Given:
    """The grants given by one policy. In one object, so that threads see both or neither."""

    __slots__ = ("by", "grants")

    def __init__(self, policy: Policy) -> None:
        self.by = policy
        self.grants: dict[tuple[Identity, str | None, SignIn | None, Target], Grant] = {}
