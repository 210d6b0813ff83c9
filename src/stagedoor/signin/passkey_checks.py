"""Proofs by a passkey: that a user who is signed in is present (a step-up), or to sign in. Audited."""

from collections.abc import Callable

from stagedoor.admin.blocking import call_blocking, call_in_transaction, run_in_thread
from stagedoor.admin.context import WorkerContext
from stagedoor.admin.sign_ins import show_id
from stagedoor.authn.passes import by_passkey
from stagedoor.authn.passkeys import (
    CLONED,
    NOT_RIGHT,
    make_assertion_options,
    read_assertion,
    read_challenge,
    read_passkey_id,
)
from stagedoor.model.denial import Denial, Reason
from stagedoor.model.errors import RefusedError
from stagedoor.model.identity import Identity
from stagedoor.model.passkey import Challenge, ChallengeKind, PasskeyRecord, RelyingParty
from stagedoor.model.pending_step_up import PendingStepUp
from stagedoor.model.source import Source
from stagedoor.signin.passkey_challenges import (
    create_challenge,
    create_challenge_for_stranger,
    take_challenge,
)
from stagedoor.signin.passkeys import Options, PasskeyAnswer
from stagedoor.signin.source_limit import START_RATE, SourceLimit
from stagedoor.signin.step_up import find_open_step_up
from stagedoor.store.database import Transaction
from stagedoor.store.sign_in import passes
from stagedoor.store.sign_in import passkeys as stored


class PasskeyChecks:
    """Checks what passkeys prove. Belongs to one event loop.

    It uses the store in a thread; a store that fails is a Denial.
    """

    def __init__(self, context: WorkerContext) -> None:
        self._context = context
        complaint = "too many sign-ins by a passkey come from your {}"
        self._beginnings = SourceLimit(START_RATE, complaint, context.now)

    # Step-up.

    async def begin_step_up(
        self, identity: Identity, rp: RelyingParty, waiting: PendingStepUp | None = None
    ) -> Options | Denial:
        """Return the options with which the browser proves that its user is present.

        The proof is for the browser's own sign-in or, with `waiting`, for that of a terminal whose letters
        the user has typed.
        """
        known = await call_in_transaction(
            self._context.database.read, stored.list_passkeys, identity.name
        )
        if isinstance(known, Denial):
            return known
        here = [passkey for passkey in known if passkey.rp_id == rp.id]
        if not here:
            return Denial(
                Reason.NO_APP,
                f"{identity.name} has no passkey for {rp.id}; add one on your account's page",
            )
        challenge = await create_challenge(self._context, ChallengeKind.STEP_UP, identity, waiting)
        return (
            challenge
            if isinstance(challenge, Denial)
            else make_assertion_options(rp, here, challenge)
        )

    @run_in_thread
    def finish_step_up(
        self, identity: Identity, rp: RelyingParty, answer: PasskeyAnswer
    ) -> Denial | None:
        """Mark the sign-in as proved from now on, if the answer is right."""
        challenge, id_ = read_challenge(answer), read_passkey_id(answer)
        if challenge is None or id_ is None:
            return NOT_RIGHT
        with self._context.database.read() as transaction:
            passkey = stored.find_passkey(transaction, id_)
        # Another user's passkey also signs validly.
        if passkey is None or passkey.user != identity.name:
            return NOT_RIGHT

        def take(transaction: Transaction) -> Challenge | None:
            purpose, now = ChallengeKind.STEP_UP, self._context.now()
            return take_challenge(transaction, challenge, purpose, identity, now)

        count = read_assertion(rp, challenge, passkey, answer)
        if count is CLONED:
            self._report_clone(passkey, take)
        if isinstance(count, Denial):
            return count
        now = self._context.now()
        with self._context.change(identity.name, "step-up") as change:
            taken = take(change.transaction)
            if taken is None:
                raise RefusedError(NOT_RIGHT.message)
            if not stored.use_passkey(change.transaction, passkey, count, now):
                raise RefusedError(NOT_RIGHT.message)
            proved = self._find_proved_sign_in(change.transaction, taken)
            passes.record_step_up(change.transaction, proved, now)
            change.fields |= {
                "user": identity.name,
                "sign_in": show_id(proved),
                "passkey": passkey.id,
            }
        return None

    def _find_proved_sign_in(self, transaction: Transaction, answered: Challenge) -> bytes:
        """Return the id of the sign-in that the proof is for.

        Raises RefusedError if its terminal no longer waits.
        """
        if answered.step_up is None:
            assert answered.sign_in is not None, "the challenge was for a person's sign-in"
            return answered.sign_in
        now = self._context.now()
        return find_open_step_up(transaction, answered.step_up, answered.user or "", now).sign_in

    def _report_clone(
        self, passkey: PasskeyRecord, take: Callable[[Transaction], Challenge | bool | None]
    ) -> None:
        """Write to the audit that a passkey seems to be copied. `take` uses up the challenge.

        An answer that is sent a second time has an old counter as well, and is no sign of a copy: then
        `take` returns nothing. Raises RefusedError in that case, StoreError.
        """
        with self._context.change(passkey.user, "passkey.cloned") as change:
            if not take(change.transaction):
                raise RefusedError(NOT_RIGHT.message)
            change.unchanged = True
            change.fields |= {"user": passkey.user, "passkey": passkey.id, "name": passkey.name}

    # Signing in.

    @property
    def is_sign_in_possible(self) -> bool:
        """Return whether any user may have a password, which a passkey can replace."""
        return self._context.settings.accounts.passwords_for != frozenset()

    async def begin_sign_in(self, rp: RelyingParty, source: Source) -> Options | Denial:
        """Return the options with which a browser signs in a user who is not known yet."""
        if (denial := self._beginnings.take(source)) is not None:
            return denial
        challenge = await create_challenge_for_stranger(self._context)
        return (
            challenge
            if isinstance(challenge, Denial)
            else make_assertion_options(rp, [], challenge)
        )

    async def finish_sign_in(
        self, rp: RelyingParty, answer: PasskeyAnswer, source: Source
    ) -> Identity | Denial:
        """Return the user's identity, if the answer is right and the user has a password here."""
        identity = await call_blocking(self._sign_in, rp, answer)
        if not isinstance(identity, Denial):
            self._beginnings.give_back(source)
        return identity

    def _sign_in(self, rp: RelyingParty, answer: PasskeyAnswer) -> Identity | Denial:
        """Check the answer and return the user's identity. Runs in a thread.

        Raises RefusedError, StoreError.
        """
        challenge, id_ = read_challenge(answer), read_passkey_id(answer)
        if challenge is None or id_ is None:
            return NOT_RIGHT
        with self._context.database.read() as transaction:
            passkey = stored.find_passkey(transaction, id_)
            pending = stored.find_challenge(transaction, challenge, self._context.now())
        if passkey is None or pending is None or pending.purpose is not ChallengeKind.SIGN_IN:
            return NOT_RIGHT
        count = read_assertion(rp, challenge, passkey, answer)
        if isinstance(count, Denial):
            if count is CLONED:
                self._report_clone(passkey, lambda its: stored.take_challenge(its, challenge))
            return count
        user = self._context.policy().users.get(passkey.user)
        if user is None or user.password_hash is None:
            return Denial(
                Reason.CREDENTIAL_WRONG,
                f"passkeys sign in only users with a password here, and {passkey.user} has none; sign in at "
                "your identity provider",
            )
        with self._context.change(passkey.user, "passkey.sign-in") as change:
            change.unchanged = True
            if not (
                stored.take_challenge(change.transaction, challenge)
                and stored.use_passkey(change.transaction, passkey, count, self._context.now())
            ):
                raise RefusedError(NOT_RIGHT.message)
            change.fields |= {"user": passkey.user, "passkey": passkey.id}
        return by_passkey(user, passkey.id)
