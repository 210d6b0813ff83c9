"""Shares of terminals, which their hosts or administrators create and end. Audited."""

import secrets
from collections.abc import Sequence

from stagedoor.admin import service as admin
from stagedoor.model.event import Plain
from stagedoor.model.identity import Identity
from stagedoor.model.secret import hash_secret
from stagedoor.model.share import Share
from stagedoor.model.target import Target
from stagedoor.model.webpass import hash_password_mark
from stagedoor.store import shares
from stagedoor.store.sign_in.passes import make_secret

ID_BYTES = 6


def make_share(
    service: admin.AdminService,
    host: Identity,
    target: Target,
    terminal: str,
    lasts_s: float,
    *,
    typing: bool,
) -> tuple[Share, str]:
    """Create a share and return it with its secret, which is not stored.

    Each use of the share checks that the host may enter `target`. `lasts_s` is in seconds. Raises
    NotFoundError, RefusedError, StoreError.
    """
    secret, now = make_secret(), service.clock()
    share = Share(
        secrets.token_hex(ID_BYTES),
        hash_secret(secret),
        host.name,
        host.method,
        target,
        terminal,
        typing,
        now + lasts_s,
        host.credential_id,
        host.scopes,
        hash_password_mark(host.password_hash),
    )
    with service.change("share.create") as change:
        shares.add_share(change.transaction, share, now)
        change.fields |= _fields(share)
    return share, secret


def end_share(service: admin.AdminService, share_id: str, *, host: str | None = None) -> Share:
    """End a share and return it; with `host`, only if it is that user's.

    Its guests are disconnected within seconds. Raises NotFoundError, StoreError.
    """
    with service.change("share.end", revokes=True) as change:
        share = shares.remove_share(change.transaction, share_id, host)
        change.fields |= _fields(share)
    return share


def list_shares(service: admin.AdminService) -> Sequence[Share]:
    """List the active shares, the first to end first. Raises StoreError."""
    now = service.clock()
    return [share for share in admin.read_policy(service).shares.values() if share.expires_at > now]


def _fields(share: Share) -> dict[str, Plain]:
    return {
        "share": share.id,
        "user": share.host,
        "target": str(share.target),
        "terminal": share.terminal,
        "typing": share.typing,
        "expires_at": share.expires_at,
    }
