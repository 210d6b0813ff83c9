"""Invitations: links with which a user sets their first password, once. Audited."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from urllib.parse import quote

from stagedoor.admin import service as admin
from stagedoor.admin.checks import check_groups, check_name, hash_new_password
from stagedoor.authn.passes import create_invitation, make_link_identity
from stagedoor.model.denial import Denial, Reason
from stagedoor.model.errors import RefusedError
from stagedoor.model.policy import User
from stagedoor.model.secret import hash_secret
from stagedoor.model.units import DAY_S
from stagedoor.model.webpass import Invitation, hash_password_mark
from stagedoor.settings.settings import Settings
from stagedoor.signin.site import find_site
from stagedoor.store import people
from stagedoor.store.database import Database
from stagedoor.store.sign_in import identities, passes

MAX_LIFETIME_S = 14 * DAY_S
"""The longest validity of an invitation, which stays in the user's mail that long."""
_INVITATION_OVER = Denial.with_fix(
    Reason.CREDENTIAL_WRONG,
    "this invitation was used, replaced by a later one, or its time is over",
    "an administrator makes another: stagedoor user invite NAME",
    "ask an administrator for another",
)


@dataclass(frozen=True, slots=True)
class MintedInvitation:
    """A new invitation for a user.

    `url` holds the secret. `expires_at` is seconds since the epoch. `added` is true if the user is new.
    """

    url: str = field(repr=False)
    expires_at: float
    added: bool


def invite(
    settings: Settings,
    service: admin.AdminService,
    name: str,
    expires_at: float | None,
    *,
    groups: Iterable[str] = (),
    url: str | None = None,
) -> MintedInvitation:
    """Create an invitation for the user `name`, and add the user if there is none of that name.

    The invitation is valid until the user's password changes, and replaces earlier ones. `expires_at` is
    seconds since the epoch, at most `MAX_LIFETIME_S` from now. Raises RefusedError, StoreError.
    """
    base = find_site(settings, url)
    check_name(name, "user")
    wanted = check_groups(groups)
    now = service.clock()
    if expires_at is None or not now < expires_at <= now + MAX_LIFETIME_S:
        raise RefusedError(f"an invitation ends within {MAX_LIFETIME_S / DAY_S:g} days")
    with service.change("user.invite") as change:
        user = people.find_user(change.transaction, name)
        if user is not None and people.is_disabled(change.transaction, name):
            raise RefusedError.with_fix(
                f"{name} is disabled", f"run first: stagedoor user enable {name}"
            )
        if user is None:
            people.add_user(change.transaction, name, wanted, None, now)
        elif wanted:
            raise RefusedError.with_fix(
                f"{name} is there already",
                f"for groups, run: stagedoor user group {name} --add GROUP",
            )
        provided_groups = identities.list_provided_groups(change.transaction, name)
        known = user or User(name, wanted)
        _check_usable(settings, name, known.groups | provided_groups)
        secret = passes.make_secret()
        invitation = create_invitation(hash_secret(secret), make_link_identity(known), expires_at)
        passes.invite(change.transaction, invitation)
        change.unchanged = user is not None
        change.fields |= {
            "user": name,
            "added": user is None,
            "groups": " ".join(sorted(wanted)),
            "expires_at": expires_at,
        }
    return MintedInvitation(
        f"{base}/invitation#{secret}&name={quote(name)}", expires_at, user is None
    )


def _check_usable(settings: Settings, name: str, groups: frozenset[str]) -> None:
    """Raise RefusedError if users in these groups cannot sign in with a password."""
    limits = settings.accounts.passwords_for
    if limits is not None and not limits & groups:
        raise RefusedError.with_fix(
            f"a password would not let {name} in",
            f"{name} is in none of accounts.password_groups ({', '.join(sorted(limits)) or 'empty'})",
        )


def find_invited_user(database: Database, secret: str, now: float) -> str | Denial:
    """Return the name of the user whose invitation has that secret.

    It takes no lock, so strangers who guess secrets delay no login. Raises StoreError.
    """
    invitation = passes.find(database, Invitation, secret)
    if invitation is None or invitation.expires_at <= now:
        return _INVITATION_OVER
    return invitation.name


def accept(service: admin.AdminService, name: str, secret: str, password: str) -> User:
    """Set the password of the user `name`, and use up their invitation.

    It computes an argon2 hash, so call it in a thread. Raises RefusedError, NotFoundError, StoreError.
    """
    password_hash = hash_new_password(password)
    with service.change("user.password") as change:
        invitation = passes.take(change.transaction, Invitation, secret)
        user = people.read_user(change.transaction, name)
        people.require_enabled(change.transaction, name)
        if (
            invitation is None
            or invitation.name != name
            or invitation.expires_at <= service.clock()
            or invitation.password_mark != hash_password_mark(user.password_hash)
        ):
            raise RefusedError(_INVITATION_OVER.line)
        people.set_password(change.transaction, name, password_hash)
        change.fields |= {"user": name, "password": True, "invitation": True}
    return User(name, user.groups, password_hash)
