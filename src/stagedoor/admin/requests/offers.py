"""Access requests by the policy in memory: what users may ask for, and which requests are open."""

from collections.abc import Callable, Iterable

from stagedoor.admin.context import WorkerContext
from stagedoor.authz.access_request import find_rule_to_ask, is_approver
from stagedoor.model.access_request import AccessRequest, Offer, RequestRule, RequestState
from stagedoor.model.identity import Identity
from stagedoor.model.permission import Permission
from stagedoor.model.selector import TargetPattern
from stagedoor.model.target import SSH_PORT, Target


class RequestOffers:
    """Implements `session.ports.AccessOffers`, for the pages and commands too. It reads no store."""

    def __init__(
        self,
        context: WorkerContext,
        apps: Callable[[], Iterable[Target]],
        site: str | None = None,
    ) -> None:
        """`apps` returns the apps that exist. `site` is the URL of the WebShell, None if it has none."""
        self._settings = context.settings
        self._policy, self._now = context.policy, context.now
        self._apps = apps
        self._pages = None if site is None else f"{site}/requests"

    def find_offer(
        self, identity: Identity, target: Target, needs: Permission = Permission.ENTER
    ) -> Offer | None:
        """Return what `identity` may ask for at `target`, or None."""
        policy, now = self._policy(), self._now()
        rule = find_rule_to_ask(policy, identity, [target], now, frozenset({needs}))
        if rule is None:
            return None
        theirs = [r for r in policy.find_requests(identity.name) if target in r.targets]
        first = {(r.find_state(now), r.is_later(now)): r for r in reversed(theirs)}
        request = first.get((RequestState.PENDING, False))
        later = first.get((RequestState.APPROVED, True))
        where = self._where(identity, target, needs)
        if request is None:
            return Offer(rule, target, where, later=later)
        page, left_s = self.get_page(request), request.ends_at - now
        return Offer(rule, target, where, request, page, later, left_s)

    def _where(self, identity: Identity, target: Target, needs: Permission) -> str:
        """Return how the user can ask for `target`, as text. The page asks only for entering."""
        if needs is not Permission.ENTER:
            at = self._at(identity)
            return f"ssh {at} request {target.login_name} --allow {needs} REASON"
        if self._pages is not None:
            return f"{self._pages}?app={target.login_name}"
        if not self._settings.ssh.addresses:
            return "the WebShell's page /requests"
        return f"ssh {self._at(identity)} request {target.login_name} REASON"

    def find_apps(self, identity: Identity, pattern: TargetPattern) -> list[Target]:
        """Return the apps that match a pattern and that the user may ask for."""
        return [
            target
            for target in self._apps()
            if pattern.covers(target) and self.find_offer(identity, target) is not None
        ]

    def get_page(self, request: AccessRequest) -> str | None:
        """Return the URL of a request's page, or None if browsers cannot reach it."""
        return None if self._pages is None else f"{self._pages}/{request.id}"

    def _at(self, identity: Identity) -> str:
        """Return how ssh reaches the gateway's page: `dev@gw`, or `-p 8023 dev@gw`."""
        name, port = self._settings.ssh.public_at or ("GATEWAY", SSH_PORT)
        return (
            f"{identity.name}@{name}" if port == SSH_PORT else f"-p {port} {identity.name}@{name}"
        )

    def find(self, number: int) -> AccessRequest | None:
        """Return a request that is pending or approved by the policy in memory, or None."""
        return self._policy().requests.get(number)

    def find_rule_of(self, request: AccessRequest) -> RequestRule | None:
        """Return the rule of a request, or None if it was removed."""
        return self._policy().request_rules.get(request.rule)

    def list_rules(self, identity: Identity) -> list[RequestRule]:
        """Return the rules by which the user may ask for something."""
        policy = self._policy()
        subjects = policy.find_subjects(identity.name)
        return [rule for rule in policy.request_rules.values() if rule.subject in subjects]

    def is_concerned(self, identity: Identity) -> bool:
        """Return whether the user may ask or decide by some rule."""
        policy = self._policy()
        subjects, rules = policy.find_subjects(identity.name), policy.request_rules.values()
        return any(rule.subject in subjects or rule.may_decide(subjects) for rule in rules)

    def count_to_decide(self, identity: Identity) -> int | None:
        """Return how many requests wait for the user's decision; None if the user cannot ask or decide."""
        if not self.is_concerned(identity):
            return None
        policy, now, name = self._policy(), self._now(), identity.name
        return sum(
            request.find_state(now) is RequestState.PENDING
            and request.user != name
            and (rule := policy.request_rules.get(request.rule)) is not None
            and is_approver(policy, rule, name, now - request.created_at)
            for request in policy.requests.values()
        )
