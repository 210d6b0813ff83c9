"""What people sign in by, as text and as JSON, with the names that the `stagedoor` commands have. Pure.

Labels, comments and providers' names are what somebody wrote: whatever does not print is escaped.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from stagedoor.admin.credentials import AccountState
from stagedoor.admin.sign_in.sign_ins import SHOWN_CHARS, SignInRecord
from stagedoor.model.identity import TOKEN_SOON_S, Identity, Method
from stagedoor.model.passkey import PasskeyRecord
from stagedoor.wire.oneline import escaped
from stagedoor.wire.rfc3339 import show_milliseconds, show_time

Row = Mapping[str, str]
Document = Mapping[str, object]


@dataclass(frozen=True, slots=True)
class AccountPart:
    """One of the lists: its `title`, the command that takes one away, and the list for people and
    programs."""

    title: str
    remove: str
    rows: Sequence[Row]
    documents: Sequence[Document]


def parts_of(
    name: str, held: AccountState, passkeys: Sequence[PasskeyRecord]
) -> dict[str, AccountPart]:
    """All lists of the user `name`, by the noun of their commands."""
    return {
        "token": AccountPart("Tokens", "token revoke ID", *_tokens(name, held)),
        "key": AccountPart("SSH keys", "key remove FINGERPRINT", *_keys(name, held)),
        "passkey": AccountPart("Passkeys", "passkey remove ID", *_passkeys(name, passkeys)),
        "sign-in": AccountPart("Sign-ins", "sign-in end ID", *_sign_ins(name, held)),
    }


def account_text(
    identity: Identity, held: AccountState, parts: Mapping[str, AccountPart], at: str
) -> str:
    """Everything, for people. `at` is what follows `ssh` in a command."""
    lines = [f"You are {identity.name}, by {_by(identity.method.value, identity.credential_id)}."]
    lines.append(f"Groups: {' '.join(held.groups) or 'none'}")
    changed_by = f"yes (ssh -t {at} password changes it)"
    lines.append(f"Password: {changed_by if held.has_password else 'none here'}")
    for part in parts.values():
        if not part.rows:
            lines += ["", f"{part.title}: none"]
            continue
        lines += ["", f"{part.title} (ssh {at} {part.remove})"]
        lines += [f"  {line}" for line in table(part.rows)]
    return "\n".join(lines) + "\n"


def account_json(identity: Identity, held: AccountState, parts: Mapping[str, AccountPart]) -> str:
    """The same for programs; one line."""
    lists = {f"{noun.replace('-', '_')}s": part.documents for noun, part in parts.items()}
    return as_json(
        {
            "user": identity.name,
            "groups": list(held.groups),
            "password": held.has_password,
            "self_service": sorted(held.may),
            **lists,
        }
    )


def as_json(value: object) -> str:
    return json.dumps(value) + "\n"


def table(rows: Sequence[Row]) -> list[str]:
    """In aligned columns under the keys of the first."""
    names = list(rows[0])
    cells = [[name.upper() for name in names], *([row[name] for name in names] for row in rows)]
    widths = [max(len(line[at]) for line in cells) for at in range(len(names))]
    return [
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
        for line in cells
    ]


def _tokens(name: str, held: AccountState) -> tuple[list[Row], list[Document]]:
    rows: list[Row] = []
    documents: list[Document] = []
    for one in held.tokens:
        ends = "never"
        if one.expires_at is not None:
            left_s = one.expires_at - held.now
            mark = " (over)" if left_s <= 0 else " (soon)" if left_s <= TOKEN_SOON_S else ""
            ends = show_time(one.expires_at) + mark
        scopes = "all" if one.scopes is None else " ".join(one.scopes)
        rows.append({"id": one.id, "scopes": escaped(scopes), "ends": ends})
        documents.append(
            {
                "id": one.id,
                "user": name,
                "scopes": None if one.scopes is None else list(one.scopes),
                "expires_at": _iso(one.expires_at),
                "expired": one.expires_at is not None and one.expires_at <= held.now,
            }
        )
    return rows, documents


def _keys(name: str, held: AccountState) -> tuple[list[Row], list[Document]]:
    documents = [
        {
            "user": name,
            "type": one.public_key.partition(" ")[0],
            "fingerprint": one.fingerprint,
            "comment": one.comment,
        }
        for one in held.keys
    ]
    rows = [
        {column: escaped(one[column]) for column in ("type", "fingerprint", "comment")}
        for one in documents
    ]
    return list(rows), list(documents)


def _passkeys(name: str, passkeys: Iterable[PasskeyRecord]) -> tuple[list[Row], list[Document]]:
    rows: list[Row] = []
    documents: list[Document] = []
    for one in passkeys:
        used = "never" if one.used_at is None else show_time(one.used_at)
        rows.append(
            {
                "id": one.id,
                "name": escaped(one.name),
                "for": escaped(one.rp_id),
                "made": show_time(one.created_at),
                "used": used,
            }
        )
        documents.append(
            {
                "id": one.id,
                "user": name,
                "name": one.name,
                "for": one.rp_id,
                "created_at": _iso(one.created_at),
                "used_at": _iso(one.used_at),
            }
        )
    return rows, documents


def _sign_ins(name: str, held: AccountState) -> tuple[list[Row], list[Document]]:
    rows = [_sign_in_row(one, this=one.id == held.sign_in) for one in held.sign_ins]
    documents = [
        {
            "id": one.id[:SHOWN_CHARS],
            "user": name,
            "method": one.method,
            "credential": one.credential,
            "label": one.label,
            "key": one.key_fingerprint,
            "source": one.source,
            "opened_at": _iso(one.opened_at),
            "ends_at": _iso(one.ends_at),
            "answered_at": _iso(one.answered_at),
            "this": one.id == held.sign_in,
        }
        for one in held.sign_ins
    ]
    return list(rows), list(documents)


def _sign_in_row(one: SignInRecord, *, this: bool) -> Row:
    return {
        "id": one.id[:SHOWN_CHARS],
        "by": _by(one.method, one.credential),
        "on": escaped(one.label or "browser") + (" (this one)" if this else ""),
        "from": escaped(one.source or "-"),
        "since": "-" if one.opened_at is None else show_time(one.opened_at),
        "ends": show_time(one.ends_at),
    }


def _by(method: str, credential: str | None) -> str:
    """As `stagedoor sign-in list` has it."""
    if credential is None:
        return method
    if method == Method.PASSWORD.value:
        return escaped(f"passkey {credential}")
    return escaped(f"{method} {credential}")


def _iso(at: float | None) -> str | None:
    return None if at is None else show_milliseconds(at)
