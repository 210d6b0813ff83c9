"""The decision whether a live session must end by the policy as it is now. Pure."""

from typing import NamedTuple

from stagedoor.model.denial import Denial, Reason
from stagedoor.model.grant import Grant
from stagedoor.model.permission import Permission, make_permission_denial
from stagedoor.model.session import AccessMethod, EndReason


class Removal(NamedTuple):
    """The end of a session that the gateway closes, and the line that its user sees."""

    end: EndReason
    detail: str


def require_permission(permission: Permission | None, decision: Grant | Denial) -> Grant | Denial:
    """Return `decision`, or a denial if it lacks `permission`. None requires no permission."""
    if permission is None or isinstance(decision, Denial) or permission in decision.permissions:
        return decision
    return make_permission_denial(permission, decision.identity.name, decision.target)


def require_recording(access_method: AccessMethod, decision: Grant | Denial) -> Grant | Denial:
    """Return `decision`, or a denial if the access must be recorded and SSH does not end at the gateway."""
    if (
        isinstance(decision, Denial)
        or not decision.must_be_recorded
        or access_method not in (AccessMethod.CONNECT, AccessMethod.JUMP)
    ):
        return decision
    name = decision.target.login_name
    return Denial(
        Reason.NO_GRANT,
        f"request {decision.request} opens {name} only where it is recorded: ssh {name}@GATEWAY, or "
        "the WebShell",
    )


def find_removal(grant: Grant, decision: Grant | Denial, now: float) -> Removal | None:
    """Return the removal of a session with this `grant`, or None if it may stay.

    `decision` is the verdict of authz on the same identity and target now. A session stays when its
    rule is removed but another rule covers it: then the grant in `decision` replaces `grant`.
    """
    if isinstance(decision, Grant):
        return None
    has_expired = grant.expires_at is not None and grant.expires_at <= now
    return Removal(EndReason.EXPIRED if has_expired else EndReason.REVOKED, decision.line)
