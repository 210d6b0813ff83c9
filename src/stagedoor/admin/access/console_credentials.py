"""The sign-ins, keys and tokens of all users, on the pages of administrators."""

import re
from collections.abc import Iterable
from dataclasses import replace

from stagedoor.admin.access.console import PAGE, ConsoleService
from stagedoor.admin.access.views import CredentialRow, RowPage
from stagedoor.admin.blocking import call_blocking
from stagedoor.model.denial import Denial
from stagedoor.model.identity import Identity
from stagedoor.model.policy import Policy
from stagedoor.model.role import Role
from stagedoor.model.webpass import describe_sign_in_method
from stagedoor.store.sign_in.sign_ins import SignInRecord, search_sign_ins

SIGN_IN, KEY, TOKEN = KINDS = ("sign-in", "key", "token")
_PLACE = re.compile(r"(?P<user>\S+) (?P<id>[0-9a-f]{64})", re.ASCII)


async def list_credentials(
    console: ConsoleService, identity: Identity, kind: str, wanted: str, after: str
) -> RowPage[CredentialRow] | Denial:
    """Return a page of the credentials of one of `KINDS`, by user and id.

    Each row contains `wanted`. The page begins after the place `after` ("" for the first page).
    """
    if (denial := console.check_role(identity, Role.AUDITOR)) is not None:
        return denial
    if kind == SIGN_IN:
        return await _list_sign_ins(console, identity, wanted, after)
    policy = console.policy()
    may_end = console.check_role(identity, Role.ADMINISTRATOR) is None
    rows = _list_keys(policy, may_end) if kind == KEY else _list_tokens(policy, may_end)
    matching = [row for row in rows if wanted in f"{row.user} {row.id} {row.label}"]
    matching = [row for row in sorted(matching, key=_get_place) if _get_place(row) > after]
    page = matching[:PAGE]
    ids, none = [row.id for row in page], dict[str, float]()
    used = await console.read_index(lambda index: index.read_credential_uses(ids), none)
    return RowPage(
        [replace(row, used_at=used.get(row.id)) for row in page],
        _get_place(page[-1]) if len(matching) > PAGE else None,
    )


def _get_place(row: CredentialRow) -> str:
    return f"{row.user} {row.id}"


def _list_keys(policy: Policy, may_end: bool) -> Iterable[CredentialRow]:
    for key in policy.keys.values():
        yield CredentialRow(key.fingerprint, key.user, key.comment, may_end)


def _list_tokens(policy: Policy, may_end: bool) -> Iterable[CredentialRow]:
    for token in policy.tokens.values():
        scopes = " ".join(token.scopes or ())
        yield CredentialRow(token.id, token.user, scopes, may_end, expires_at=token.expires_at)


async def _list_sign_ins(
    console: ConsoleService, identity: Identity, wanted: str, after: str
) -> RowPage[CredentialRow] | Denial:
    place = _PLACE.fullmatch(after)
    last = None if place is None else (place["user"], place["id"])
    page = await call_blocking(search_sign_ins, console.database, console.now(), wanted, last, PAGE)
    if isinstance(page, Denial):
        return page
    records, more = page
    may_end = console.check_role(identity, Role.OPERATOR) is None
    rows = [_make_sign_in_row(record, may_end) for record in records]
    return RowPage(rows, None if more is None else " ".join(more))


def _make_sign_in_row(record: SignInRecord, may_end: bool) -> CredentialRow:
    opened = record.sign_in
    return CredentialRow(
        record.id,
        opened.name,
        opened.label or "",
        may_end,
        by=describe_sign_in_method(opened.method, opened.credential_id),
        source=opened.source or "",
        used_at=opened.last_used_at,
        expires_at=opened.expires_at,
    )
