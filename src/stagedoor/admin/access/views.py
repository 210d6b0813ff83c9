"""The values that the administrators' pages show."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from stagedoor.model.grant import GrantRule
from stagedoor.model.policy import KeyRecord, TokenRecord, User
from stagedoor.store.sessions import SessionRecord
from stagedoor.store.sign_in.sign_ins import SignInRecord
from stagedoor.wire.finding import Finding

Row = TypeVar("Row")


@dataclass(frozen=True, slots=True)
class RowPage(Generic[Row]):
    """A page of a list. `after` is the place of its last row if there are more, `count` the rows in all."""

    rows: Sequence[Row]
    after: str | int | None = None
    count: int | None = None


@dataclass(frozen=True, slots=True)
class SessionRow:
    """An open session, which the viewer may close if `may_end`.

    `is_recorded`: whether it ends at the gateway, and terminals of its user in its app are recorded.
    """

    session: SessionRecord
    may_end: bool
    is_recorded: bool


@dataclass(frozen=True, slots=True)
class PersonRow:
    """A user in the list. `last_used_at` is when they last opened a session, None if that is not known."""

    user: User
    is_disabled: bool
    keys: int
    tokens: int
    last_used_at: float | None


@dataclass(frozen=True, slots=True)
class GrantRow:
    """A grant; `used` is when it was last used and the user, None if that is not known."""

    rule: GrantRule
    used: tuple[float, str] | None
    is_over: bool
    may_remove: bool


@dataclass(frozen=True, slots=True)
class PersonView:
    """Everything about one user.

    The viewer may disable the user if `may_change`, and remove keys and tokens if `may_remove`.
    """

    row: PersonRow
    grants: Sequence[GrantRow]
    keys: Sequence[KeyRecord]
    tokens: Sequence[TokenRecord]
    sign_ins: Sequence[SignInRecord]
    sessions: Sequence[SessionRecord]
    may_change: bool
    may_remove: bool


@dataclass(frozen=True, slots=True)
class CredentialRow:
    """A sign-in, key or token: `id` names it, `label` is its device, comment or scopes.

    A sign-in was opened `by` a method from the address `source`. `used_at` is its last use, None if that is
    not known. The viewer may end it if `may_end`.
    """

    id: str
    user: str
    label: str
    may_end: bool
    by: str = ""
    source: str = ""
    used_at: float | None = None
    expires_at: float | None = None


@dataclass(frozen=True, slots=True)
class HealthReport:
    """The state of the installation: lines of name and text, and what needs attention."""

    lines: Sequence[tuple[str, str]]
    findings: Sequence[tuple[str, Finding]]
