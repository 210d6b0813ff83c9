"""Grants and requests on the administrators' pages, with a preview of the users who gain and lose access."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial

from stagedoor.admin import service as admin
from stagedoor.admin.access.console import NO_PAGE, PAGE, ConsoleService
from stagedoor.admin.access.views import GrantRow, RowPage
from stagedoor.admin.blocking import call_blocking
from stagedoor.admin.requests import access_requests
from stagedoor.admin.requests.request_view import RequestView, describe_request
from stagedoor.authz.access_difference import AccessDifference, list_differences
from stagedoor.authz.roles import check_giving, check_request_rule, check_taking
from stagedoor.model.access_request import RequestRule
from stagedoor.model.denial import Denial, Reason
from stagedoor.model.grant import GrantRule
from stagedoor.model.identity import Identity
from stagedoor.model.permission import Permission
from stagedoor.model.policy import Policy
from stagedoor.model.role import Role
from stagedoor.model.target import Target


@dataclass(frozen=True, slots=True)
class GrantPreview:
    """A grant to add or remove, and the effect. `apps` are the existing apps that it covers."""

    row: GrantRow
    differences: Sequence[AccessDifference]
    apps: Sequence[Target]


async def list_grants(
    console: ConsoleService, identity: Identity, wanted: str, after: int
) -> RowPage[GrantRow] | Denial:
    """Return a page of the grants whose subject or pattern contains `wanted`, after the number `after`.

    A person with a role for some apps sees the grants that cover no other apps.
    """
    access = console.find_access(identity)
    if not access.has_somewhere(Role.AUDITOR):
        return NO_PAGE
    sees_all = access.has(Role.AUDITOR)
    matching = [
        rule
        for rule in console.policy().grants
        if (
            not wanted
            or wanted in rule.subject
            or wanted in f"{rule.app_pattern}.{rule.environment_pattern}"
        )
        and (sees_all or access.has(Role.AUDITOR, rule.pattern))
    ]
    page = [rule for rule in matching if rule.id > after][: PAGE + 1]
    rows = await console.make_grant_rows(identity, page[:PAGE])
    return RowPage(rows, page[PAGE - 1].id if len(page) > PAGE else None, len(matching))


async def preview_adding(
    console: ConsoleService, identity: Identity, rule: GrantRule
) -> GrantPreview | Denial:
    """Return who gains if `rule` is added, or why this person may not add it."""
    if (refused := _check_giving(console, identity, rule)) is not None:
        return refused
    before = console.policy()
    number = 1 + max((held.id for held in before.grants), default=0)
    after = replace(before, grants=(*before.grants, replace(rule, id=number)))
    return await _preview(console, identity, rule, before, after)


async def preview_removing(
    console: ConsoleService, identity: Identity, number: int
) -> GrantPreview | Denial:
    """Return a grant, and who loses if it is removed."""
    before = console.policy()
    rule = _find(console, identity, number)
    if isinstance(rule, Denial):
        return rule
    after = replace(before, grants=tuple(held for held in before.grants if held.id != number))
    return await _preview(console, identity, rule, before, after)


async def add_grant(
    console: ConsoleService, identity: Identity, rule: GrantRule
) -> GrantRule | Denial:
    """Add a grant."""
    service = console.open_service(identity)
    refused = _check_giving(console, identity, rule)
    if (denial := console.check_change(identity, refused, "adding a grant")) is not None:
        return denial
    return await call_blocking(
        admin.add_grant,
        service,
        rule.subject,
        rule.app_pattern,
        environment_pattern=rule.environment_pattern,
        expires_at=rule.expires_at,
        permissions=rule.permissions,
    )


async def remove_grant(
    console: ConsoleService, identity: Identity, number: int
) -> GrantRule | Denial:
    """Remove a grant."""
    service = console.open_service(identity)
    rule = _find(console, identity, number)
    refused = (
        rule if isinstance(rule, Denial) else check_taking(console.find_access(identity), rule)
    )
    if (denial := console.check_change(identity, refused, "removing a grant")) is not None:
        return denial
    return await call_blocking(admin.remove_grant, service, number)


async def make_on_request(
    console: ConsoleService, identity: Identity, number: int, approvers: Sequence[str]
) -> RequestRule | Denial:
    """Replace a grant by a request rule for the same subject. For administrators."""
    service = console.open_service(identity)
    rule = _find(console, identity, number)
    if isinstance(rule, Denial):
        return rule
    wanted = RequestRule(
        0,
        rule.subject,
        rule.app_pattern,
        rule.environment_pattern,
        rule.permissions,
        approvers=tuple(dict.fromkeys(approvers)),
    )
    refused = check_request_rule(console.find_access(identity), wanted)
    if (denial := console.check_change(identity, refused, "changing a grant")) is not None:
        return denial
    if rule.access_set is not None:  # before the rule is added: the grant could not be removed
        return Denial(
            Reason.BAD_REQUEST, f"grant {number} belongs to the access set {rule.access_set}"
        )
    if Permission.ENTER not in rule.permissions:
        return Denial(
            Reason.BAD_REQUEST, "a request is for entering, which this grant does not permit"
        )

    def change() -> RequestRule:
        made = access_requests.add_rule(service, wanted)
        admin.remove_grant(service, number)
        return made

    return await call_blocking(change)


async def list_request_views(
    console: ConsoleService, identity: Identity
) -> Sequence[RequestView] | Denial:
    """Return the requests that are open or need a review, the newest first.

    The person's role covers all of their apps.
    """
    access = console.find_access(identity)
    if not access.has_somewhere(Role.AUDITOR):
        return NO_PAGE
    policy, service, now = console.policy(), console.open_service(identity), console.now()

    def read() -> list[RequestView]:
        seen = [
            request
            for request in access_requests.list_requests(service, open_only=True)
            if all(access.covers(Role.AUDITOR, target) for target in request.targets)
        ]
        describe = partial(describe_request, console.database, policy, identity.name)
        return [describe(request, now) for request in seen[:PAGE]]

    return await call_blocking(read)


def _check_giving(console: ConsoleService, identity: Identity, rule: GrantRule) -> Denial | None:
    access = console.find_access(identity)
    return check_giving(access, rule) if access.has_somewhere(Role.AUDITOR) else NO_PAGE


def _find(console: ConsoleService, identity: Identity, number: int) -> GrantRule | Denial:
    """Return a grant that the person sees."""
    access = console.find_access(identity)
    if not access.has_somewhere(Role.AUDITOR):
        return NO_PAGE
    for rule in console.policy().grants:
        if rule.id == number and access.has(Role.AUDITOR, rule.pattern):
            return rule
    return Denial(Reason.BAD_REQUEST, f"there is no grant {number}, or you may not see it")


async def _preview(
    console: ConsoleService, identity: Identity, rule: GrantRule, before: Policy, after: Policy
) -> GrantPreview | Denial:
    targets = [target for target in console.apps() if rule.pattern.covers(target)]

    def compare() -> list[AccessDifference]:
        return list(list_differences(before, after, console.now()))

    differences = await call_blocking(compare)
    if isinstance(differences, Denial):
        return differences
    row = (await console.make_grant_rows(identity, [rule]))[0]
    return GrantPreview(row, differences, sorted(targets, key=str))


def may_give(console: ConsoleService, identity: Identity) -> bool:
    """Return whether the person may add grants for any apps."""
    return console.find_access(identity).has_somewhere(Role.OWNER)


def may_make_on_request(console: ConsoleService, identity: Identity, rule: GrantRule) -> bool:
    """Return whether the person may replace a grant by a request rule."""
    is_administrator = console.check_role(identity, Role.ADMINISTRATOR) is None
    return is_administrator and Permission.ENTER in rule.permissions
