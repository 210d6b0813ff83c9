"""Conversion of the store's values to those that the API and `--json` show."""

from collections import Counter
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from stagedoor.admin.sign_ins import show_id
from stagedoor.authn.tokens import MintedToken
from stagedoor.model.access_request import AccessRequest, Decision, RequestRule
from stagedoor.model.grant import Grant, GrantRule
from stagedoor.model.permission import sort_permissions
from stagedoor.model.policy import KeyRecord, Policy, TokenRecord, User
from stagedoor.model.role import RoleRule
from stagedoor.model.share import Share
from stagedoor.store.sessions import SessionRecord
from stagedoor.store.sign_in.sign_ins import SignInRecord
from stagedoor.wire.api import reports as r
from stagedoor.wire.api import types as t
from stagedoor.wire.rfc3339 import show_milliseconds

if TYPE_CHECKING:
    from stagedoor.admin.person import UserState
    from stagedoor.authz.access_difference import AccessDifference
    from stagedoor.authz.explain import AccessAnswer
    from stagedoor.model.passkey import PasskeyRecord


def format_iso(at: float | None) -> str | None:
    """Format a time, or return None for None."""
    return None if at is None else show_milliseconds(at)


def make_user_view(policy: Policy, last: Mapping[str, float]) -> Callable[[User], t.UserEntry]:
    """Return a function that shows a user. `last` is when each last opened a session."""
    keys = Counter(key.user for key in policy.keys.values())
    tokens = Counter(token.user for token in policy.tokens.values())

    def show(user: User) -> t.UserEntry:
        return t.UserEntry(
            user.name,
            sorted(user.groups),
            user.password_hash is not None,
            keys[user.name],
            tokens[user.name],
            user.name in policy.disabled,
            format_iso(last.get(user.name)),
            user.access_set,
        )

    return show


def show_grant(rule: GrantRule) -> t.GrantEntry:
    """Show a grant."""
    return t.GrantEntry(
        rule.id,
        rule.subject,
        list(sort_permissions(rule.permissions)),
        rule.app_pattern,
        rule.environment_pattern,
        format_iso(rule.expires_at),
        rule.resume_s,
        rule.access_set,
    )


def show_role(rule: RoleRule) -> t.RoleEntry:
    """Show a role."""
    return t.RoleEntry(
        rule.id,
        rule.subject,
        rule.role,
        rule.app_pattern,
        rule.environment_pattern,
        format_iso(rule.expires_at),
    )


def show_session(record: SessionRecord) -> t.SessionEntry:
    """Show a session."""
    return t.SessionEntry(
        record.id,
        record.identity,
        record.target,
        record.source,
        record.access_method,
        record.instance,
        show_milliseconds(record.opened_at),
        format_iso(record.closed_at),
        record.end,
        record.sent,
        record.received,
        format_iso(record.last_active_at),
        format_iso(record.close_requested_at),
        record.close_reason,
    )


def show_sign_in(record: SignInRecord) -> t.SignInEntry:
    """Show a sign-in."""
    opened = record.sign_in
    return t.SignInEntry(
        show_id(opened.id),
        opened.name,
        opened.method.value,
        opened.credential_id,
        opened.label,
        record.key_fingerprint,
        opened.source,
        format_iso(opened.opened_at),
        format_iso(opened.last_used_at),
        show_milliseconds(opened.expires_at),
        format_iso(opened.answered_at),
        record.failure,
        format_iso(record.failed_at),
    )


def show_token(record: TokenRecord, now: float) -> t.TokenEntry:
    """Show a token without its secret."""
    return t.TokenEntry(
        record.id,
        record.user,
        None if record.scopes is None else list(record.scopes),
        format_iso(record.expires_at),
        record.expires_at is not None and record.expires_at <= now,
    )


def show_new_token(
    token: MintedToken, user: str, scopes: list[str] | None, expires_at: float | None
) -> t.TokenMade:
    """Show a new token with its secret."""
    return t.TokenMade(token.id, user, token.text, scopes, format_iso(expires_at))


def show_key(record: KeyRecord) -> t.KeyEntry:
    """Show a public key."""
    return t.KeyEntry(
        record.user, record.public_key.partition(" ")[0], record.fingerprint, record.comment
    )


def show_user_state(
    state: "UserState", password_groups: frozenset[str] | None, now: float
) -> r.UserReport:
    """Show everything about a user. `password_groups` are those whose passwords count, None for all."""
    user = state.user
    return r.UserReport(
        user.name,
        state.disabled,
        user.password_hash is not None,
        user.password_hash is not None and user.with_passwords_for(password_groups) == user,
        sorted(user.groups),
        sorted(state.provided),
        [r.ProviderAccountEntry(account.issuer, account.subject) for account in state.accounts],
        [show_grant(rule) for rule in state.grants],
        [show_key(key) for key in state.keys],
        [
            r.TokenState(
                token.id,
                None if token.scopes is None else list(token.scopes),
                format_iso(token.created_at),
                format_iso(token.expires_at),
                token.expires_at is not None and token.expires_at <= now,
            )
            for token in state.tokens
        ],
        [show_sign_in(record) for record in state.sign_ins],
        [show_session(record) for record in state.sessions],
        user.access_set,
        {group: list(sets) for group, sets in state.group_sets.items()},
    )


def show_passkey(record: "PasskeyRecord") -> r.PasskeyEntry:
    """Show a passkey."""
    created, used = show_milliseconds(record.created_at), format_iso(record.used_at)
    return r.PasskeyEntry(record.id, record.user, record.name, record.rp_id, created, used)


def show_share(share: Share) -> r.ShareEntry:
    """Show a share of a terminal."""
    return r.ShareEntry(
        share.id,
        share.host,
        str(share.target),
        share.terminal,
        share.typing,
        show_milliseconds(share.expires_at),
    )


def show_difference(difference: "AccessDifference") -> t.AccessChange:
    """Show what a user gains or loses."""
    return t.AccessChange(
        difference.user,
        difference.pattern.app,
        difference.pattern.environment,
        list(sort_permissions(difference.permissions)),
    )


def show_request_rule(rule: RequestRule) -> t.RequestRuleEntry:
    """Show a rule of access on request."""
    return t.RequestRuleEntry(
        rule.id,
        rule.subject,
        rule.app_pattern,
        rule.environment_pattern,
        list(sort_permissions(rule.permissions)),
        rule.longest_s,
        list(rule.approvers),
        rule.approvals,
        rule.reason_pattern,
        rule.needs_step_up,
        rule.is_break_glass,
        None if rule.hours is None else rule.hours.text,
        list(rule.later_approvers),
        rule.later_s or None,
        rule.access_set,
    )


def show_request(request: AccessRequest, now: float) -> t.AccessRequestEntry:
    """Show an access request."""
    return t.AccessRequestEntry(
        request.id,
        request.find_state(now).value,
        request.user,
        [target.login_name for target in request.targets],
        list(sort_permissions(request.permissions)),
        request.rule,
        request.reason,
        request.lasts_s,
        show_milliseconds(request.created_at),
        format_iso(request.began_at),
        show_milliseconds(request.ends_at),
        request.is_break_glass,
        request.reviewed_by,
        format_iso(request.starts_at),
    )


def show_decision(decision: Decision) -> t.DecisionEntry:
    """Show a decision on a request."""
    return t.DecisionEntry(
        decision.approver,
        decision.is_yes,
        show_milliseconds(decision.at),
        decision.lasts_s,
        decision.note,
    )


def show_explanation(answer: "AccessAnswer") -> t.AccessReport:
    """Show why a user may enter an app or not."""
    # Imported here, because only `access explain` needs it.
    from stagedoor.admin.access.questions import describe_change

    return t.AccessReport(
        answer.user,
        answer.target.login_name,
        answer.lets_in,
        list(sort_permissions(answer.permissions)),
        answer.needs_step_up,
        list(answer.stops),
        [
            t.RuleFinding(rule.name, rule.about, not rule.gaps, list(rule.gaps))
            for rule in answer.rules
        ],
        [
            t.AccessStep(str(change.kind), change.about, describe_change(answer, change))
            for change in answer.changes
        ],
    )


def show_entering(name: str, grant: Grant) -> t.AdmittedUser:
    """Show a user who may enter an app, and by what."""
    by = f"grant {grant.rule_id}" if grant.rule_id else f"request {grant.request}"
    permissions = list(sort_permissions(grant.permissions))
    return t.AdmittedUser(name, by, permissions, format_iso(grant.expires_at))
