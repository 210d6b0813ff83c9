"""The credentials that users change themselves on the web; each change is audited in the user's name.

`accounts.self_service` says what users may add, and additions are counted. Removing always works: a token
or key that was stolen must not wait for an administrator.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field

from stagedoor.admin import service as admin
from stagedoor.admin.blocking import call_blocking, run_in_thread
from stagedoor.admin.certificates.revocation import RefusedKeys, require_unrevoked
from stagedoor.admin.context import WorkerContext
from stagedoor.admin.sign_ins import end_sign_ins, list_sign_ins
from stagedoor.authn.passes import make_link_identity
from stagedoor.authz.own_scopes import restrict_scopes
from stagedoor.model.denial import Denial, Reason
from stagedoor.model.errors import ConflictError, NotFoundError, RefusedError
from stagedoor.model.identity import Identity, Method
from stagedoor.model.policy import KeyRecord, TokenRecord, User
from stagedoor.model.units import DAY_S
from stagedoor.settings.accounts import SelfService
from stagedoor.signin.invitations import accept, find_invited_user
from stagedoor.signin.key_proof import make_line_to_sign, verify_line
from stagedoor.store.people import list_keys, list_tokens, read_user
from stagedoor.store.sign_in.sign_ins import SignInRecord
from stagedoor.wire.language.choose import NAMES
from stagedoor.wire.oneline import fold

MAX_TOKENS = 50
MAX_KEYS = 100
"""The keys of one user. Every worker has them all in memory, as it has the tokens."""
MAX_SIGN_INS = 100
"""The sign-ins that are shown, those that end last: programs may open any number."""
ENDED = "you ended this sign-in on your account's page"


@dataclass(frozen=True, slots=True)
class AccountState:
    """A user's language, credentials and sign-ins. `may` is what the user may set and add.

    `sign_in` is the id of the browser's own sign-in, as `SignInRecord.id` has it. `now` is seconds since the
    epoch.
    """

    groups: Sequence[str]
    language: str | None
    has_password: bool
    may: frozenset[SelfService]
    tokens: Sequence[TokenRecord]
    keys: Sequence[KeyRecord]
    sign_ins: Sequence[SignInRecord]
    sign_in: str | None
    token_max_days: float
    now: float = field(compare=False)


@dataclass(frozen=True, slots=True)
class NewToken:
    """A new token. `text` is shown once and not stored. `expires_at` is seconds since the epoch."""

    id: str
    text: str = field(repr=False)
    expires_at: float


class CredentialService:
    """Shows and changes the credentials of users who are signed in. Belongs to one event loop.

    It uses the store in a thread; a store that fails is a Denial.
    """

    def __init__(self, context: WorkerContext, refused: RefusedKeys) -> None:
        self._context = context
        self._refused = refused
        self._hashing = asyncio.Semaphore()
        """A password costs 64 MiB to hash; see `authn.passwords`."""

    @run_in_thread
    def read_account(self, identity: Identity) -> AccountState:
        """Return the user's credentials and sign-ins."""
        service = self._context.make_service(identity.name)
        # From the store, not from memory: a user who has just added a key wants to see it.
        with self._context.database.read() as transaction:
            user = read_user(transaction, identity.name)
            tokens = list_tokens(transaction, identity.name)
            keys = list_keys(transaction, identity.name)
        as_known = User(user.name, user.groups | identity.groups, user.password_hash)
        limits = self._context.settings.accounts.passwords_for
        return AccountState(
            sorted(identity.groups),
            user.language,
            as_known.with_passwords_for(limits).password_hash is not None,
            frozenset(self._context.settings.accounts.self_service),
            tokens,
            keys,
            list_sign_ins(service, identity.name)[-MAX_SIGN_INS:],
            None if identity.sign_in is None else identity.sign_in.id.hex(),
            self._context.settings.accounts.token_max_days,
            service.clock(),
        )

    async def set_password(self, proved: Identity, password: str) -> Identity | Denial:
        """Set a new password for the user who was `proved` by the present one. Return their new identity."""
        denial = self._check_allowed("password", proved)
        if denial is not None:
            return denial
        assert proved.method is Method.PASSWORD, "the present one was verified"

        def change() -> Identity:
            service = self._context.make_service(proved.name)
            before = proved.password_hash
            after = admin.set_password(service, proved.name, password, before=before)
            return make_link_identity(User(proved.name, proved.groups, after))

        async with self._hashing:
            return await call_blocking(change)

    async def set_language(self, identity: Identity, language: str) -> Denial | None:
        """Set the language of the user's pages and messages, or with "" that of each browser."""
        if language and language not in NAMES:
            return _make_denial("there is no such language here")
        denial = self._context.count_change(identity)
        if denial is not None:
            return denial

        def change() -> None:
            admin.set_language(
                self._context.make_service(identity.name), identity.name, language or None
            )

        return await call_blocking(change)

    async def accept_invitation(self, secret: str, password: str) -> Identity | Denial:
        """Set the password of the invited user, use up the invitation, and return the user's identity."""
        name = await call_blocking(
            find_invited_user, self._context.database, secret, self._context.now()
        )
        if isinstance(name, Denial):
            return name

        def change() -> Identity:
            service = self._context.make_service(name)
            return make_link_identity(accept(service, name, secret, password))

        async with self._hashing:
            return await call_blocking(change)

    async def add_token(
        self, identity: Identity, apps: Sequence[str], days: float
    ) -> NewToken | Denial:
        """Create a token for these apps only; with no apps, for all that the user may enter.

        It expires after `days`, at most `accounts.token_max_days`.
        """
        denial = self._check_allowed("tokens", identity)
        if denial is not None:
            return denial
        most = self._context.settings.accounts.token_max_days
        if not 0 < days <= most:
            return _make_denial(f"a token lasts up to {most:g} days")
        policy = self._context.policy()
        user = policy.users.get(identity.name)
        if user is None:
            return _make_denial(policy.explain_absence(identity.name))
        scopes = restrict_scopes(policy, user, apps, self._context.now())
        if isinstance(scopes, Denial):
            return scopes

        def make() -> NewToken:
            service = self._context.make_service(identity.name)
            end = service.clock() + days * DAY_S
            token = admin.create_token(
                service, user.name, scopes=scopes or None, expires_at=end, most=MAX_TOKENS
            )
            return NewToken(token.id, token.text, end)

        return await call_blocking(make)

    @run_in_thread
    def revoke_token(self, identity: Identity, token_id: str) -> None:
        """Revoke one of the user's tokens."""
        with self._context.database.read() as transaction:
            ids = [token.id for token in list_tokens(transaction, identity.name)]
        if token_id not in ids:
            raise NotFoundError(f"{identity.name} has no token {token_id[:64]!r}")
        admin.revoke_token(self._context.make_service(identity.name), token_id)

    async def add_key(
        self, identity: Identity, host: str, signature: str, label: str, *, proved: bool
    ) -> Denial | None:
        """Register the key that signed the line of `key_proof` at `host`; `label` is its name in the list.

        `proved` is true if the user proved their presence with this sign-in lately. An `sk-` key requires it:
        such a key counts as a proof of presence, and software can emulate one, so the thief of a cookie could
        add one and step up with it.
        """
        if (denial := self._check_allowed("keys", identity)) is not None:
            return denial

        def add() -> None:
            key = verify_line(make_line_to_sign(identity, host), signature)
            if key.type.startswith("sk-") and not proved:
                raise RefusedError(
                    "a security key confirms your identity later, so confirm it now: "
                    "open /step-up here, then add the key; or an administrator adds it"
                )
            line = f"{key.line} {fold(label)}"
            require_unrevoked([line], self._refused)
            try:
                admin.add_keys(
                    self._context.make_service(identity.name), identity.name, [line], most=MAX_KEYS
                )
            except ConflictError:
                # The message does not say whether the key is another user's.
                raise RefusedError(
                    "this key is registered here already; if it is not in your list below, use another one, "
                    "or ask an administrator"
                ) from None

        return await call_blocking(add)

    @run_in_thread
    def remove_key(self, identity: Identity, fingerprint: str) -> None:
        """Remove one of the user's keys."""
        with self._context.database.read() as transaction:
            fingerprints = [key.fingerprint for key in list_keys(transaction, identity.name)]
        if fingerprint not in fingerprints:
            raise NotFoundError(f"{identity.name} has no key {fingerprint[:64]!r}")
        admin.remove_key(self._context.make_service(identity.name), fingerprint)

    @run_in_thread
    def end_sign_ins(self, identity: Identity, wanted: str) -> int:
        """End the user's sign-in with the id `wanted`, or all but the browser's own (`others`).

        Return how many were still active.
        """
        service = self._context.make_service(identity.name)
        own = None if identity.sign_in is None else identity.sign_in.id.hex()
        lasting = list_sign_ins(service, identity.name)
        chosen = [
            sign_in
            for sign_in in lasting
            if sign_in.id == wanted or (wanted == "others" and sign_in.id != own)
        ]
        if not chosen and wanted != "others":
            raise NotFoundError("this sign-in is over already")
        return end_sign_ins(service, chosen, ENDED)

    def _check_allowed(self, what: SelfService, identity: Identity) -> Denial | None:
        """Count the change. Return why the user may not make it now, or None if they may."""
        if what not in self._context.settings.accounts.self_service:
            return Denial.with_fix(
                Reason.NO_GRANT,
                "you may not do that here",
                f'an administrator does it, or allows it for all users with "{what}" in '
                "accounts.self_service",
                "ask an administrator",
            )
        return self._context.count_change(identity)


def _make_denial(why: str) -> Denial:
    return Denial(Reason.BAD_REQUEST, why)
