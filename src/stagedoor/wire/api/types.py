"""The types of the API's answers. They have the fields of the same command with `--json`."""

from typing import Annotated, Generic, TypeVar

from msgspec import Meta, Struct

from stagedoor.model.permission import Permission
from stagedoor.model.role import Role

T = TypeVar("T")

Time = Annotated[str, Meta(extra_json_schema={"format": "date-time"})]
"""A time of RFC 3339 in UTC."""


class Answer(Struct, frozen=True):
    """A value in an answer."""


class Page(Struct, Generic[T], frozen=True):
    """A part of a list. `next_page_token` is the `page_token` of the next part, null at the end."""

    items: list[T]
    next_page_token: str | None = None


class FieldProblem(Answer, frozen=True):
    """What is wrong with one value of the request. `pointer` is a JSON pointer (RFC 6901) into its body."""

    pointer: str
    detail: str


class Problem(Answer, frozen=True, omit_defaults=True):
    """A refusal (RFC 9457). `detail` is a line for people.

    `reason` is a word for programs, and `fix` the line for administrators, with what they can do. `step` is
    what the person does first, in a browser; a request with `Prefer: wait=15` waits for it. `trace` is the
    trace id of the gateway's line in its log, if it wrote one.
    """

    title: str
    status: int
    detail: str
    reason: str
    fix: str | None = None
    errors: list[FieldProblem] = []
    step: str | None = None
    trace: str | None = None


class AccessChange(Answer, frozen=True):
    """Permissions for apps that a user gains or loses."""

    user: str
    app: str
    environment: str
    permissions: list[Permission]


class Preview(Answer, frozen=True):
    """The effect that a change would have; nothing was changed."""

    gains: list[AccessChange]
    loses: list[AccessChange]


class UserEntry(Answer, frozen=True):
    """A user in a list. `access_set` is the set of files that declare the user, null for none."""

    name: str
    groups: list[str]
    password: bool
    keys: int
    tokens: int
    disabled: bool
    last_login: Time | None
    access_set: str | None


class RemovedUser(Answer, frozen=True):
    """The number of rows that were removed with a user."""

    keys: int
    tokens: int
    grants: int


class GroupEntry(Answer, frozen=True):
    """A group with its members. `access_sets` are the sets of files that declare some of them."""

    name: str
    members: list[str]
    access_sets: list[str]


class GrantEntry(Answer, frozen=True):
    """A grant. `access_set` is the set of files that declare it, null for none."""

    id: int
    subject: str
    permissions: list[Permission]
    app: str
    environment: str
    expires_at: Time | None
    resume_s: float | None
    access_set: str | None


class RoleEntry(Answer, frozen=True):
    """A role of a user or a group."""

    id: int
    subject: str
    role: Role
    app: str
    environment: str
    expires_at: Time | None


class RequestRuleEntry(Answer, frozen=True):
    """A rule of who may ask for what, and who decides.

    `access_set` is the set of files that declare it, null for none.
    """

    id: int
    subject: str
    app: str
    environment: str
    permissions: list[Permission]
    longest_s: float
    approvers: list[str]
    approvals: int
    reason: str
    step_up: bool
    break_glass: bool
    hours: str | None
    later_approvers: list[str]
    later_s: float | None
    access_set: str | None


class AccessRequestEntry(Answer, frozen=True):
    """An access request."""

    id: int
    state: str
    user: str
    apps: list[str]
    permissions: list[Permission]
    rule: int
    reason: str
    lasts_s: float
    created_at: Time
    began_at: Time | None
    ends_at: Time
    break_glass: bool
    reviewed_by: str | None
    starts_at: Time | None


class DecisionEntry(Answer, frozen=True):
    """An approver's decision."""

    approver: str
    yes: bool
    at: Time
    lasts_s: float | None
    note: str


class AccessRequestState(AccessRequestEntry, frozen=True):
    """An access request with the decisions on it."""

    decisions: list[DecisionEntry]


class AppEntry(Answer, frozen=True):
    """An app that is known now, with the number of its open sessions."""

    name: str
    app: str
    environment: str | None
    sessions: int


class RuleFinding(Answer, frozen=True):
    """What one grant or request says about an app. `gaps` are why it does not let the user in."""

    rule: str
    about: str
    fits: bool
    gaps: list[str]


class AccessStep(Answer, frozen=True):
    """One change that would let the user in, and how it is made."""

    kind: str
    about: str
    how: str


class AccessReport(Answer, frozen=True):
    """Why a user may or may not enter an app. `stops` hold whatever the rules say."""

    user: str
    app: str
    lets_in: bool
    permissions: list[Permission]
    step_up: bool
    stops: list[str]
    rules: list[RuleFinding]
    changes: list[AccessStep]


class AdmittedUser(Answer, frozen=True):
    """A user who may enter an app now, and by which grant or request."""

    user: str
    by: str
    permissions: list[Permission]
    expires_at: Time | None


class SessionEntry(Answer, frozen=True):
    """A session, open or closed."""

    id: str
    user: str
    target: str
    source: str
    way: str
    instance: str
    opened_at: Time
    closed_at: Time | None
    end: str | None
    sent: int
    received: int
    last_active_at: Time | None
    close_requested_at: Time | None
    close_reason: str | None


class SignInEntry(Answer, frozen=True):
    """A sign-in of a browser or of a machine."""

    id: str
    user: str
    method: str
    credential: str | None
    label: str | None
    key: str | None
    source: str | None
    opened_at: Time | None
    used_at: Time | None
    ends_at: Time
    answered_at: Time | None
    failure: str | None
    failed_at: Time | None


class TokenEntry(Answer, frozen=True):
    """A token without its secret."""

    id: str
    user: str
    scopes: list[str] | None
    expires_at: Time | None
    expired: bool


class TokenMade(Answer, frozen=True):
    """A new token with its secret, which is shown only here."""

    id: str
    user: str
    token: str
    scopes: list[str] | None
    expires_at: Time | None


class KeyEntry(Answer, frozen=True):
    """A public key of a user."""

    user: str
    type: str
    fingerprint: str
    comment: str


class EventEntry(Answer, frozen=True):
    """An audit event, as `stagedoor audit --json` prints it."""

    seq: int
    at: Time
    kind: str
    session: str | None
    identity: str | None
    target: str | None
    source: str | None
    way: str | None
    reason: str | None
    instance: str
    fields: dict[str, str | int | float | bool | None]
