"""Listing, finding and ending sign-ins on the web. Audited."""

from collections.abc import Iterable
from contextlib import suppress

from stagedoor.admin.service import AdminService
from stagedoor.admin.sessions import require_only
from stagedoor.model.errors import NotFoundError
from stagedoor.model.identity import Method
from stagedoor.store.policy import PolicyChange
from stagedoor.store.sign_in import identities, passes, sign_ins
from stagedoor.store.sign_in import provider_answers as answers
from stagedoor.store.sign_in.provider_answers import RefreshCandidate
from stagedoor.store.sign_in.sign_ins import SignInRecord

SHOWN_CHARS = 12
"""The characters that are shown of a sign-in's id. The id is a digest of the cookie's 256 random bits, so it
reveals nothing of the cookie."""


def show_id(sign_in: bytes) -> str:
    """Return a sign-in's id as lists and the audit show it."""
    return sign_in.hex()[:SHOWN_CHARS]


def list_sign_ins(service: AdminService, user: str | None = None) -> list[SignInRecord]:
    """List the active sign-ins of all users or of `user`. Raises StoreError."""
    return sign_ins.list_sign_ins(service.database, service.clock(), user)


def find_sign_in(service: AdminService, prefix: str) -> SignInRecord:
    """Return the active sign-in whose id begins with `prefix`.

    Raises NotFoundError, RefusedError, StoreError.
    """
    matches = [sign_in for sign_in in list_sign_ins(service) if sign_in.id.startswith(prefix)]
    return require_only(matches, prefix, "sign-in")


def end_sign_ins(
    service: AdminService,
    wanted: Iterable[SignInRecord],
    reason: str,
    *,
    require_proof: bool = False,
) -> int:
    """End sign-ins with all that they opened, and return how many were still active.

    `reason` is shown to their users. With `require_proof`, a session at an identity provider no longer
    suffices, and its user must authenticate there again. Raises StoreError.
    """
    ended = 0
    for record in wanted:
        opened, at = record.sign_in, service.clock()
        try:
            with service.change("sign-in.end", revokes=True) as change:
                message = f"{reason}; sign in again"
                passes.end_sign_in(change.transaction, opened.id, message, at)
                if require_proof and opened.method is Method.SSO:
                    identities.require_proof(change.transaction, opened.name, at)
                change.fields |= {
                    "user": opened.name,
                    "sign_in": show_id(opened.id),
                    "why": reason,
                }
        except NotFoundError:
            continue
        ended += 1
    return ended


def end_by_provider(service: AdminService, candidate: RefreshCandidate, why: str) -> bool:
    """End a sign-in that its provider ended, with all that it opened.

    Return False if it was no longer active, or if the caller no longer had the turn to refresh it: then the
    provider's answer may be about a token that is no longer stored. Raises StoreError.
    """
    sign_in, provider = candidate.sign_in, candidate.provider
    message, at = _end_message(provider), service.clock()
    try:
        with service.change("sign-in.end", revokes=True) as change:
            has_turn = answers.settle(
                change.transaction, candidate, ask_at=candidate.turn, failures=candidate.failures
            )
            if not has_turn:
                raise NotFoundError("another process has refreshed it since")
            # The answer applies to all followers too; each must end before another takes over its token.
            for follower in answers.list_followers(change.transaction, sign_in):
                with suppress(NotFoundError):
                    passes.end_sign_in(change.transaction, follower, message, at)
            user = passes.end_sign_in(change.transaction, sign_in, message, at)
            change.fields |= {
                "user": user,
                "sign_in": show_id(sign_in),
                "provider": provider,
                "why": why,
            }
    except NotFoundError:
        return False
    return True


def end_all_by_provider(
    service: AdminService,
    issuer: str,
    subject: str | None,
    session_id: str | None,
    change: PolicyChange,
) -> int:
    """End the sign-ins of a provider's session or, without one, of its user `subject`.

    It writes them into `change`. Return how many were active.
    """
    ended = []
    for sign_in, provider in answers.find_sign_ins(change.transaction, issuer, subject, session_id):
        try:
            message = _end_message(provider)
            passes.end_sign_in(change.transaction, sign_in, message, service.clock())
        except NotFoundError:
            continue
        ended.append(show_id(sign_in))
    change.fields |= {"sign_ins": " ".join(ended), "subject": subject}
    change.unchanged = not ended
    return len(ended)


def _end_message(provider: str) -> str:
    return f"{provider} ended your sign-in; sign in again"
