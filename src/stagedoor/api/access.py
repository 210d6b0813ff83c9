"""The operations on grants, sessions, sign-ins and the audit."""

from collections.abc import Mapping
from dataclasses import replace

import msgspec

from stagedoor.admin import service as admin
from stagedoor.admin import sessions, sign_ins
from stagedoor.api.call import (
    Call,
    DeniedError,
    Handler,
    PageTokenError,
    check_line,
    find_user,
    make_page_token,
    read_page_token,
    require_allowed,
    require_found,
)
from stagedoor.api.views import (
    show_entering,
    show_explanation,
    show_grant,
    show_session,
    show_sign_in,
)
from stagedoor.audit.chain import make_document
from stagedoor.authz.roles import check_giving, check_taking, make_app_denial
from stagedoor.model.errors import RefusedError
from stagedoor.model.event import EventKind
from stagedoor.model.grant import GrantRule
from stagedoor.model.role import Role
from stagedoor.model.selector import has_name
from stagedoor.model.target import Target
from stagedoor.store import sessions as rows
from stagedoor.store.journal import Filter
from stagedoor.store.sign_in.sign_ins import SignInRecord
from stagedoor.wire.api import inputs as i
from stagedoor.wire.api import types as t
from stagedoor.wire.oneline import is_word
from stagedoor.wire.target import parse_login, require_app

# Grants.


def list_grants(call: Call) -> t.Page[t.GrantEntry]:
    """List the grants for apps that the caller may read."""
    wanted: i.GrantFilter = call.filters
    subjects = None
    reads_all = call.access.has(Role.AUDITOR)
    if wanted.user is not None:
        user = find_user(call.policy, wanted.user)
        if user is None and not reads_all:
            return t.Page([])  # as for a user without grants there
        user = require_found(user, f"user {wanted.user}", "user list")
        subjects = user.subjects
    rules = [
        rule
        for rule in call.policy.grants
        if (reads_all or call.access.has(Role.AUDITOR, rule.pattern))
        and (subjects is None or rule.subject in subjects)
        and _covers(rule, wanted.app, wanted.environment)
    ]
    return call.list_page(rules, lambda rule: rule.id, show_grant)


def _covers(rule: GrantRule, app: str | None, environment: str | None) -> bool:
    """Return whether the rule covers the app and the environment; None stands for any."""
    return (app is None or has_name(rule.app_pattern, app)) and (
        environment is None or has_name(rule.environment_pattern, environment)
    )


def get_grant(call: Call) -> t.GrantEntry:
    """Show a grant."""
    return show_grant(_find_grant(call))


def add_grant(call: Call) -> t.GrantEntry:
    """Add a grant. An owner may give only the permissions that they have."""
    body: i.GrantNew = call.body
    rule = GrantRule(
        0,
        body.subject,
        body.app,
        body.environment,
        None if body.expires_at is None else body.expires_at.timestamp(),
        frozenset(body.permissions),
        resume_s=body.resume_s,
    )
    require_allowed(check_giving(call.access, rule))
    added = admin.add_grant(
        call.service,
        rule.subject,
        rule.app_pattern,
        environment_pattern=rule.environment_pattern,
        expires_at=rule.expires_at,
        permissions=rule.permissions,
        resume_s=rule.resume_s,
        prolong=body.prolong,
    )
    return show_grant(added)


def change_grant(call: Call) -> t.GrantEntry:
    """Set the permissions and the limit of a grant."""
    body: i.GrantChange = call.body
    rule, wanted = _find_grant(call), frozenset(body.permissions)
    added, removed = wanted - rule.permissions, rule.permissions - wanted
    if added:
        require_allowed(check_giving(call.access, replace(rule, permissions=added)))
    if removed or body.resume_s != rule.resume_s:
        require_allowed(check_taking(call.access, rule))
    changed = admin.change_grant(
        call.service,
        rule.id,
        allow=added,
        without=removed,
        resume_s=body.resume_s,
        limits_resume=body.resume_s != rule.resume_s,
    )
    return show_grant(changed)


def remove_grant(call: Call) -> t.GrantEntry:
    """Remove a grant."""
    rule = _find_grant(call)
    require_allowed(check_taking(call.access, rule))
    return show_grant(admin.remove_grant(call.service, rule.id))


def _find_grant(call: Call) -> GrantRule:
    """Return the grant in the path. Raises NotFoundError also for one that the caller may not read."""
    rules = (rule for rule in call.policy.grants if rule.id == call.number)
    rule = next(rules, None)
    if rule is not None and not call.access.has(Role.AUDITOR, rule.pattern):
        rule = None
    return require_found(rule, f"grant {call.number}", "grant list")


# Questions.


def explain_access(call: Call) -> t.AccessReport:
    """Explain why a user may or may not enter an app."""
    # Imported here and below, because the lists of grants and sessions need none of it.
    from stagedoor.admin.access.questions import explain_access as explain

    target = _find_target(call)
    name, now = call.filters.user, call.service.clock()
    answer = explain(call.policy, name, target, now, call.step_up, call.access)
    return show_explanation(answer)


def list_entering(call: Call) -> list[t.AdmittedUser]:
    """List the users who may enter an app now."""
    from stagedoor.authz.admissions import find_entering

    target = _find_target(call)
    shown: dict[int, t.AdmittedUser] = {}  # by grant, which many users may have
    entering = []
    for name, grant in find_entering(call.policy, target, call.service.clock()):
        entry = shown.get(id(grant))
        if entry is None:
            entry = shown[id(grant)] = show_entering(name, grant)
        entering.append(msgspec.structs.replace(entry, user=name))
    return entering


def _find_target(call: Call) -> Target:
    """Return the app in the query. Raises DeniedError unless the caller may read it."""
    target = require_app(call.filters.app)
    if not call.access.covers(Role.AUDITOR, target):
        raise DeniedError(make_app_denial(Role.AUDITOR, target))
    return target


# Sessions.


def list_sessions(call: Call) -> t.Page[t.SessionEntry]:
    """List the sessions of apps that the caller may read, the newest first."""
    before = None
    if call.page_token is not None:
        before = read_page_token(call.page_token)
        if not (isinstance(before, str) and is_word(before)):
            raise PageTokenError("this page_token is not of this list")
    wanted: i.SessionFilter = call.filters
    records = rows.list_sessions(
        call.service.database,
        open_only=not wanted.all,
        identity=wanted.user,
        before=before,
        targets=_list_readable_targets(call, open_only=not wanted.all),
        limit=call.page_size + 1,
    )
    shown, token = records[: call.page_size], None
    if len(records) > len(shown):
        token = make_page_token(shown[-1].id)
    return t.Page([show_session(record) for record in shown], token)


def get_session(call: Call) -> t.SessionEntry:
    """Show a session."""
    targets = _list_readable_targets(call, open_only=False)
    return show_session(sessions.find_session(call.service, call.path["id"], targets))


def close_sessions(call: Call) -> list[t.SessionEntry]:
    """Request the end of sessions, and return them."""
    order: i.SessionsEnd = call.body
    check_line(order.reason)
    targets = _list_readable_targets(call, open_only=False)
    names = dict.fromkeys(order.ids)
    records = [sessions.find_session(call.service, name, targets) for name in names]
    for record in records:
        if not call.access.has_for_app(Role.OPERATOR, record.target):
            raise DeniedError(make_app_denial(Role.OPERATOR, parse_login(record.target)))
    sessions.request_close(call.service, [record.id for record in records], order.reason)
    return [show_session(sessions.find_session(call.service, record.id)) for record in records]


def _list_readable_targets(call: Call, *, open_only: bool) -> list[str] | None:
    """Return the targets whose sessions the caller may read, or None for all.

    The store chooses the rows by them. So no page's token names another session, and the beginning of its
    id is answered as if there were none.
    """
    if call.access.has(Role.AUDITOR):
        return None
    targets = rows.list_targets(call.service.database, open_only=open_only)
    return [name for name in targets if call.access.has_for_app(Role.AUDITOR, name)]


# Sign-ins.


def list_sign_ins(call: Call) -> t.Page[t.SignInEntry]:
    """List the sign-ins of all users, or of one."""
    call.require(Role.AUDITOR)
    records = sign_ins.list_sign_ins(call.service, call.filters.user)
    return call.list_page(records, _get_sign_in_key, show_sign_in)


def end_sign_ins(call: Call) -> list[t.SignInEntry]:
    """End sign-ins and their sessions. Return the sign-ins that were still valid."""
    call.require(Role.OPERATOR)
    order: i.SessionsEnd = call.body
    check_line(order.reason)
    records = [sign_ins.find_sign_in(call.service, name) for name in dict.fromkeys(order.ids)]
    return [
        show_sign_in(record)
        for record in records
        if sign_ins.end_sign_ins(call.service, [record], order.reason, require_proof=True)
    ]


def _get_sign_in_key(record: SignInRecord) -> str:
    """Return the sort key of a sign-in, which never changes: its user, and the time it was opened."""
    opened = record.sign_in
    return f"{opened.name} {opened.opened_at or 0:017.3f} {record.id}"


# The audit.


def list_events(call: Call) -> list[t.EventEntry]:
    """List audit events, the oldest first."""
    call.require(Role.AUDITOR)
    wanted: i.EventFilter = call.filters
    target = None if wanted.app is None else require_app(wanted.app)
    try:
        kinds = tuple(EventKind(kind) for kind in (wanted.kind or "").split(",") if kind)
    except ValueError:
        raise RefusedError(f"{wanted.kind!r} is not a kind of event") from None
    selection = Filter(
        None if wanted.since is None else wanted.since.timestamp(),
        wanted.session,
        wanted.user,
        None if wanted.until is None else wanted.until.timestamp(),
        target,
        kinds,
    )
    entries = sessions.read_events(
        call.service, selection, wanted.after, call.page_size, last=wanted.last
    )
    return [
        msgspec.convert({"seq": entry.seq, **make_document(entry.event)}, t.EventEntry)
        for entry in entries
    ]


HANDLERS: Mapping[str, Handler] = {
    "grants.list": list_grants,
    "grants.add": add_grant,
    "grants.get": get_grant,
    "grants.change": change_grant,
    "grants.remove": remove_grant,
    "access.explain": explain_access,
    "access.who": list_entering,
    "sessions.list": list_sessions,
    "sessions.get": get_session,
    "sessions.close": close_sessions,
    "sign-ins.list": list_sign_ins,
    "sign-ins.end": end_sign_ins,
    "events.list": list_events,
}
