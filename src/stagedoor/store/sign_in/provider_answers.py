"""The answers of identity providers about the active sign-ins, and the turns to ask again.

Processes and gateways that share a store take turns by the row alone: the first that moves `ask_at` asks.
Refresh tokens rotate, and a provider that sees one twice ends the sign-in (RFC 9700 §4.14.2).
"""

from collections.abc import Collection, Sequence
from dataclasses import asdict, dataclass, field, replace

from sqlalchemy import and_, delete, insert, or_, select, update

from stagedoor.model.webpass import ProviderAnswer
from stagedoor.store.database import Database, Transaction
from stagedoor.store.sign_in.tables import SIGN_INS, logout_tokens, provider_answers, web_passes


@dataclass(frozen=True, slots=True)
class RefreshCandidate:
    """A sign-in to refresh at its provider.

    `refresh_token` is sealed. `turn` is the end of the time in which the process that took the turn may write
    the answer, in seconds since the epoch. `failure` is why the provider did not confirm the sign-in when it
    was last asked, at `failed_at`; None if it did.
    """

    sign_in: bytes = field(repr=False)
    user: str
    provider: str
    subject: str
    failures: int
    refresh_token: str = field(repr=False)
    turn: float
    failure: str | None = None
    failed_at: float | None = None

    @property
    def place(self) -> tuple[float, bytes]:
        """Return the place in the order of `list_due`."""
        return self.turn, self.sign_in


def keep(transaction: Transaction, sign_in: bytes, answer: ProviderAnswer) -> None:
    """Store the provider's answer that opened the sign-in."""
    row = asdict(answer) | {"sign_in": sign_in, "failures": 0}
    transaction.execute(insert(provider_answers).values(row))


def follow(transaction: Transaction, leader: bytes, follower: bytes) -> None:
    """Make the provider's answers about `leader` count for the new sign-in `follower` too.

    One refresh token is used for both.
    """
    row = transaction.execute(
        select(provider_answers).where(provider_answers.c.sign_in == leader)
    ).first()
    if row is None:
        return
    holder = leader if row.refresh_token is not None else row.follows
    no_token = {"refresh_token": None, "ask_at": None, "failures": 0}
    values = dict(row._mapping) | no_token | {"sign_in": follower, "follows": holder}
    transaction.execute(insert(provider_answers).values(values))


def list_followers(transaction: Transaction, leader: bytes) -> list[bytes]:
    """Return the sign-ins that are refreshed with the refresh token of `leader`."""
    query = select(provider_answers.c.sign_in).where(provider_answers.c.follows == leader)
    return [bytes(id_) for id_ in transaction.execute(query).scalars()]


def hand_over_expired(transaction: Transaction, now: float) -> None:
    """Hand over the refresh tokens of expired sign-ins (`_hand_over`), before these are removed."""
    _hand_over(transaction, _expired_leaders(transaction, now), now)


def adopt(database: Database, now: float) -> None:
    """Hand the refresh tokens of expired sign-ins to the sign-ins that follow them. Raises StoreError."""
    with database.read() as reading:
        if not _expired_leaders(reading, now):
            return
    with database.write() as transaction:
        hand_over_expired(transaction, now)


def _expired_leaders(transaction: Transaction, now: float) -> list[bytes]:
    """Return the expired sign-ins with a refresh token that active sign-ins follow."""
    following, passes = provider_answers.alias(), web_passes.alias()
    followed = (
        select(following.c.follows)
        .join(passes, passes.c.secret_hash == following.c.sign_in)
        .where(following.c.follows.is_not(None), passes.c.expires_at > now)
    )
    query = (
        select(provider_answers.c.sign_in)
        .join(web_passes, web_passes.c.secret_hash == provider_answers.c.sign_in)
        .where(
            web_passes.c.expires_at <= now,
            provider_answers.c.refresh_token.is_not(None),
            provider_answers.c.sign_in.in_(followed),
        )
    )
    return [bytes(id_) for id_ in transaction.execute(query).scalars()]


def _hand_over(transaction: Transaction, ending: Collection[bytes], now: float = 0.0) -> None:
    """Hand the refresh token of each ending sign-in to its longest-lasting follower, which the others follow.

    A process that asks meanwhile can still write the new token (see `rotate_token`).
    """
    rows = transaction.execute(
        select(provider_answers).where(
            provider_answers.c.sign_in.in_(ending), provider_answers.c.refresh_token.is_not(None)
        )
    ).all()
    for row in rows:
        successor = transaction.execute(
            select(provider_answers.c.sign_in)
            .join(web_passes, web_passes.c.secret_hash == provider_answers.c.sign_in)
            .where(
                provider_answers.c.follows == row.sign_in,
                provider_answers.c.sign_in.not_in(ending),
                web_passes.c.kind.in_(SIGN_INS),
                web_passes.c.expires_at > now,
            )
            .order_by(web_passes.c.expires_at.desc())
            .limit(1)
        ).scalar()
        if successor is None:
            continue
        # First, so that the same token is never in two rows.
        candidate = provider_answers.c.sign_in == row.sign_in
        transaction.execute(
            update(provider_answers).where(candidate).values(refresh_token=None, ask_at=None)
        )
        transaction.execute(
            update(provider_answers)
            .where(provider_answers.c.follows == row.sign_in)
            .values(follows=successor)
        )
        transaction.execute(
            update(provider_answers)
            .where(provider_answers.c.sign_in == successor)
            .values(
                follows=None,
                refresh_token=row.refresh_token,
                ask_at=row.ask_at,
                failures=row.failures,
                answered_at=row.answered_at,
                failure=row.failure,
                failed_at=row.failed_at,
            )
        )


def forget(transaction: Transaction, sign_ins: Collection[bytes]) -> None:
    """Remove the answers about sign-ins that are over. Their followers get the refresh tokens."""
    _hand_over(transaction, sign_ins)
    transaction.execute(delete(provider_answers).where(provider_answers.c.sign_in.in_(sign_ins)))


def list_due(
    database: Database,
    providers: Collection[str],
    now: float,
    most: int,
    after: tuple[float, bytes] | None = None,
) -> list[RefreshCandidate]:
    """List the sign-ins to refresh now, the longest overdue first. It takes no turns. Raises StoreError.

    To read on, pass the `place` of the last one as `after`.
    """
    ask_at, sign_in = provider_answers.c.ask_at, provider_answers.c.sign_in
    query = (
        select(provider_answers, web_passes.c.user_name)
        .join(web_passes, web_passes.c.secret_hash == provider_answers.c.sign_in)
        .where(
            ask_at <= now,
            provider_answers.c.provider.in_(providers),
            provider_answers.c.refresh_token.is_not(None),
            web_passes.c.kind.in_(SIGN_INS),
            web_passes.c.expires_at > now,
        )
        .order_by(ask_at, sign_in)
        .limit(most)
    )
    if after is not None:
        at, id_ = after
        query = query.where(or_(ask_at > at, and_(ask_at == at, sign_in > id_)))
    with database.read() as transaction:
        return [
            RefreshCandidate(
                bytes(row.sign_in),
                row.user_name,
                row.provider,
                row.subject,
                row.failures,
                row.refresh_token,
                row.ask_at,
                row.failure,
                row.failed_at,
            )
            for row in transaction.execute(query)
        ]


def take_turns(
    database: Database, wanted: Sequence[RefreshCandidate], until: float
) -> list[RefreshCandidate]:
    """Take the turns to refresh sign-ins; return those that no other process has taken since they were read.

    The turns last until `until` (seconds since the epoch). Afterwards the sign-ins are due again, in case the
    caller died. Raises StoreError.
    """
    taken = []
    with database.write() as transaction:
        for candidate in wanted:
            moved = transaction.execute(
                update(provider_answers)
                .where(
                    provider_answers.c.sign_in == candidate.sign_in,
                    provider_answers.c.ask_at == candidate.turn,
                    provider_answers.c.refresh_token == candidate.refresh_token,
                )
                .values(ask_at=until)
            )
            if moved.rowcount == 1:
                taken.append(replace(candidate, turn=until))
    return taken


def rotate_token(database: Database, candidate: RefreshCandidate, refresh_token: str) -> None:
    """Store the new refresh token, sealed. Raises StoreError.

    Call it before anything else: using the old token again would end the sign-in.
    """
    with database.write() as transaction:
        transaction.execute(
            update(provider_answers)
            # By the token alone, since it may have been handed over. It is sealed, and so unique.
            .where(provider_answers.c.refresh_token == candidate.refresh_token)
            .values(refresh_token=refresh_token)
        )


def settle(
    transaction: Transaction,
    candidate: RefreshCandidate,
    *,
    ask_at: float,
    failures: int = 0,
    answered_at: float | None = None,
    failure: str | None = None,
    failed_at: float | None = None,
) -> bool:
    """End a turn: store when to ask again, and the provider's answer or its `failure`, for followers too.

    Return False and write nothing if the turn was over before.
    """
    answer: dict[str, float | str | None] = {"failure": failure, "failed_at": failed_at}
    if answered_at is not None:
        answer["answered_at"] = answered_at
    moved = transaction.execute(
        update(provider_answers)
        .where(
            provider_answers.c.sign_in == candidate.sign_in,
            provider_answers.c.ask_at == candidate.turn,
        )
        .values(answer | {"ask_at": ask_at, "failures": failures})
    )
    if moved.rowcount == 1:
        transaction.execute(
            update(provider_answers)
            .where(provider_answers.c.follows == candidate.sign_in)
            .values(answer)
        )
    return moved.rowcount == 1


def has_answered_since(database: Database, provider: str, since: float) -> bool:
    """Return whether the provider has confirmed any sign-in on a refresh since then. Raises StoreError."""
    query = (
        select(provider_answers.c.sign_in)
        .join(web_passes, web_passes.c.secret_hash == provider_answers.c.sign_in)
        .where(
            provider_answers.c.provider == provider,
            provider_answers.c.answered_at > since,
            # Not for a sign-in that has just begun: that answer was not to a refresh.
            provider_answers.c.answered_at > web_passes.c.opened_at,
        )
        .limit(1)
    )
    with database.read() as transaction:
        return transaction.execute(query).first() is not None


def find_sign_ins(
    transaction: Transaction, issuer: str, subject: str | None, session_id: str | None
) -> list[tuple[bytes, str]]:
    """Return the sign-ins of a provider's session, each with its provider's name.

    Without a session id, they are all sign-ins of the subject (Back-Channel Logout 1.0 §2.7).
    """
    query = select(provider_answers.c.sign_in, provider_answers.c.provider).where(
        provider_answers.c.issuer == issuer
    )
    if subject is not None:
        query = query.where(provider_answers.c.subject == subject)
    if session_id is not None:
        query = query.where(provider_answers.c.session_id == session_id)
    return [(bytes(row.sign_in), row.provider) for row in transaction.execute(query)]


def use_logout_token(transaction: Transaction, token: bytes, expires_at: float, now: float) -> bool:
    """Record a logout token as used. Return False if it was used before.

    `token` is its digest (32 bytes), which is remembered until `expires_at`.
    """
    transaction.execute(delete(logout_tokens).where(logout_tokens.c.expires_at <= now))
    known = select(logout_tokens.c.id).where(logout_tokens.c.id == token)
    if transaction.execute(known).first() is not None:
        return False
    transaction.execute(insert(logout_tokens).values(id=token, expires_at=expires_at))
    return True
