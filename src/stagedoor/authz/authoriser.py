"""The authorisation stage: `decide`, with the policy and the clock of this process."""

from collections.abc import Callable, Iterable, Iterator

from stagedoor.authz import guest
from stagedoor.authz.decide import authorise, select_targets
from stagedoor.authz.step_up import NO_STEP_UP, StepUpRules, check_proof
from stagedoor.model.denial import POLICY_UNAVAILABLE, Denial
from stagedoor.model.grant import Grant
from stagedoor.model.identity import Identity, SignIn
from stagedoor.model.policy import Policy
from stagedoor.model.target import Target

REMEMBERED = 10_000
"""The most grants that are remembered, about 3 MB."""


class GrantCache:
    """A cache of the grants by one policy, for the `Authoriser`s of a process.

    By the same policy, a grant changes only when it or a rule ends. So a grant is kept as long as the policy
    is the same object, and thousands of sessions share one. Denials are not kept.
    """

    def __init__(self) -> None:
        self._grants = _PolicyGrants(Policy())

    def find(self, policy: Policy) -> "_PolicyGrants":
        """Return the grants by `policy`, after dropping those by any other."""
        grants = self._grants
        if grants.policy is not policy:
            grants = self._grants = _PolicyGrants(policy)
        return grants


class _PolicyGrants:
    """A policy and its grants, in one object so that threads see a consistent pair."""

    __slots__ = ("_by_id", "_grants", "policy")

    def __init__(self, policy: Policy) -> None:
        self.policy = policy
        self._grants: dict[tuple[Identity, str | None, SignIn | None, Target], Grant] = {}
        self._by_id: dict[int, Grant] = {}
        """The same grants by their id(), which is unique as long as they are kept here."""

    def holds(self, grant: Grant, now: float) -> bool:
        """Return True if this same object is a grant by the policy and has not ended."""
        return self._by_id.get(id(grant)) is grant and grant.is_current(now)

    def authorise(self, identity: Identity, target: Target, now: float) -> Grant | Denial:
        """Return the cached grant, or the result of `authz.decide.authorise`."""
        # The hash and the sign-in are added because they are no part of an identity's value: a grant by an
        # old password must not be confused with one by the new password.
        key = (identity, identity.password_hash, identity.sign_in, target)
        grant = self._grants.get(key)
        if grant is not None and grant.is_current(now):
            return grant
        verdict = authorise(self.policy, identity, target, now)
        if isinstance(verdict, Grant) and len(self._grants) < REMEMBERED:
            if grant is not None:
                self._by_id.pop(id(grant), None)
            self._grants[key] = self._by_id[id(verdict)] = verdict
        return verdict


class Authoriser:
    """The authorisation stage, which decides from memory, without waiting. For any thread.

    `policy` returns the current policy, and `now` the time in seconds since the epoch. `step_up` has the
    targets that require more than a grant. Several authorisers may share a `cache`, since a login asks each
    in turn.
    """

    def __init__(
        self,
        policy: Callable[[], Policy],
        now: Callable[[], float],
        step_up: StepUpRules = NO_STEP_UP,
        cache: GrantCache | None = None,
    ) -> None:
        self._policy = policy
        self._now = now
        self._step_up = step_up
        self._cache = cache or GrantCache()

    def authorise(
        self, identity: Identity, target: Target, *, includes_unbegun: bool = True
    ) -> Grant | Denial:
        """Return a grant if `identity` may enter `target` now, else a denial.

        With `includes_unbegun` False, an approved access request counts only if its time has begun.
        """
        policy = self._policy()
        if policy.is_unavailable:
            return POLICY_UNAVAILABLE
        verdict = self._cache.find(policy).authorise(identity, target, self._now())
        if includes_unbegun or isinstance(verdict, Denial) or verdict.request is None:
            return verdict
        return authorise(policy, identity, target, self._now(), includes_unbegun=False)

    def select_targets(self, identity: Identity, targets: Iterable[Target]) -> Iterator[Target]:
        """Yield the targets for which there may be a grant; see `authz.decide.select_targets`."""
        return select_targets(self._policy(), identity, targets)

    def authorise_share(self, identity: Identity, share_id: str) -> Grant | Denial:
        """Return what this share permits `identity` now. See `authz.guest`."""
        return guest.authorise_share(self._policy(), identity, share_id, self._now())

    def authorise_watching(
        self, identity: Identity, target: Target, terminal: str, host: str
    ) -> Grant | Denial:
        """Return a grant if `identity` may watch this terminal of `host` now, else a denial."""
        at = (target, terminal, host)
        return guest.authorise_watching(self._policy(), identity, *at, self._now())

    def check_proof(self, identity: Identity, target: Target) -> Denial | None:
        """Return why a grant does not suffice now, or None if it does. See `authz.step_up`."""
        return check_proof(self._step_up, self._policy(), identity, target, self._now())

    def judge_again(self, grant: Grant) -> Grant | Denial:
        """Return a new grant if the reasons for `grant` still hold, else a denial."""
        if grant.guest is not None:
            return guest.judge_again(self._policy(), grant, self._now())
        policy = self._policy()
        if not policy.is_unavailable and self._cache.find(policy).holds(grant, self._now()):
            return grant
        verdict = self.authorise(grant.identity, grant.target)
        if isinstance(verdict, Grant) and verdict.request not in (None, grant.request):
            # A session does not start the clock of another request; only an entry does.
            return authorise(
                policy, grant.identity, grant.target, self._now(), includes_unbegun=False
            )
        return verdict
