"""The rules of administration: what each role may change for which apps, and what its holder may grant. Pure.

Users cannot extend their own rights: an author of a rule must already have whatever the rule would give them.
This does not limit administrators at the gateway's machine, who can write the store anyway.
"""

from collections.abc import Collection
from math import inf

from msgspec import Struct

from stagedoor.authz.decide import drop_expired
from stagedoor.model.access_request import RequestRule
from stagedoor.model.denial import Denial, Reason
from stagedoor.model.grant import GrantRule
from stagedoor.model.permission import Permission, Permissions, to_words
from stagedoor.model.policy import Policy
from stagedoor.model.role import Role, RoleRule
from stagedoor.model.selector import EVERYWHERE, TargetPattern
from stagedoor.model.target import Target
from stagedoor.wire.target import parse_login


class AdminAccess(Struct, frozen=True):
    """The roles and grants that one user has at one moment.

    `subjects` are the subjects of rules that apply to the user. `is_root` is True for an administrator at the
    gateway's machine.
    """

    name: str
    subjects: frozenset[str] = frozenset()
    roles: tuple[RoleRule, ...] = ()
    grants: tuple[GrantRule, ...] = ()
    is_root: bool = False

    def has(self, role: Role, pattern: TargetPattern = EVERYWHERE) -> bool:
        """Return whether the user has `role` for all apps that `pattern` matches."""
        return self.is_root or any(
            rule.role.has_rights_of(role) and rule.pattern.has_all_of(pattern)
            for rule in self.roles
        )

    def covers(self, role: Role, target: Target) -> bool:
        """Return whether the user has `role` for `target`."""
        return self.is_root or any(
            rule.role.has_rights_of(role) and rule.pattern.covers(target) for rule in self.roles
        )

    def has_for_app(self, role: Role, name: str | None) -> bool:
        """Return whether the user has `role` for the app that a record names.

        If there is no name, or the app no longer exists, the role must be for all apps.
        """
        target = None if name is None else parse_login(name)
        return self.has(role) if target is None else self.covers(role, target)

    def has_somewhere(self, role: Role) -> bool:
        """Return whether the user has `role` for any apps."""
        return self.is_root or any(rule.role.has_rights_of(role) for rule in self.roles)

    def is_about_me(self, subject: str) -> bool:
        """Return whether a rule with this subject applies to the user."""
        return not self.is_root and subject in self.subjects


ROOT = AdminAccess("root", is_root=True)


def find_admin_access(policy: Policy, name: str, now: float) -> AdminAccess:
    """Return the roles of the user `name`; none for an unknown or a disabled user."""
    user = policy.users.get(name)
    if user is None or policy.is_unavailable:
        return AdminAccess(name)
    subjects = user.subjects
    roles = tuple(
        rule
        for rule in policy.roles.values()
        if rule.subject in subjects and (rule.expires_at is None or now < rule.expires_at)
    )
    return AdminAccess(name, subjects, roles, drop_expired(policy.find_grants(subjects), now))


def check_giving(access: AdminAccess, rule: GrantRule) -> Denial | None:
    """Return why the user may not add `rule`, or None.

    Owners may give what they have themselves, for as long as they have it. The same holds for what
    administrators give themselves.
    """
    if not access.has(Role.OWNER, rule.pattern):
        return make_role_denial(Role.OWNER, rule.pattern)
    if access.has(Role.ADMINISTRATOR) and not access.is_about_me(rule.subject):
        return None
    lacking = rule.permissions - _find_own(access, rule.pattern, rule.expires_at)
    if not lacking:
        return _check_recorded(access, rule)
    return Denial(
        Reason.NO_GRANT,
        f"you may give only what you have yourself, for as long as you have it; you lack "
        f"{to_words(lacking)} for all of {_show(rule.pattern)}",
    )


def _check_recorded(access: AdminAccess, rule: GrantRule) -> Denial | None:
    """Refuse a rule without recording if the user's own access to any of the apps is recorded."""
    if Permission.RECORD in rule.permissions or Permission.ENTER not in rule.permissions:
        return None
    for own in access.grants:
        if Permission.RECORD in own.permissions and own.pattern.may_overlap(rule.pattern):
            return Denial(
                Reason.NO_GRANT,
                f"your own access to {_show(own.pattern)} is recorded, so add `record` to what you give",
            )
    return None


def check_taking(access: AdminAccess, rule: GrantRule) -> Denial | None:
    """Return why the user may not remove or narrow `rule`, or None.

    Only an administrator may change a rule with a duty or a limit, unless the rule binds that administrator.
    """
    if not access.has(Role.OWNER, rule.pattern):
        return make_role_denial(Role.OWNER, rule.pattern)
    if not _binds(rule) or access.is_root:
        return None
    if access.has(Role.ADMINISTRATOR) and not access.is_about_me(rule.subject):
        return None
    return Denial(
        Reason.NO_GRANT,
        f"grant {rule.id} has a duty or a limit; ask an administrator that it does not apply to",
    )


def check_leaving_groups(access: AdminAccess, name: str, groups: Collection[str]) -> Denial | None:
    """Return why the administrator may not take the user `name` out of `groups`, or None.

    Otherwise administrators could lift a duty or a limit that binds them, which `check_taking` refuses.
    """
    if not access.is_about_me(f"user:{name}"):
        return None
    subjects = {f"group:{group}" for group in groups}
    rule = next((r for r in access.grants if r.subject in subjects and _binds(r)), None)
    if rule is None:
        return None
    return Denial(
        Reason.NO_GRANT,
        f"grant {rule.id} to {rule.subject} has a duty or a limit for you; ask another administrator",
    )


def check_role_change(access: AdminAccess, rule: RoleRule) -> Denial | None:
    """Return why the user may not give the role in `rule`, or None."""
    if not access.has(Role.ADMINISTRATOR):
        return make_role_denial(Role.ADMINISTRATOR, EVERYWHERE)
    if access.is_about_me(rule.subject):
        return Denial(
            Reason.NO_GRANT, "you cannot give a role to yourself; ask another administrator"
        )
    return None


def check_request_rule(access: AdminAccess, rule: RequestRule) -> Denial | None:
    """Return why the user may not add a rule for access on request, or None."""
    if not access.has(Role.ADMINISTRATOR):
        return make_role_denial(Role.ADMINISTRATOR, EVERYWHERE)
    if access.is_about_me(rule.subject):
        return Denial(
            Reason.NO_GRANT, "you cannot let yourself ask for access; ask another administrator"
        )
    return None


def check_leaving(access: AdminAccess, name: str) -> Denial | None:
    """Return why the administrator may not disable or remove the user `name`, or None."""
    if access.is_about_me(f"user:{name}"):
        return Denial(
            Reason.NO_GRANT, "you cannot disable or remove yourself; ask another administrator"
        )
    return None


def make_app_denial(role: Role, target: Target | None) -> Denial:
    """Return the refusal of an act that needs `role` for one app; None stands for an unknown app."""
    where = EVERYWHERE
    if target is not None:
        where = TargetPattern(target.app, target.environment or "*")
    return make_role_denial(role, where)


def make_role_denial(role: Role, pattern: TargetPattern) -> Denial:
    """Return the refusal of an act that needs `role` for `pattern`."""
    return Denial(
        Reason.NO_GRANT,
        f"that needs the role {role} for {_show(pattern)}, which you do not have; ask an administrator",
    )


def _binds(rule: GrantRule) -> bool:
    """Return whether a rule has a duty or a limit, so that users lose one without it."""
    return Permission.RECORD in rule.permissions or rule.resume_s is not None


def _find_own(access: AdminAccess, pattern: TargetPattern, expires_at: float | None) -> Permissions:
    """Return the user's permissions for all of `pattern` until `expires_at` (None: for ever)."""
    until = inf if expires_at is None else expires_at
    return frozenset(
        permission
        for rule in access.grants
        if rule.pattern.has_all_of(pattern)
        and (inf if rule.expires_at is None else rule.expires_at) >= until
        for permission in rule.permissions
    )


def _show(pattern: TargetPattern) -> str:
    return pattern.app if pattern.environment == "*" else f"{pattern.app} in {pattern.environment}"
