"""What identity providers said of the sign-ins that last, and whose turn it is to ask again.

Processes and gateways that share a store take turns by the row alone: the first that moves `ask_at` asks.
Refresh tokens rotate, and a provider that sees one twice ends the sign-in (RFC 9700 §4.14.2).
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field, replace

from sqlalchemy import delete, insert, select, update

from stagedoor.model.webpass import SIGN_INS, ProviderAnswer
from stagedoor.store.database import Database, Transaction
from stagedoor.store.schema import logout_tokens, provider_answers, web_passes


@dataclass(frozen=True, slots=True)
class RefreshCandidate:
    """A sign-in whose provider is to be asked again.

    `refresh_token` is sealed; `turn` is until when, seconds since the epoch, its holder may write what came.
    `failure` is why the provider did not answer when it was asked last, at `failed_at`; None if it did.
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


def keep(transaction: Transaction, sign_in: bytes, answer: ProviderAnswer) -> None:
    """With the session that it is for."""
    transaction.execute(
        insert(provider_answers).values(
            sign_in=sign_in,
            provider=answer.provider,
            issuer=answer.issuer,
            subject=answer.subject,
            session_id=answer.session_id,
            auth_time=answer.auth_time,
            answered_at=answer.answered_at,
            refresh_token=answer.refresh_token,
            ask_at=answer.ask_at,
            failures=0,
        )
    )


def follow(transaction: Transaction, leader: bytes, follower: bytes) -> None:
    """What the provider says of `leader` from now on, it says of `follower`, a new sign-in, too. One refresh
    token answers for both."""
    row = transaction.execute(
        select(provider_answers).where(provider_answers.c.sign_in == leader)
    ).first()
    if row is None:
        return
    asked = leader if row.refresh_token is not None else row.follows
    same = {"refresh_token": None, "ask_at": None, "failures": 0}
    values = dict(row._mapping) | same | {"sign_in": follower, "follows": asked}
    transaction.execute(insert(provider_answers).values(values))


def followers(transaction: Transaction, leader: bytes) -> list[bytes]:
    """The sign-ins for which the refresh token of `leader` answers."""
    query = select(provider_answers.c.sign_in).where(provider_answers.c.follows == leader)
    return [bytes(one) for one in transaction.execute(query).scalars()]


def hand_over_expired(transaction: Transaction, now: float) -> None:
    """Before those that have expired are thrown away. See `_hand_over`."""
    _hand_over(transaction, _expired_leaders(transaction, now), now)


def adopt(database: Database, now: float) -> None:
    """Hand the refresh tokens of sign-ins that have expired to those that follow them. Raises StoreError."""
    with database.read() as reading:
        if not _expired_leaders(reading, now):
            return
    with database.write() as transaction:
        hand_over_expired(transaction, now)


def _expired_leaders(transaction: Transaction, now: float) -> list[bytes]:
    """Of those that lasting sign-ins follow."""
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
    return [bytes(one) for one in transaction.execute(query).scalars()]


def _hand_over(transaction: Transaction, ending: Collection[bytes], now: float = 0.0) -> None:
    """The refresh token of a sign-in that ends goes to one that follows it and lasts longest; the others
    follow that one. A process that asks meanwhile writes its new token all the same (see `rotated`)."""
    rows = transaction.execute(
        select(provider_answers).where(
            provider_answers.c.sign_in.in_(ending), provider_answers.c.refresh_token.is_not(None)
        )
    ).all()
    for row in rows:
        heir = transaction.execute(
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
        if heir is None:
            continue
        # First: nobody is to find the same token in two rows.
        mine = provider_answers.c.sign_in == row.sign_in
        transaction.execute(
            update(provider_answers).where(mine).values(refresh_token=None, ask_at=None)
        )
        transaction.execute(
            update(provider_answers)
            .where(provider_answers.c.follows == row.sign_in)
            .values(follows=heir)
        )
        transaction.execute(
            update(provider_answers)
            .where(provider_answers.c.sign_in == heir)
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
    """Of sign-ins that are over: nobody is asked about them any more. Those that follow one go on."""
    _hand_over(transaction, sign_ins)
    transaction.execute(delete(provider_answers).where(provider_answers.c.sign_in.in_(sign_ins)))


def answered_at(transaction: Transaction, sign_in: bytes) -> float | None:
    """When the provider last said that the sign-in holds; None where it cannot be asked again."""
    asked = provider_answers.c.refresh_token.is_not(None) | provider_answers.c.follows.is_not(None)
    query = select(provider_answers.c.answered_at).where(
        provider_answers.c.sign_in == sign_in, asked
    )
    return transaction.execute(query).scalar()


def due(
    database: Database, providers: Collection[str], now: float, most: int
) -> list[RefreshCandidate]:
    """Those to ask about now, the longest overdue first. Nobody's turn yet. Raises StoreError."""
    query = (
        select(provider_answers, web_passes.c.user_name)
        .join(web_passes, web_passes.c.secret_hash == provider_answers.c.sign_in)
        .where(
            provider_answers.c.ask_at <= now,
            provider_answers.c.provider.in_(providers),
            provider_answers.c.refresh_token.is_not(None),
            web_passes.c.kind.in_(SIGN_INS),
            web_passes.c.expires_at > now,
        )
        .order_by(provider_answers.c.ask_at)
        .limit(most)
    )
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
    """Those of `wanted` that nobody else has taken since they were read: until `until` they are the
    caller's, and afterwards due again, should it have died. Raises StoreError."""
    taken = []
    with database.write() as transaction:
        for one in wanted:
            moved = transaction.execute(
                update(provider_answers)
                .where(
                    provider_answers.c.sign_in == one.sign_in,
                    provider_answers.c.ask_at == one.turn,
                    provider_answers.c.refresh_token == one.refresh_token,
                )
                .values(ask_at=until)
            )
            if moved.rowcount == 1:
                taken.append(replace(one, turn=until))
    return taken


def rotated(database: Database, mine: RefreshCandidate, refresh_token: str) -> None:
    """Keep the token that is good from now on, sealed. To show the one before ends the sign-in, so
    this is written whatever else goes wrong. Raises StoreError."""
    with database.write() as transaction:
        transaction.execute(
            update(provider_answers)
            # By the token alone, which is sealed and so unlike all others: it may have been handed over.
            .where(provider_answers.c.refresh_token == mine.refresh_token)
            .values(refresh_token=refresh_token)
        )


def settle(
    transaction: Transaction,
    mine: RefreshCandidate,
    *,
    ask_at: float,
    failures: int = 0,
    answered_at: float | None = None,
    failure: str | None = None,
    failed_at: float | None = None,
) -> bool:
    """End a turn: write when to ask again, and the provider's answer or its `failure`, also for those that
    follow. Return False, and write nothing, where the turn was over before."""
    said: dict[str, float | str | None] = {"failure": failure, "failed_at": failed_at}
    if answered_at is not None:
        said["answered_at"] = answered_at
    moved = transaction.execute(
        update(provider_answers)
        .where(provider_answers.c.sign_in == mine.sign_in, provider_answers.c.ask_at == mine.turn)
        .values(said | {"ask_at": ask_at, "failures": failures})
    )
    if moved.rowcount == 1:
        transaction.execute(
            update(provider_answers).where(provider_answers.c.follows == mine.sign_in).values(said)
        )
    return moved.rowcount == 1


def answered_since(database: Database, provider: str, since: float) -> bool:
    """Return whether the provider has said since then, when it was asked, that a sign-in lasts. Raises
    StoreError."""
    query = (
        select(provider_answers.c.sign_in)
        .join(web_passes, web_passes.c.secret_hash == provider_answers.c.sign_in)
        .where(
            provider_answers.c.provider == provider,
            provider_answers.c.answered_at > since,
            # Not one that has just begun: for that the provider did not have to answer a refresh.
            provider_answers.c.answered_at > web_passes.c.opened_at,
        )
        .limit(1)
    )
    with database.read() as transaction:
        return transaction.execute(query).first() is not None


def named(
    transaction: Transaction, issuer: str, subject: str | None, session_id: str | None
) -> list[tuple[bytes, str]]:
    """The sign-ins, and the providers' names here, of a provider's session; where it has no id, all of the
    person's (Back-Channel Logout 1.0 §2.7)."""
    query = select(provider_answers.c.sign_in, provider_answers.c.provider).where(
        provider_answers.c.issuer == issuer
    )
    if subject is not None:
        query = query.where(provider_answers.c.subject == subject)
    if session_id is not None:
        query = query.where(provider_answers.c.session_id == session_id)
    return [(bytes(row.sign_in), row.provider) for row in transaction.execute(query)]


def use_logout_token(transaction: Transaction, token: bytes, expires_at: float, now: float) -> bool:
    """Whether it is used for the first time. `token` is its digest (32 bytes), remembered until
    `expires_at`."""
    transaction.execute(delete(logout_tokens).where(logout_tokens.c.expires_at <= now))
    known = select(logout_tokens.c.id).where(logout_tokens.c.id == token)
    if transaction.execute(known).first() is not None:
        return False
    transaction.execute(insert(logout_tokens).values(id=token, expires_at=expires_at))
    return True
