"""The rows of `web_passes` as the five passes of `model.webpass`, and back."""

from collections.abc import Mapping
from typing import Any, TypeVar

from sqlalchemy import ColumnElement, Row, and_, delete, func, insert, null, select

from stagedoor.model.grant import SharedTerminal
from stagedoor.model.identity import Method, SignIn
from stagedoor.model.target import Target
from stagedoor.model.webpass import (
    Invitation,
    KeyLogin,
    SignInLink,
    SignInPass,
    Ticket,
    TicketPurpose,
    WatchedSession,
    WebPass,
    WebSession,
)
from stagedoor.store.database import Transaction
from stagedoor.store.sign_in.tables import SIGN_INS, PassKind, provider_answers, web_passes
from stagedoor.wire.target import parse_target

Pass = TypeVar("Pass", bound=WebPass)

_KINDS: Mapping[type[WebPass], PassKind] = {
    WebSession: PassKind.SESSION,
    KeyLogin: PassKind.LOGIN,
    Ticket: PassKind.TICKET,
    SignInLink: PassKind.LINK,
    Invitation: PassKind.INVITATION,
}
_SHARE = "share:"
_WATCH = "watch:"

_opener = web_passes.alias("opener")
_own_or_opener = func.coalesce(_opener.c.secret_hash, web_passes.c.secret_hash)
_ROWS = (
    select(
        web_passes,
        _opener.c.expires_at.label("opener_ends_at"),
        provider_answers.c.answered_at,
    )
    .outerjoin(
        _opener,
        and_(_opener.c.secret_hash == web_passes.c.sign_in, _opener.c.kind.in_(SIGN_INS)),
    )
    .outerjoin(
        provider_answers,
        and_(
            provider_answers.c.sign_in == _own_or_opener,
            # Without a token the provider cannot be asked, so its answer does not grow old.
            provider_answers.c.refresh_token.is_not(None) | provider_answers.c.follows.is_not(None),
        ),
    )
)
"""Passes, each with the end of the sign-in that opened it and the last answer about its sign-in."""


def read_pass(transaction: Transaction, of: type[Pass], id_: bytes) -> Pass | None:
    """Return the pass of that type and id, expired or not.

    Return None if there is none, or if it is a ticket of a sign-in that was ended or is no longer stored.
    """
    row = transaction.execute(_ROWS.where(*_is(of, id_))).first()
    pass_ = None if row is None else pass_of_row(row)
    return pass_ if isinstance(pass_, of) else None


def read_newest_sign_in(
    transaction: Transaction, condition: ColumnElement[bool], now: float
) -> SignInPass | None:
    """Return the active sign-in that matches, the newest of several, or None."""
    query = (
        _ROWS.where(condition, web_passes.c.kind.in_(SIGN_INS), web_passes.c.expires_at > now)
        .order_by(web_passes.c.opened_at.desc())
        .limit(1)
    )
    row = transaction.execute(query).first()
    pass_ = None if row is None else pass_of_row(row)
    return pass_ if isinstance(pass_, SignInPass) else None


def read_logins(
    transaction: Transaction, condition: ColumnElement[bool] | None = None
) -> list[KeyLogin]:
    """Return the logins that match, over or not, without the providers' answers."""
    query = select(web_passes, null().label("answered_at")).where(
        web_passes.c.kind == PassKind.LOGIN
    )
    if condition is not None:
        query = query.where(condition)
    logins = map(pass_of_row, transaction.execute(query))
    return [login for login in logins if isinstance(login, KeyLogin)]


def add_pass(transaction: Transaction, new: WebPass) -> None:
    """Store a new pass."""
    transaction.execute(insert(web_passes).values(_row_of(new)))


def remove_pass(transaction: Transaction, of: type[WebPass], id_: bytes) -> bool:
    """Remove a pass. Return False if there was none, so that only one of several calls succeeds."""
    return transaction.execute(delete(web_passes).where(*_is(of, id_))).rowcount == 1


def _is(of: type[WebPass], id_: bytes) -> tuple[ColumnElement[bool], ...]:
    return (web_passes.c.secret_hash == id_, web_passes.c.kind == _KINDS[of])


def pass_of_row(row: Row[Any]) -> WebPass | None:
    """Return a row of `web_passes` as a pass.

    `row` has `answered_at` as well, and `opener_ends_at` if it is a ticket. Return None for a sign-in that
    was ended, and for a ticket whose sign-in or purpose is not known.
    """
    common: dict[str, Any] = {
        "id": bytes(row.secret_hash),
        "name": row.user_name,
        "method": Method(row.method),
        "credential_id": row.credential_id,
        "scopes": None if row.scopes is None else tuple(row.scopes.split()),
        "password_mark": row.password_mark,
        "expires_at": row.expires_at,
        "answered_at": row.answered_at,
    }
    lasting = {
        "latest_end": row.expires_at if row.latest_end is None else row.latest_end,
        "opened_at": row.opened_at,
        "source": row.source,
        "label": row.label,
        "used_at": row.renewed_at,
    }
    match row.kind:
        case PassKind.SESSION:
            return WebSession(**common, **lasting)
        case PassKind.LOGIN:
            key = {"key_fingerprint": row.key_fingerprint, "public_key": row.public_key}
            return KeyLogin(**common, **lasting, **key)
        case PassKind.TICKET:
            purpose = _purpose(row.target)
            if purpose is None or (row.sign_in is not None and row.opener_ends_at is None):
                return None
            opened_by = None if row.sign_in is None else SignIn(row.sign_in, row.opener_ends_at)
            return Ticket(**common, purpose=purpose, opened_by=opened_by)
        case PassKind.LINK:
            return SignInLink(**common)
        case PassKind.INVITATION:
            return Invitation(**common)
    return None


def _row_of(new: WebPass) -> dict[str, Any]:
    row = {
        "secret_hash": new.id,
        "kind": _KINDS[type(new)],
        "user_name": new.name,
        "method": new.method,
        "credential_id": new.credential_id,
        "scopes": None if new.scopes is None else " ".join(new.scopes),
        "password_mark": new.password_mark,
        "expires_at": new.expires_at,
    }
    match new:
        case SignInPass():
            row |= {
                name: getattr(new, name) for name in ("latest_end", "opened_at", "source", "label")
            }
        case Ticket():
            row["target"] = _purpose_text(new.purpose)
            row["sign_in"] = None if new.opened_by is None else new.opened_by.id
    if isinstance(new, KeyLogin):
        row |= {"key_fingerprint": new.key_fingerprint, "public_key": new.public_key}
    return row


def _purpose(text: str | None) -> TicketPurpose | None:
    if text is None:
        return None
    if text.startswith(_SHARE):
        return SharedTerminal(text.removeprefix(_SHARE))
    if text.startswith(_WATCH):
        return WatchedSession(text.removeprefix(_WATCH))
    target = parse_target(text)
    return target if isinstance(target, Target) else None


def _purpose_text(purpose: TicketPurpose) -> str:
    match purpose:
        case SharedTerminal(share_id):
            return _SHARE + share_id
        case WatchedSession(session):
            return _WATCH + session
        case _:
            return str(purpose)
