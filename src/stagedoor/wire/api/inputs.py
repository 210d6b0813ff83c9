"""The types of the API's requests: bodies, and the filters of lists.

A field that is not sent is null, false or empty; no other default is assumed.
"""

from datetime import datetime
from typing import Annotated

from msgspec import Meta, Struct

from stagedoor.model.permission import Permission
from stagedoor.model.role import Role

Until = Annotated[datetime, Meta(tz=True)]
PRINTED = r"^[^\x00-\x1f\x7f]+$"
"""Text without control characters. PostgreSQL stores no NUL, and fails when it compares with one."""
Name = Annotated[str, Meta(min_length=1, max_length=64, pattern=PRINTED)]
Subject = Annotated[str, Meta(min_length=1, max_length=80, pattern=PRINTED)]
Pattern = Annotated[str, Meta(min_length=1, max_length=100, pattern=PRINTED)]
Line = Annotated[str, Meta(min_length=1, max_length=200, pattern=PRINTED)]
Seconds = Annotated[float, Meta(ge=0, le=31_536_000)]


class Input(Struct, frozen=True, forbid_unknown_fields=True):
    """A value in a request. A field that is not known is refused."""


class UserNew(Input, frozen=True):
    """A new user, without a password if it is left out."""

    name: Name
    groups: Annotated[list[Name], Meta(max_length=200)]
    password: Annotated[str, Meta(min_length=8, max_length=1024)] | None = None


class InvitationNew(Input, frozen=True):
    """A link by which a user sets a password. A new user joins the groups.

    `url` is where browsers reach the gateway, null for the address in its settings.
    """

    groups: Annotated[list[Name], Meta(max_length=200)]
    expires_at: Until
    url: Line | None = None


class UserGroups(Input, frozen=True):
    """All groups that a user should be in, with those that an identity provider gives."""

    groups: Annotated[list[Name], Meta(max_length=200)]


class UserPassword(Input, frozen=True):
    """The password that a user should have; null for none."""

    password: Annotated[str, Meta(min_length=8, max_length=1024)] | None


class GrantNew(Input, frozen=True):
    """A new grant. Without `expires_at` it has no end, without `resume_s` no limit of its own.

    With `prolong`, an equal grant that ends earlier gets the new end.
    """

    subject: Subject
    app: Pattern
    environment: Pattern
    permissions: Annotated[list[Permission], Meta(min_length=1, max_length=20)]
    expires_at: Until | None = None
    resume_s: Seconds | None = None
    prolong: bool = False


class GrantChange(Input, frozen=True):
    """The permissions and the limit that a grant should have."""

    permissions: Annotated[list[Permission], Meta(min_length=1, max_length=20)]
    resume_s: Seconds | None


class RoleNew(Input, frozen=True):
    """A new role. Without `expires_at` it has no end."""

    subject: Subject
    role: Role
    app: Pattern
    environment: Pattern
    expires_at: Until | None = None


class RequestRuleNew(Input, frozen=True):
    """A new rule. `reason` is a pattern that reasons must match.

    `hours` are when it holds, such as `Mon-Fri 08:00-20:00 Europe/Berlin`; null is always. `later_approvers`
    decide too once a request has waited for `later_s` seconds.
    """

    subject: Subject
    app: Pattern
    environment: Pattern
    permissions: Annotated[list[Permission], Meta(min_length=1, max_length=20)]
    longest_s: Seconds
    approvers: Annotated[list[Subject], Meta(max_length=20)]
    approvals: Annotated[int, Meta(ge=0, le=10)]
    reason: Line
    step_up: bool
    break_glass: bool
    hours: Line | None = None
    later_approvers: Annotated[list[Subject], Meta(max_length=20)] = []
    later_s: Seconds | None = None


class AccessRequestNew(Input, frozen=True):
    """A request of the caller for apps, as the home page names them. `lasts_s` null is the usual time.

    Its rule gives all of `permissions`, besides entering. Access begins at `starts_at`, within 7 days, or at
    once for null.
    """

    apps: Annotated[list[Line], Meta(min_length=1, max_length=50)]
    reason: Annotated[str, Meta(max_length=300)]
    lasts_s: Seconds | None = None
    break_glass: bool = False
    starts_at: Until | None = None
    permissions: Annotated[list[Permission], Meta(max_length=20)] = []


class DecisionNew(Input, frozen=True):
    """A decision. `lasts_s` shortens what was asked for; `note` is a line for the requester."""

    yes: bool
    lasts_s: Seconds | None = None
    note: Annotated[str, Meta(max_length=300)] = ""


class SessionsEnd(Input, frozen=True):
    """The sessions, or sign-ins, to end, and the reason: one line, which their users read."""

    ids: Annotated[list[Name], Meta(min_length=1, max_length=1000)]
    reason: Line


class StopOrder(Input, frozen=True):
    """The reason for which a shell is stopped: one line, which the users in it read."""

    reason: Line


class ShareNew(Input, frozen=True):
    """A new share of a user's terminal, which lasts `lasts_s` seconds. With `typing`, guests may type.

    `url` is where browsers reach the gateway, null for the address in its settings.
    """

    user: Name
    app: Line
    terminal: Name
    lasts_s: Annotated[float, Meta(gt=0)]
    typing: bool = False
    url: Line | None = None


class WebLinkNew(Input, frozen=True):
    """A link that signs a user in once, to one app or to all. `url` is as in a share."""

    app: Line | None = None
    url: Line | None = None


class ProviderLinkNew(Input, frozen=True):
    """The account of a user at an identity provider; null is the only provider."""

    user: Name
    subject: Line
    provider: Line | None = None


class ProviderLinkRemoval(Input, frozen=True):
    """The account to unlink. It may hold any character, so it is not in the path."""

    subject: Line
    provider: Line | None = None


class TokenNew(Input, frozen=True):
    """A new token. Scopes null allow all that the user's grants allow, and nothing of this API."""

    user: Name
    scopes: Annotated[list[Line], Meta(max_length=20)] | None
    expires_at: Until | None


class KeysNew(Input, frozen=True):
    """Public keys to register, all or none: lines of `.pub` files."""

    user: Name
    keys: Annotated[
        list[Annotated[str, Meta(min_length=1, max_length=16_384)]],
        Meta(min_length=1, max_length=50),
    ]


class KeyRemoval(Input, frozen=True):
    """The fingerprint of a key to remove, `SHA256:…`. It may hold a slash, so it is not in the path."""

    fingerprint: Line


class SetFile(Input, frozen=True):
    """A file of an access set: TOML or JSON, by the end of its path."""

    path: Line
    text: str


class SetFiles(Input, frozen=True):
    """All files of an access set. `set` is its name if no file says it.

    Rows that the files do not declare stay, unless `prune` removes them, at most `prune_at_most` percent of
    the set's, or `release` lets them belong to no set. `adopt` takes rows over.
    """

    files: Annotated[list[SetFile], Meta(min_length=1, max_length=1000)]
    set: Name | None = None
    adopt: bool = False
    prune: bool = False
    prune_at_most: Annotated[float, Meta(ge=0, le=100)] = 20
    release: bool = False


class DryRun(Input, frozen=True):
    """Whether to show what would change, and change nothing."""

    dry_run: bool = False


class NoFilter(Input, frozen=True):
    """A list without filters."""


class UserFilter(Input, frozen=True):
    """Filters of users."""

    group: Name | None = None


class OwnerFilter(Input, frozen=True):
    """A filter by user."""

    user: Name | None = None


class GrantFilter(Input, frozen=True):
    """Filters of grants: those for a user, also by a group, and those that cover an app."""

    user: Name | None = None
    app: Pattern | None = None
    environment: Pattern | None = None


class SessionFilter(Input, frozen=True):
    """Filters of sessions. `all` includes closed ones."""

    user: Name | None = None
    all: bool = False


class AccessRequestFilter(Input, frozen=True):
    """Filters of requests. `all` includes requests that are over and need no review."""

    all: bool = False


class UserAppFilter(Input, frozen=True):
    """The question whether a user may enter an app, as the home page names it."""

    user: Name
    app: Line


class AppFilter(Input, frozen=True):
    """The question who may enter an app, as the home page names it."""

    app: Line


class LogFilter(Input, frozen=True):
    """How many of the last lines to show."""

    lines: Annotated[int, Meta(ge=1, le=10_000)] = 50


class EventFilter(Input, frozen=True):
    """Filters of events: those after the number `after`, for which the request waits up to `wait` seconds.

    `kind` may be several, with commas. `session` is an id or the beginning of one. With `last`, only so many
    of the newest.
    """

    after: Annotated[int, Meta(ge=0, le=9_007_199_254_740_991)] = 0
    wait: Annotated[int, Meta(ge=0, le=25)] = 0
    kind: Annotated[str, Meta(min_length=1, max_length=1000, pattern=PRINTED)] | None = None
    user: Name | None = None
    session: Name | None = None
    app: Line | None = None
    since: Until | None = None
    until: Until | None = None
    last: Annotated[int, Meta(ge=1, le=1_000_000)] | None = None
