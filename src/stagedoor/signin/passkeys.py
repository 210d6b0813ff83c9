"""Passkeys as their users have them: registering, listing and removing them. Audited."""

from collections.abc import Mapping
from functools import partial
from typing import Any

from stagedoor.admin.blocking import call_blocking, call_in_transaction
from stagedoor.admin.context import WorkerContext
from stagedoor.admin.service import AdminService
from stagedoor.authn.passkeys import (
    NOT_RIGHT,
    make_registration_options,
    read_challenge,
    read_registration,
)
from stagedoor.authz.step_up import has_fresh_proof
from stagedoor.model.denial import Denial, Reason
from stagedoor.model.errors import ConflictError, NotFoundError, RefusedError
from stagedoor.model.identity import Identity, Method
from stagedoor.model.passkey import ChallengeKind, PasskeyRecord, RelyingParty
from stagedoor.signin.passkey_challenges import (
    check_passkey_user,
    create_challenge,
    take_challenge,
)
from stagedoor.store.sign_in import passes
from stagedoor.store.sign_in import passkeys as stored
from stagedoor.wire.oneline import fold

MAX_PASSKEYS = 20
"""The passkeys of one user: enough for their devices, and for a security key in a drawer."""
MAX_NAME_CHARS = 64
_NOT_PROVED = Denial(
    Reason.CREDENTIAL_MISSING,
    "confirm your identity first, so that no stranger at this browser can add a passkey: by your password, "
    "by a passkey that you have, or at your identity provider",
)

_PASSWORD_NOT_ENOUGH = Denial(
    Reason.CREDENTIAL_MISSING,
    "adding another passkey, or removing the last one, needs a fresh proof of identity other than a "
    "password: open /step-up here first, or ask an administrator to remove a lost one",
)

Options = Mapping[str, Any]
PasskeyAnswer = Mapping[str, Any]


def remove_passkey(
    service: AdminService, id_: str, owner: str | None = None, *, may_be_last: bool = True
) -> PasskeyRecord:
    """Remove a passkey, end the sign-ins that it opened, and return it.

    With `owner`, a passkey of another user counts as unknown. Raises NotFoundError, RefusedError if it is the
    last one of its user and may not be, and StoreError.
    """
    with service.change("passkey.remove", revokes=True) as change:
        passkey = stored.find_passkey(change.transaction, id_)
        if passkey is None or owner not in (None, passkey.user):
            whose = "there is no passkey" if owner is None else f"{owner} has no passkey"
            raise NotFoundError(f"{whose} {id_[:64]!r}")
        if not may_be_last and len(stored.list_passkeys(change.transaction, passkey.user)) == 1:
            raise RefusedError(_PASSWORD_NOT_ENOUGH.message)
        stored.remove_passkey(change.transaction, id_)
        ended = passes.end_sign_ins(change.transaction, passkey.user, Method.PASSWORD, id_)
        change.unchanged = not ended
        change.fields |= {"user": passkey.user, "passkey": id_, "name": passkey.name}
    return passkey


class PasskeyRegistry:
    """The passkeys of users who are signed in. Belongs to one event loop.

    It uses the store in a thread; a store that fails is a Denial.
    """

    def __init__(self, context: WorkerContext) -> None:
        self._context = context

    def has_fresh_proof(self, identity: Identity) -> bool:
        """Return whether this sign-in stepped up within `step_up.fresh_s`."""
        return has_fresh_proof(
            self._context.policy(),
            identity,
            self._context.now() - self._context.settings.step_up.fresh_s,
        )

    async def list_own(self, identity: Identity) -> list[PasskeyRecord] | Denial:
        """Return the user's passkeys, the oldest first."""
        return await call_in_transaction(
            self._context.database.read, stored.list_passkeys, identity.name
        )

    async def begin_registration(
        self, identity: Identity, rp: RelyingParty, *, proved: bool
    ) -> Options | Denial:
        """Return the options with which the browser creates a passkey.

        `proved` is true if the user has just entered their password. A cookie alone does not suffice: a thief
        who stole it could otherwise step up. Beside a passkey, neither does the password, so that a passkey
        proves more than a password.
        """
        if "passkeys" not in self._context.settings.accounts.self_service:
            return Denial.with_fix(
                Reason.NO_GRANT,
                "users cannot add passkeys here",
                'an administrator allows it with "passkeys" in accounts.self_service',
                "ask an administrator",
            )
        if (denial := check_passkey_user(identity)) is not None:
            return denial
        known = await self.list_own(identity)
        if isinstance(known, Denial):
            return known
        if not self.has_fresh_proof(identity) and (known or not proved):
            return _PASSWORD_NOT_ENOUGH if known else _NOT_PROVED
        challenge = await create_challenge(self._context, ChallengeKind.REGISTER, identity)
        if isinstance(challenge, Denial):
            return challenge
        return make_registration_options(rp, identity.name, known, challenge)

    async def finish_registration(
        self, identity: Identity, rp: RelyingParty, name: str, answer: PasskeyAnswer
    ) -> PasskeyRecord | Denial:
        """Store the passkey that the browser created; `name` is the user's name for it."""
        challenge = read_challenge(answer)
        if challenge is None:
            return NOT_RIGHT
        new = read_registration(rp, challenge, answer)
        if isinstance(new, Denial):
            return new
        label = fold(name).strip()[:MAX_NAME_CHARS] or "passkey"
        passkey = PasskeyRecord(
            new.id, identity.name, label, rp.id, new.credential, new.sign_count, self._context.now()
        )
        return await call_blocking(self._add, identity, passkey, challenge)

    def _add(self, identity: Identity, passkey: PasskeyRecord, challenge: bytes) -> PasskeyRecord:
        """Store a passkey that was created for `challenge`. Runs in a thread.

        Raises RefusedError, StoreError.
        """
        purpose = ChallengeKind.REGISTER
        try:
            with self._context.change(identity.name, "passkey.add") as change:
                now = self._context.now()
                if not take_challenge(change.transaction, challenge, purpose, identity, now):
                    raise RefusedError(NOT_RIGHT.message)
                stored.add_passkey(change.transaction, passkey, MAX_PASSKEYS)
                change.unchanged = True
                change.fields |= {
                    "user": passkey.user,
                    "passkey": passkey.id,
                    "name": passkey.name,
                }
        except ConflictError:
            # The message does not say whether the passkey is another user's.
            raise RefusedError("this passkey is registered here already") from None
        return passkey

    async def remove(self, identity: Identity, id_: str) -> Denial | None:
        """Remove one of the user's passkeys; the last one after a fresh proof.

        Else a thief who knows the password would remove it and add their own.
        """
        removed = await call_blocking(
            partial(remove_passkey, may_be_last=self.has_fresh_proof(identity)),
            self._context.make_service(identity.name),
            id_,
            identity.name,
        )
        return removed if isinstance(removed, Denial) else None
