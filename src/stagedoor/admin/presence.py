"""The users at each terminal and the shares of terminals, from the store. Shares are audited."""

import asyncio
import secrets
from collections.abc import Collection, Sequence
from contextlib import suppress

from stagedoor.admin.blocking import call_blocking, run_in_thread
from stagedoor.admin.context import WorkerContext
from stagedoor.admin.shares import end_share, make_share
from stagedoor.authz.decide import has_somewhere
from stagedoor.model.denial import Denial, Reason
from stagedoor.model.errors import StoreError
from stagedoor.model.identity import Identity
from stagedoor.model.permission import Permission
from stagedoor.model.presence import PresenceEntry
from stagedoor.model.secret import hash_secret
from stagedoor.model.share import Share
from stagedoor.model.target import Target
from stagedoor.store import attachments
from stagedoor.store.shares import require_share

# Each attachment costs some processes and memory in the shell. The holder there has its own limit
# (`holder.attachments`), which reserves places for users who type. The limits here are lower, so that users
# who only watch never reach it, and a single link or user leaves room for others.
MAX_WATCHING = 32
"""The attachments of all users who only watch a terminal."""
MAX_PER_SHARE = 24
MAX_WATCHING_PER_USER = 8
MAX_TYPING_PER_USER = 16
"""More than the few windows of a user, since a broken attachment counts until that is detected."""


def explain_crowd(present: Sequence[PresenceEntry], session: str) -> Denial | None:
    """Return why the attachment of `session` must end, or None if there is room for it.

    `present` are all attachments to its terminal, including this one.
    """
    own = next((entry for entry in present if entry.session == session), None)
    if own is None:
        return None
    same_kind = [entry for entry in present if entry.is_watching == own.is_watching]
    of_user = sum(entry.name == own.name for entry in same_kind)
    of_share = sum(entry.share == own.share for entry in present) if own.share else 0
    if of_user > (MAX_WATCHING_PER_USER if own.is_watching else MAX_TYPING_PER_USER):
        does = "watches" if own.is_watching else "is at"
        return _crowded(f"{own.name} {does} this terminal {of_user - 1} times already")
    if of_share > MAX_PER_SHARE:
        return _crowded(f"this link is used by {MAX_PER_SHARE} at a time, which is the limit")
    if own.is_watching and len(same_kind) > MAX_WATCHING:
        return _crowded(
            f"this terminal is watched {MAX_WATCHING} times already, which is the limit"
        )
    return None


def _crowded(why: str) -> Denial:
    return Denial(
        Reason.OVERLOADED,
        f"{why}; close one of its windows, or try again when another user has left",
        retry_after_s=5,
    )


class PresenceService:
    """The users at terminals, and their shares. It uses the store in a thread; a failure is a Denial."""

    def __init__(self, context: WorkerContext) -> None:
        self._context = context
        self._database = context.database

    @run_in_thread
    def attach(
        self, session: str, target: Target, terminal: str, *, is_watching: bool, share: str | None
    ) -> Denial | None:
        """Store that a session is attached to a terminal, so that the other users there see it.

        `is_watching` is true for a session that only watches. If there are too many, store nothing and return
        a denial (`explain_crowd`).
        """
        at = (str(target), terminal)
        attachments.attach(self._database, session, *at, is_watching=is_watching, share=share)
        # Read after writing, so that of several simultaneous sessions each sees the earlier ones.
        present = attachments.list_attachments(self._database, at=at)
        denial = explain_crowd(present, session)
        if denial is not None:
            attachments.detach(self._database, session)
        return denial

    async def detach(self, session: str) -> None:
        """Store that a session is no longer attached. A store that fails is ignored."""
        with suppress(StoreError):  # the end of the session removes it too
            await asyncio.to_thread(attachments.detach, self._database, session)

    async def list_present(
        self, *, is_watching: bool | None = None, targets: Collection[str] | None = None
    ) -> Sequence[PresenceEntry] | Denial:
        """List the users at terminals of `targets`, None for all of them.

        `is_watching` selects the users who only watch (True) or those who may type (False).
        """
        return await call_blocking(
            attachments.list_attachments, self._database, is_watching=is_watching, targets=targets
        )

    async def share(
        self, identity: Identity, target: Target, terminal: str, lasts_s: float, *, typing: bool
    ) -> tuple[Share, str] | Denial:
        """Share a terminal for `lasts_s` seconds; return the share with its secret, which is not stored."""
        if (denial := self._context.count_change(identity)) is not None:
            return denial
        service = self._context.make_service(identity.name)
        return await call_blocking(
            make_share, service, identity, target, terminal, lasts_s, typing=typing
        )

    @run_in_thread
    def end_share(self, identity: Identity, share_id: str) -> None:
        """End one of the user's shares."""
        # Checked here first, since logins wait for a transaction that writes.
        with self._database.read() as transaction:
            require_share(transaction, share_id, identity.name)
        end_share(self._context.make_service(identity.name), share_id, host=identity.name)

    def list_shares(self, identity: Identity) -> Sequence[Share]:
        """List the user's active shares, by the current policy."""
        now = self._context.now()
        return [
            share
            for share in self._context.policy().shares.values()
            if share.host == identity.name and share.expires_at > now
        ]

    def find_share(self, secret: str) -> Share | None:
        """Return the share with this secret by the current policy, or None."""
        digest = hash_secret(secret)
        for share in self._context.policy().shares.values():
            if secrets.compare_digest(share.secret_hash, digest):
                return share
        return None

    def may_watch(self, identity: Identity) -> bool:
        """Return whether a grant lets the user watch terminals of any app."""
        return has_somewhere(
            self._context.policy(), identity, Permission.WATCH, self._context.now()
        )
