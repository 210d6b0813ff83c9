"""The function of each operation, and the rows that an ETag stands for."""

import hashlib
from collections.abc import Callable, Mapping

import msgspec

from stagedoor.api import access, apps, links, machine, people, requests, sets
from stagedoor.api.call import Call
from stagedoor.api.views import show_grant, show_role
from stagedoor.model.errors import NotFoundError
from stagedoor.store.administration.roles import read_roles
from stagedoor.store.database import Transaction
from stagedoor.store.grants import find_grant
from stagedoor.store.people import find_groups_of, is_disabled, require_user
from stagedoor.store.sign_in.identities import list_provided_groups

HANDLERS: Mapping[str, Callable[[Call], object]] = {
    "users.list": people.list_users,
    "users.add": people.add_user,
    "users.get": people.get_user,
    "users.report": people.report_user,
    "users.invite": people.invite_user,
    "users.web-link": links.add_web_link,
    "users.groups": people.change_groups,
    "users.password": people.set_password,
    "users.disable": people.disable_user,
    "users.enable": people.enable_user,
    "users.remove": people.remove_user,
    "groups.list": people.list_groups,
    "grants.list": access.list_grants,
    "grants.add": access.add_grant,
    "grants.get": access.get_grant,
    "grants.change": access.change_grant,
    "grants.remove": access.remove_grant,
    "roles.list": people.list_roles,
    "roles.add": people.add_role,
    "roles.get": people.get_role,
    "roles.remove": people.remove_role,
    "request-rules.list": requests.list_rules,
    "request-rules.add": requests.add_rule,
    "request-rules.remove": requests.remove_rule,
    "requests.list": requests.list_requests,
    "requests.get": requests.get_request,
    "requests.add": requests.add_request,
    "requests.decide": requests.decide,
    "requests.leave": requests.leave_request,
    "requests.end": requests.end_request,
    "requests.review": requests.review_request,
    "access.explain": access.explain_access,
    "access.who": access.list_entering,
    "apps.list": apps.list_apps,
    "apps.shells": apps.list_shells,
    "apps.explain": apps.explain_shell,
    "apps.start": apps.start_shell,
    "apps.stop": apps.stop_shell,
    "apps.log": apps.read_log,
    "sessions.list": access.list_sessions,
    "sessions.get": access.get_session,
    "sessions.close": access.close_sessions,
    "sign-ins.list": access.list_sign_ins,
    "sign-ins.end": access.end_sign_ins,
    "tokens.list": people.list_tokens,
    "tokens.add": people.add_token,
    "tokens.remove": people.remove_token,
    "keys.list": people.list_keys,
    "keys.add": people.add_keys,
    "keys.remove": people.remove_key,
    "passkeys.list": people.list_passkeys,
    "passkeys.remove": people.remove_passkey,
    "shares.list": links.list_shares,
    "shares.add": links.add_share,
    "shares.end": links.end_share,
    "provider-accounts.list": links.list_accounts,
    "provider-accounts.link": links.link_account,
    "provider-accounts.unlink": links.unlink_account,
    "sets.apply": sets.apply_files,
    "recordings.list": machine.list_recordings,
    "recordings.get": machine.get_recording,
    "recordings.file": machine.open_recording,
    "hooks.list": machine.list_hooks,
    "hooks.test": machine.probe_hook,
    "events.list": access.list_events,
}


def make_tag(transaction: Transaction, resource: str, path: Mapping[str, str]) -> str | None:
    """Return the ETag of the row that a path names, or None if there is no such row.

    It stands for what a change of the row may set, so it stays the same while a user logs in.
    """
    try:
        state = _TAGGED[resource](transaction, path)
    except (NotFoundError, KeyError):
        return None
    digest = hashlib.sha256(msgspec.json.encode([resource, dict(path), state])).hexdigest()
    return f'"{digest[:32]}"'


def _read_user(transaction: Transaction, path: Mapping[str, str]) -> object:
    name = path["name"]
    require_user(transaction, name)
    provided = list_provided_groups(transaction, name)
    own = find_groups_of(transaction, name)
    return sorted(own), sorted(provided), is_disabled(transaction, name)


def _read_grant(transaction: Transaction, path: Mapping[str, str]) -> object:
    return show_grant(find_grant(transaction, int(path["id"])))


def _read_role(transaction: Transaction, path: Mapping[str, str]) -> object:
    number = int(path["id"])
    return show_role(read_roles(transaction, [number])[number])


_TAGGED: Mapping[str, Callable[[Transaction, Mapping[str, str]], object]] = {
    "users": _read_user,
    "grants": _read_grant,
    "roles": _read_role,
}
