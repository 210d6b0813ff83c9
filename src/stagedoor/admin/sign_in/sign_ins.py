"""Sign-ins on the web: who has one, and the end of one. Audited."""

from collections.abc import Iterable
from contextlib import suppress

from stagedoor.admin.service import AdminService
from stagedoor.model.errors import NotFoundError, RefusedError
from stagedoor.model.identity import Method
from stagedoor.store.policy import Change
from stagedoor.store.sign_in import identities, passes, sign_ins
from stagedoor.store.sign_in import provider_answers as answers
from stagedoor.store.sign_in.provider_answers import RefreshCandidate
from stagedoor.store.sign_in.sign_ins import SignInRecord

__all__ = [
    "SHOWN_CHARS",
    "SignInRecord",
    "end_all_by_provider",
    "end_by_provider",
    "end_sign_ins",
    "find_sign_in",
    "list_sign_ins",
    "shown_id",
]

SHOWN_CHARS = 12
"""Of a sign-in's id, which says nothing about the cookie: it is a digest of 256 random bits."""


def shown_id(sign_in: bytes) -> str:
    """What lists and the audit call a sign-in."""
    return sign_in.hex()[:SHOWN_CHARS]


def list_sign_ins(service: AdminService, user: str | None = None) -> list[SignInRecord]:
    """Those that last, of all or of `user`. Raises StoreError."""
    return sign_ins.list_sign_ins(service.database, service.clock(), user)


def find_sign_in(service: AdminService, prefix: str) -> SignInRecord:
    """The one whose id begins so. Raises NotFoundError, RefusedError where there are more, StoreError."""
    found = [one for one in list_sign_ins(service) if prefix and one.id.startswith(prefix)]
    if not found:
        raise NotFoundError(f"no sign-in {prefix!r} lasts; see: stagedoor sign-in list")
    if len(found) > 1:
        raise RefusedError(f"{len(found)} sign-ins begin with {prefix!r}; give more of the id")
    return found[0]


def end_sign_ins(
    service: AdminService, wanted: Iterable[SignInRecord], reason: str, *, ask_again: bool = False
) -> int:
    """End them, with all that they opened; how many lasted still. `reason` is told to their people. With
    `ask_again`, the session that they have at an identity provider signs them in no more: they have to prove
    themselves there. Raises StoreError."""
    ended = 0
    for one in wanted:
        id_ = bytes.fromhex(one.id)
        try:
            with service.change("sign-in.end", revokes=True) as change:
                passes.end(change.transaction, id_, f"{reason}; sign in again", service.clock())
                if ask_again and one.method == Method.SSO.value:
                    identities.ask_again(change.transaction, one.user, service.clock())
                change.fields |= {"user": one.user, "sign_in": shown_id(id_), "why": reason}
        except NotFoundError:
            continue
        ended += 1
    return ended


def end_by_provider(service: AdminService, mine: RefreshCandidate, why: str) -> bool:
    """End the sign-in that its provider ended, with all that it opened; whether it lasted, and the turn to
    ask about it was still the caller's: else the answer may be about a token that is kept no more. Raises
    StoreError."""
    sign_in, provider = mine.sign_in, mine.provider
    try:
        with service.change("sign-in.end", revokes=True) as change:
            still = answers.settle(
                change.transaction, mine, ask_at=mine.turn, failures=mine.failures
            )
            if not still:
                raise NotFoundError("somebody else has asked since")
            # One answer is for all of them, and each has to be gone before the next could take it over.
            for follower in answers.followers(change.transaction, sign_in):
                with suppress(NotFoundError):
                    passes.end(change.transaction, follower, _told(provider), service.clock())
            user = passes.end(change.transaction, sign_in, _told(provider), service.clock())
            change.fields |= {
                "user": user,
                "sign_in": shown_id(sign_in),
                "provider": provider,
                "why": why,
            }
    except NotFoundError:
        return False
    return True


def end_all_by_provider(
    service: AdminService, issuer: str, subject: str | None, session_id: str | None, change: Change
) -> int:
    """End those of a provider's session, or of a person, in the change given; how many lasted."""
    ended = []
    for sign_in, provider in answers.named(change.transaction, issuer, subject, session_id):
        try:
            passes.end(change.transaction, sign_in, _told(provider), service.clock())
        except NotFoundError:
            continue
        ended.append(shown_id(sign_in))
    change.fields |= {"sign_ins": " ".join(ended), "subject": subject}
    change.unchanged = not ended
    return len(ended)


def _told(provider: str) -> str:
    return f"{provider} ended your sign-in; sign in again"
