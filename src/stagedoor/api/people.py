"""The operations on users, groups, roles, tokens and keys."""

from collections import defaultdict
from collections.abc import Mapping

from stagedoor.admin import person, roles
from stagedoor.admin import service as admin
from stagedoor.api.call import Call, DeniedError, Handler, find_user, require_allowed, require_found
from stagedoor.api.views import (
    make_user_view,
    show_key,
    show_new_token,
    show_passkey,
    show_role,
    show_token,
    show_user_state,
)
from stagedoor.authz.roles import check_leaving, check_leaving_groups, check_role_change
from stagedoor.model.denial import Denial, Reason
from stagedoor.model.errors import RefusedError
from stagedoor.model.policy import Policy, TokenRecord, User
from stagedoor.model.role import Role, RoleRule
from stagedoor.store.people import find_groups_of, list_group_sets
from stagedoor.wire.api import inputs as i
from stagedoor.wire.api import reports as r
from stagedoor.wire.api import types as t
from stagedoor.wire.rfc3339 import show_milliseconds

JOINS_NONE = Denial(
    Reason.NO_GRANT, "users cannot add themselves to groups; ask another administrator"
)


def list_users(call: Call) -> t.Page[t.UserEntry]:
    """List the users of all groups, or of one."""
    call.require(Role.AUDITOR)
    group = call.filters.group
    everyone = (*call.policy.users.values(), *call.policy.disabled.values())
    users = [user for user in everyone if group is None or group in user.groups]
    view = make_user_view(call.policy, call.last_sessions.read())
    return call.list_page(users, lambda user: user.name, view)


def get_user(call: Call) -> t.UserEntry:
    """Show a user."""
    call.require(Role.AUDITOR)
    return _show_user(call, call.path["name"], call.policy)


def add_user(call: Call) -> t.UserEntry:
    """Add a user."""
    call.require(Role.ADMINISTRATOR)
    body: i.UserNew = call.body
    admin.add_user(call.service, body.name, groups=body.groups, password=body.password)
    return _show_user(call, body.name)


def report_user(call: Call) -> r.UserReport:
    """Show everything about a user but secrets."""
    call.require(Role.AUDITOR)
    state = person.read_user_state(call.service, call.path["name"])
    limits = call.settings.accounts.passwords_for
    return show_user_state(state, limits, call.service.clock())


def invite_user(call: Call) -> r.InvitationMade:
    """Make a link by which a user sets a password, and add the user if they are new."""
    call.require(Role.ADMINISTRATOR)
    # Imported here, because a list of users needs no links.
    from stagedoor.signin.invitations import invite

    body: i.InvitationNew = call.body
    invitation = invite(
        call.settings,
        call.service,
        call.path["name"],
        body.expires_at.timestamp(),
        groups=body.groups,
        url=body.url,
    )
    ends_at = show_milliseconds(invitation.expires_at)
    return r.InvitationMade(invitation.url, ends_at, invitation.added)


def add_web_link(call: Call) -> r.WebLinkMade:
    """Make a link that signs a user in once, and show it once."""
    call.require(Role.ADMINISTRATOR)
    from stagedoor.signin.links import make_link

    body: i.WebLinkNew = call.body
    link = make_link(call.settings, call.service, call.path["name"], app=body.app, url=body.url)
    return r.WebLinkMade(link.url, show_milliseconds(link.expires_at))


def change_groups(call: Call) -> t.UserEntry:
    """Set the groups of a user. Those that an identity provider gives cannot be left out."""
    call.require(Role.ADMINISTRATOR)
    user, wanted = _find_user(call), frozenset(call.body.groups)
    with call.service.database.read() as transaction:
        own = find_groups_of(transaction, user.name)
    if provided := user.groups - own - wanted:
        raise RefusedError(
            f"{user.name} is in the group {', '.join(sorted(provided))} by an identity provider"
        )
    if wanted - user.groups and call.access.is_about_me(f"user:{user.name}"):
        raise DeniedError(JOINS_NONE)
    require_allowed(check_leaving_groups(call.access, user.name, own - wanted))
    admin.change_groups(call.service, user.name, add=wanted - user.groups, remove=own - wanted)
    return _show_user(call, user.name)


def set_password(call: Call) -> t.UserEntry:
    """Set a user's password, or remove it."""
    call.require(Role.ADMINISTRATOR)
    admin.set_password(call.service, _find_user(call).name, call.body.password)
    return _show_user(call, call.path["name"])


def disable_user(call: Call) -> t.UserEntry:
    """Disable another user, and close their sessions."""
    call.require(Role.OPERATOR)
    require_allowed(check_leaving(call.access, call.path["name"]))
    person.set_disabled(call.service, call.path["name"], disabled=True)
    return _show_user(call, call.path["name"])


def enable_user(call: Call) -> t.UserEntry:
    """Allow a disabled user to log in again."""
    call.require(Role.ADMINISTRATOR)
    person.set_disabled(call.service, call.path["name"], disabled=False)
    return _show_user(call, call.path["name"])


def remove_user(call: Call) -> t.RemovedUser:
    """Remove another user with all that belongs to them."""
    call.require(Role.ADMINISTRATOR)
    require_allowed(check_leaving(call.access, call.path["name"]))
    return t.RemovedUser(**admin.remove_user(call.service, call.path["name"]))


def _find_user(call: Call) -> User:
    name = call.path["name"]
    return require_found(find_user(call.policy, name), f"user {name}", "user list")


def _show_user(call: Call, name: str, policy: Policy | None = None) -> t.UserEntry:
    """Show a user by `policy`, or by the store as it is after a change."""
    limits = call.settings.accounts.passwords_for
    policy = policy or admin.read_policy(call.service).with_passwords_for(limits)
    user: User = require_found(find_user(policy, name), f"user {name}", "user list")
    return make_user_view(policy, call.last_sessions.read())(user)


def list_groups(call: Call) -> t.Page[t.GroupEntry]:
    """List the groups that have members."""
    call.require(Role.AUDITOR)
    members: dict[str, list[str]] = defaultdict(list)
    for user in call.policy.all_users.values():
        for group in user.groups:
            members[group].append(user.name)
    with call.service.database.read() as transaction:
        sets = list_group_sets(transaction)

    def show(name: str) -> t.GroupEntry:
        return t.GroupEntry(name, sorted(members[name]), sets.get(name, []))

    return call.list_page(members, str, show)


# Roles.


def list_roles(call: Call) -> t.Page[t.RoleEntry]:
    """List the roles."""
    call.require(Role.AUDITOR)
    return call.list_page(call.policy.roles.values(), lambda rule: rule.id, show_role)


def get_role(call: Call) -> t.RoleEntry:
    """Show a role."""
    call.require(Role.AUDITOR)
    return show_role(_find_role(call))


def add_role(call: Call) -> t.RoleEntry:
    """Give a role, but not to oneself."""
    body: i.RoleNew = call.body
    expires_at = None if body.expires_at is None else body.expires_at.timestamp()
    rule = RoleRule(0, body.subject, body.role, body.app, body.environment, expires_at)
    require_allowed(check_role_change(call.access, rule))
    return show_role(roles.add_role(call.service, rule))


def remove_role(call: Call) -> t.RoleEntry:
    """Take a role away."""
    call.require(Role.ADMINISTRATOR)
    _find_role(call)
    return show_role(roles.remove_role(call.service, call.number))


def _find_role(call: Call) -> RoleRule:
    return require_found(call.policy.roles.get(call.number), f"role {call.number}", "role list")


# Credentials.


def list_tokens(call: Call) -> t.Page[t.TokenEntry]:
    """List the tokens of all users, or of one."""
    call.require(Role.AUDITOR)
    now, user = call.service.clock(), _find_named(call)
    records = [r for r in call.policy.tokens.values() if user in (None, r.user)]
    return call.list_page(records, lambda t: f"{t.user} {t.id}", lambda t: show_token(t, now))


def _find_named(call: Call) -> str | None:
    """Return the user that the filter names, or None. Raises NotFoundError for an unknown one."""
    name: str | None = call.filters.user
    if name is not None:
        require_found(find_user(call.policy, name), f"user {name}", "user list")
    return name


def add_token(call: Call) -> t.TokenMade:
    """Create a token, and show it once."""
    call.require(Role.ADMINISTRATOR)
    body: i.TokenNew = call.body
    expires_at = None if body.expires_at is None else body.expires_at.timestamp()
    token = admin.create_token(
        call.service, body.user, scopes=body.scopes or None, expires_at=expires_at
    )
    return show_new_token(token, body.user, body.scopes or None, expires_at)


def remove_token(call: Call) -> t.TokenEntry:
    """Revoke a token."""
    call.require(Role.ADMINISTRATOR)
    name = call.path["id"]
    token: TokenRecord = require_found(call.policy.tokens.get(name), f"token {name}", "token list")
    admin.revoke_token(call.service, token.id)
    return show_token(token, call.service.clock())


def list_keys(call: Call) -> t.Page[t.KeyEntry]:
    """List the public keys of all users, or of one."""
    call.require(Role.AUDITOR)
    user = _find_named(call)
    records = [r for r in call.policy.keys.values() if user in (None, r.user)]
    return call.list_page(records, lambda key: f"{key.user} {key.fingerprint}", show_key)


def add_keys(call: Call) -> list[t.KeyEntry]:
    """Register public keys, all or none."""
    call.require(Role.ADMINISTRATOR)
    call.check_keys(call.body.keys)
    return [show_key(key) for key in admin.add_keys(call.service, call.body.user, call.body.keys)]


def remove_key(call: Call) -> t.KeyEntry:
    """Remove a public key."""
    call.require(Role.ADMINISTRATOR)
    name = call.body.fingerprint
    key = require_found(call.policy.keys.get(name), f"key {name}", "key list")
    admin.remove_key(call.service, name)
    return show_key(key)


def list_passkeys(call: Call) -> t.Page[r.PasskeyEntry]:
    """List the passkeys of all users, or of one."""
    call.require(Role.AUDITOR)
    # Imported here, because a list of users needs no passkeys.
    from stagedoor.store.sign_in import passkeys as stored

    user = _find_named(call)
    with call.service.database.read() as transaction:
        records = stored.list_passkeys(transaction, user)
    return call.list_page(
        records, lambda record: f"{record.created_at:017.3f} {record.id}", show_passkey
    )


def remove_passkey(call: Call) -> r.PasskeyEntry:
    """Remove a passkey."""
    # Imported here, since it loads cryptography, which no list needs.
    from stagedoor.signin import passkeys

    call.require(Role.OPERATOR)
    return show_passkey(passkeys.remove_passkey(call.service, call.path["id"]))


HANDLERS: Mapping[str, Handler] = {
    "users.list": list_users,
    "users.add": add_user,
    "users.get": get_user,
    "users.report": report_user,
    "users.invite": invite_user,
    "users.web-link": add_web_link,
    "users.groups": change_groups,
    "users.password": set_password,
    "users.disable": disable_user,
    "users.enable": enable_user,
    "users.remove": remove_user,
    "groups.list": list_groups,
    "roles.list": list_roles,
    "roles.add": add_role,
    "roles.get": get_role,
    "roles.remove": remove_role,
    "tokens.list": list_tokens,
    "tokens.add": add_token,
    "tokens.remove": remove_token,
    "keys.list": list_keys,
    "keys.add": add_keys,
    "keys.remove": remove_key,
    "passkeys.list": list_passkeys,
    "passkeys.remove": remove_passkey,
}
