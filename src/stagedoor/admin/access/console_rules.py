"""Request rules, roles and hooks on the administrators' pages."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from stagedoor.admin import roles
from stagedoor.admin.access.console import ConsoleService
from stagedoor.admin.blocking import call_blocking, call_in_transaction
from stagedoor.admin.requests import access_requests
from stagedoor.authz.access_difference import find_administering_by, find_asking_by
from stagedoor.authz.roles import check_request_rule, check_role_change
from stagedoor.model.access_request import RequestRule, RequestState
from stagedoor.model.denial import Denial, Reason
from stagedoor.model.identity import Identity
from stagedoor.model.role import Role, RoleRule
from stagedoor.settings.hooks import HookSettings
from stagedoor.store.access_requests import read_rule_uses
from stagedoor.store.database import Transaction
from stagedoor.store.deliveries import count_backlogs

Rule = RequestRule | RoleRule


@dataclass(frozen=True, slots=True)
class HookState:
    """A hook of the settings; `backlog` counts the events of the audit that it has not handled yet."""

    hook: HookSettings
    backlog: int


@dataclass(frozen=True, slots=True)
class RulesView:
    """All rules besides grants. The viewer may change request rules and roles if `may_change`.

    `used` has when a user last asked by a request rule, and the user, by the number of the rule.
    """

    request_rules: Sequence[RequestRule]
    used: Mapping[int, tuple[float, str]]
    roles: Sequence[RoleRule]
    hooks: Sequence[HookState]
    may_change: bool


@dataclass(frozen=True, slots=True)
class RulePreview:
    """A rule to add or remove.

    `users` gain or lose what it gives. `ending` are the numbers of approved requests that end with it. `used`
    is when a user last asked by it, and the user; None for a role or an unused rule.
    """

    rule: Rule
    users: Sequence[str]
    may_change: bool
    ending: Sequence[int] = ()
    used: tuple[float, str] | None = None


async def list_rules(console: ConsoleService, identity: Identity) -> RulesView | Denial:
    """Return all rules besides grants."""
    if (denial := console.check_role(identity, Role.AUDITOR)) is not None:
        return denial

    hooks = console.settings.hooks
    names = [f"hook {hook.name}" for hook in hooks]

    def read(
        transaction: Transaction,
    ) -> tuple[Mapping[str, int], Mapping[int, tuple[float, str]]]:
        return count_backlogs(transaction, names), read_rule_uses(transaction)

    stored = await call_in_transaction(console.database.read, read)
    if isinstance(stored, Denial):
        return stored
    backlogs, used = stored
    policy = console.policy()
    return RulesView(
        list(policy.request_rules.values()),
        used,
        list(policy.roles.values()),
        [HookState(hook, backlogs[f"hook {hook.name}"]) for hook in hooks],
        console.check_role(identity, Role.ADMINISTRATOR) is None,
    )


async def preview_adding(
    console: ConsoleService, identity: Identity, rule: Rule
) -> RulePreview | Denial:
    """Return who gains if `rule` is added, or why this person may not add it."""
    if (refused := _check_adding(console, identity, rule)) is not None:
        return refused
    return await _preview(console, rule, may_change=True)


async def preview_removing(
    console: ConsoleService, identity: Identity, kind: type[Rule], number: int
) -> RulePreview | Denial:
    """Return the rule of that kind and number, and who loses if it is removed."""
    if (denial := console.check_role(identity, Role.AUDITOR)) is not None:
        return denial
    rule = _find(console, kind, number)
    if isinstance(rule, Denial):
        return rule
    return await _preview(
        console, rule, may_change=console.check_role(identity, Role.ADMINISTRATOR) is None
    )


async def add_rule(console: ConsoleService, identity: Identity, rule: Rule) -> Rule | Denial:
    """Add a rule, and return it with its number."""
    service = console.open_service(identity)
    refused = _check_adding(console, identity, rule)
    if (denial := console.check_change(identity, refused, "adding a rule")) is not None:
        return denial
    if isinstance(rule, RequestRule):
        return await call_blocking(access_requests.add_rule, service, rule)
    return await call_blocking(roles.add_role, service, rule)


async def remove_rule(
    console: ConsoleService, identity: Identity, kind: type[Rule], number: int
) -> Rule | Denial:
    """Remove a rule, and return it."""
    service = console.open_service(identity)
    refused = console.check_role(identity, Role.ADMINISTRATOR)
    if (denial := console.check_change(identity, refused, "removing a rule")) is not None:
        return denial
    remove = access_requests.remove_rule if kind is RequestRule else roles.remove_role
    return await call_blocking(remove, service, number)


def _check_adding(console: ConsoleService, identity: Identity, rule: Rule) -> Denial | None:
    """Return why the person may not add `rule`. Without any role the reason reveals nothing."""
    if (denial := console.check_role(identity, Role.AUDITOR)) is not None:
        return denial
    access = console.find_access(identity)
    if isinstance(rule, RequestRule):
        return check_request_rule(access, rule)
    return check_role_change(access, rule)


def _find(console: ConsoleService, kind: type[Rule], number: int) -> Rule | Denial:
    policy = console.policy()
    rules = policy.request_rules if kind is RequestRule else policy.roles
    return rules.get(number) or Denial(Reason.BAD_REQUEST, f"there is no rule {number}")


async def _preview(
    console: ConsoleService, rule: Rule, *, may_change: bool
) -> RulePreview | Denial:
    policy, now = console.policy(), console.now()

    def compare() -> RulePreview:
        if isinstance(rule, RoleRule):
            if not rule.id:
                roles.check_role(rule, now)
            return RulePreview(rule, find_administering_by(policy, rule, now), may_change)
        if not rule.id:
            access_requests.check_rule(rule)
        ending = [
            request.id
            for request in policy.requests.values()
            if request.rule == rule.id and request.find_state(now) is RequestState.APPROVED
        ]
        with console.database.read() as transaction:
            used = read_rule_uses(transaction).get(rule.id)
        return RulePreview(rule, find_asking_by(policy, rule), may_change, ending, used)

    return await call_blocking(compare)
