"""One call of an operation, with the caller, the request and the store."""

import base64
import binascii
import json
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from msgspec import Struct

from stagedoor.admin.service import AdminService
from stagedoor.api.last_sessions import SessionCache
from stagedoor.authz.roles import AdminAccess, make_role_denial
from stagedoor.authz.step_up import NO_STEP_UP, StepUpRules
from stagedoor.model.denial import Denial
from stagedoor.model.errors import NotFoundError, RefusedError
from stagedoor.model.identity import Identity
from stagedoor.model.policy import Policy, User
from stagedoor.model.role import Role
from stagedoor.model.selector import EVERYWHERE
from stagedoor.model.shell import Progress, ShellState
from stagedoor.model.target import Target
from stagedoor.settings.settings import Settings
from stagedoor.wire.api.operations import PAGE
from stagedoor.wire.api.types import Page

if TYPE_CHECKING:
    from stagedoor.admin.apps import Apps
    from stagedoor.admin.requests.request_service import RequestService

Row = TypeVar("Row")
View = TypeVar("View")


class DeniedError(Exception):
    """A denial, raised by an operation."""

    def __init__(self, denial: Denial) -> None:
        super().__init__(denial.line)
        self.denial = denial


class PageTokenError(RefusedError):
    """Raised for a page token that no list has issued."""


class AppSource(Struct, frozen=True):
    """The apps of a gateway.

    `list_targets` returns those that are known now, and `observe` the state of a local shell. `open_cluster`
    opens those of a cluster; it is None if the settings name none. `progress` gets the steps of a start.
    """

    list_targets: Callable[[], Iterable[Target]]
    observe: Callable[[Target], Awaitable[ShellState]]
    open_cluster: "Callable[[], AbstractAsyncContextManager[Apps]] | None" = None
    progress: Progress = lambda step: None


async def _observe_none(target: Target) -> ShellState:
    return ShellState.ABSENT


NO_APPS = AppSource(tuple, _observe_none)


class FileAnswer(Struct, frozen=True):
    """A file of `size` bytes as an answer. `is_still_allowed` judges by a newer policy while it is sent."""

    path: Path
    size: int
    is_still_allowed: Callable[[Policy], bool]


@dataclass(frozen=True, slots=True)
class Call:
    """A call of an operation. `access` are the caller's roles, `settings` the gateway's.

    `read_policy` returns the policy, as new as the store. `path` has the parameters in the path, `filters`
    the query and `body` the request's value, all of the operation's types. `apps` are the gateway's.
    `check_keys` raises RefusedError for public keys that are revoked. `step_up` has the apps that require a
    fresh proof. `identity` and `requests` are None for an administrator at the gateway's machine.
    """

    service: AdminService
    settings: Settings
    read_policy: Callable[[], Policy]
    access: AdminAccess
    last_sessions: SessionCache
    path: Mapping[str, str] = field(default_factory=dict)
    filters: Any = None
    body: Any = None
    page_size: int = PAGE
    page_token: str | None = None
    apps: AppSource = NO_APPS
    check_keys: Callable[[Sequence[str]], None] = lambda lines: None
    step_up: StepUpRules = NO_STEP_UP
    identity: Identity | None = None
    requests: "RequestService | None" = None

    @property
    def policy(self) -> Policy:
        """Return the policy, as new as the store."""
        return self.read_policy()

    @property
    def number(self) -> int:
        """Return the number in the path."""
        return int(self.path["id"])

    def require(self, role: Role) -> None:
        """Raise DeniedError unless the caller has `role` for all apps."""
        if not self.access.has(role):
            raise DeniedError(make_role_denial(role, EVERYWHERE))

    def list_page(
        self, rows: Iterable[Row], key: Callable[[Row], str | int], show: Callable[[Row], View]
    ) -> Page[View]:
        """Return the page of `rows` that the caller requests. They are sorted by `key`, which must be unique.

        So a row that exists from the first page to the last is on exactly one of them.
        """
        ordered = sorted(rows, key=key)
        if self.page_token is not None:
            after = read_page_token(self.page_token)
            if ordered and type(after) is not type(key(ordered[0])):
                raise PageTokenError("this page_token is not of this list")
            ordered = [row for row in ordered if key(row) > after]
        part = ordered[: self.page_size]
        token = make_page_token(key(part[-1])) if len(ordered) > len(part) else None
        return Page([show(row) for row in part], token)


Handler = Callable[[Call], object]
"""The function of an operation. Its result is the answer, or an awaitable of it."""


def require_allowed(denial: Denial | None) -> None:
    """Raise DeniedError if there is a denial."""
    if denial is not None:
        raise DeniedError(denial)


def require_found(row: Row | None, what: str, see: str) -> Row:
    """Return `row`. Raises NotFoundError for None: no such row exists, or the caller may not read it."""
    if row is None:
        raise NotFoundError.of(what, see)
    return row


def find_user(policy: Policy, name: str) -> User | None:
    """Return a user, even a disabled one, or None."""
    return policy.users.get(name) or policy.disabled.get(name)


def make_page_token(key: str | int) -> str:
    """Return the token of the part of a list after `key`."""
    return base64.urlsafe_b64encode(json.dumps([key]).encode()).decode().rstrip("=")


def read_page_token(token: str) -> Any:
    """Return the key in a page token: text, or a number. Raises PageTokenError."""
    try:
        match json.loads(base64.urlsafe_b64decode(token + "=" * (-len(token) % 4))):
            case [str() | int() | float() as key]:
                return key
    except (binascii.Error, ValueError, RecursionError):
        pass
    raise PageTokenError("this page_token is not of this list")


def check_line(text: str) -> None:
    """Raise RefusedError unless a reason is one line."""
    if not text.isprintable():
        raise RefusedError("a reason is one line, without control characters")
