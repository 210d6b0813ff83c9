"""The types of the API's larger answers, which are made of others."""

from stagedoor.wire.api import types as t
from stagedoor.wire.api.types import Answer, Time


class ProviderAccountEntry(Answer, frozen=True):
    """An account of a user at an identity provider."""

    issuer: str
    subject: str


class TokenState(Answer, frozen=True):
    """A token of a user without its secret, with the time at which it was made."""

    id: str
    scopes: list[str] | None
    created_at: Time | None
    expires_at: Time | None
    expired: bool


class UserReport(Answer, frozen=True):
    """Everything about a user but secrets.

    `groups` include those from identity providers, `provided_groups`. With `password`, the user has one; it
    lets them in only if `password_counts` (accounts.password_groups). `persons` are their accounts at
    identity providers. `grants` are all that are about them, and `sessions` the open ones. `access_set` is
    the set of files that declares the user, and `group_access_sets` those that put them in a group, by group.
    """

    name: str
    disabled: bool
    password: bool
    password_counts: bool
    groups: list[str]
    provided_groups: list[str]
    persons: list[ProviderAccountEntry]
    grants: list[t.GrantEntry]
    keys: list[t.KeyEntry]
    tokens: list[TokenState]
    sign_ins: list[t.SignInEntry]
    sessions: list[t.SessionEntry]
    access_set: str | None
    group_access_sets: dict[str, list[str]]


class PasskeyEntry(Answer, frozen=True, rename={"site": "for"}):
    """A passkey of a user, with the name of the site that it was made for."""

    id: str
    user: str
    name: str
    site: str
    created_at: Time
    used_at: Time | None


class ShareEntry(Answer, frozen=True):
    """An open share of a terminal."""

    id: str
    user: str
    target: str
    terminal: str
    typing: bool
    expires_at: Time


class ShareMade(ShareEntry, frozen=True):
    """A new share. `url` has the secret, which is shown only here."""

    url: str


class WebLinkMade(Answer, frozen=True):
    """A new link that signs a user in once. `url` has the secret, which is shown only here."""

    url: str
    expires_at: Time


class LinkEntry(Answer, frozen=True):
    """An account of a user at a provider, shown by its name, or by its issuer if the settings lack it."""

    user: str
    provider: str
    subject: str


class InvitationMade(Answer, frozen=True):
    """A new invitation. `url` has the secret, which is shown only here; `added` says that the user is new."""

    url: str
    expires_at: Time
    added: bool


class ShellEntry(Answer, frozen=True):
    """An app and the state of its shell, or a `namespace` that cannot be listed, whose app is null."""

    target: str
    app: str | None
    environment: str | None
    kind: str
    state: str
    detail: str
    address: str
    sessions: int


class ShellNote(Answer, frozen=True):
    """A part of the app's pods that its shell does not have, and the reason."""

    kind: str
    subject: str
    why: str


class AppReport(Answer, frozen=True):
    """How the shell of an app is made; `text` says the same for people. With `problems` there is none."""

    target: str
    app: str
    namespace: str
    problems: list[str]
    shell: dict[str, str]
    notes: list[ShellNote]
    text: str


class ShellStop(Answer, frozen=True):
    """The end of a shell. It may still be stopping: then the same request waits again."""

    target: str
    was_up: bool
    is_up: bool


class ShellLog(Answer, frozen=True):
    """The last lines of the sshd in a shell."""

    text: str


class SetChange(Answer, frozen=True):
    """A change of one row by an access set.

    `before` and `after` are what a grant or a request rule says besides its subject and apps, null if the row
    is added or removed. `taken_from` is the set and the file that a row belonged to.
    """

    action: str
    row: str
    before: str | None
    after: str | None
    file: str | None
    taken_from: str | None


class RightEntry(Answer, frozen=True):
    """Permissions for apps that a set gives or takes; `ask` and `approve` are for access requests."""

    app: str
    environment: str
    permissions: list[str]


class RightsEntry(Answer, frozen=True):
    """The rights that all of `users` gain and lose."""

    users: list[str]
    gains: list[RightEntry]
    losses: list[RightEntry]


class SetOutcome(Answer, frozen=True):
    """The changes that files make, or would make, and who gains and loses by them.

    `kept` rows of the set are in no file. With `problems`, each with its file and line, nothing was changed.
    """

    set: str
    applied: bool
    changes: list[SetChange]
    kept: int
    rights: list[RightsEntry]
    problems: list[str]


class RecordingEntry(Answer, frozen=True):
    """A recording of a terminal on the machine that answers. `id` is its session's id with a number.

    `user`, `target` and the session's times are null if the store no longer has the session. `kept_until` is
    null for a recording that is kept for ever, or is still being written. `file` is its name in the folder.
    """

    id: str
    session: str
    channel: int
    user: str | None
    target: str | None
    source: str | None
    opened_at: Time | None
    closed_at: Time | None
    end: str | None
    written_at: Time
    kept_until: Time | None
    size: int
    encrypted: bool
    file: str


class RecordingState(RecordingEntry, frozen=True):
    """A recording with its SHA-256 as the audit has it, null before its end."""

    sha256: str | None


class HookEntry(Answer, frozen=True):
    """A hook of the settings. `backlog` is the number of events that it has yet to see.

    `key` verifies its messages to programs.
    """

    name: str
    kind: str
    url: str
    backlog: int
    key: str


class HookResult(Answer, frozen=True):
    """The result of a test of a hook, with the reason if it failed."""

    name: str
    works: bool
    problem: str | None
