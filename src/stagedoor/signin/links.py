"""Links by which an administrator lets a user sign in on the web once."""

from dataclasses import dataclass, field, replace
from urllib.parse import quote

from stagedoor.admin import service as admin
from stagedoor.admin.shares import make_share
from stagedoor.authn.passes import Lifetimes, create_link, make_link_identity
from stagedoor.holder.folder import FolderError, check_name
from stagedoor.model.errors import NotFoundError, RefusedError
from stagedoor.model.policy import User
from stagedoor.model.secret import hash_secret
from stagedoor.model.share import Share
from stagedoor.model.webpass import LINK
from stagedoor.settings.settings import Settings
from stagedoor.signin.site import find_site
from stagedoor.store.sign_in import passes
from stagedoor.wire.target import require_app


@dataclass(frozen=True, slots=True)
class MintedLink:
    """A new link. `url` holds the secret; `expires_at` is seconds since the epoch."""

    url: str = field(repr=False)
    expires_at: float


def make_link(
    settings: Settings,
    service: admin.AdminService,
    user: str,
    *,
    app: str | None = None,
    url: str | None = None,
) -> MintedLink:
    """Create a link for `user`; with `app`, it gives access to that app only. The audit records it.

    The link counts as the user's password, and the sign-in that it opened ends when the password is
    changed. Raises NotFoundError, RefusedError, StoreError.
    """
    target = None if app is None else require_app(app)
    base = find_site(settings, url)
    scopes = None if target is None else (f"connect:{target.login_name}",)
    identity = make_link_identity(_read_usable_user(settings, service, user), scopes)
    now = service.clock()
    secret = passes.make_secret()
    link = create_link(hash_secret(secret), replace(identity, credential_id=LINK), now, Lifetimes())
    with service.change("web.link") as change:
        change.unchanged = True
        change.fields |= {"user": user, "app": app, "expires_at": link.expires_at}
    passes.issue(service.database, link, now)
    # The app's page has the same path under each of the gateway's names.
    page = "" if target is None else f"&app={quote(target.login_name)}"
    return MintedLink(f"{base}/link#{secret}{page}", link.expires_at)


def make_share_link(
    settings: Settings,
    service: admin.AdminService,
    user: str,
    app: str,
    terminal: str,
    lasts_s: float,
    *,
    typing: bool = False,
    url: str | None = None,
) -> tuple[Share, str]:
    """Share a terminal of `user`; return the share and its link, which holds the secret.

    The audit records it. The share counts as opened with the user's password, as in `make_link`. It lasts
    `lasts_s` seconds, at most `web.share_s`. Raises NotFoundError, RefusedError, StoreError.
    """
    target = require_app(app)
    if lasts_s > settings.web.share_s:
        raise RefusedError.with_fix(
            f"a share lasts {settings.web.share_s / 60:g} minutes at most", "see web.share_s"
        )
    try:
        check_name(terminal)
    except FolderError as error:
        raise RefusedError(str(error)) from None
    base = find_site(settings, url)
    host = make_link_identity(_read_usable_user(settings, service, user))
    share, secret = make_share(service, host, target, terminal, lasts_s, typing=typing)
    return share, f"{base}/shared#{secret}"


def _read_usable_user(settings: Settings, service: admin.AdminService, name: str) -> User:
    """Return the user `name`, without a password if the settings do not let them use one.

    Raises NotFoundError, and RefusedError if the user is disabled.
    """
    policy = admin.read_policy(service)
    if name in policy.disabled:
        raise RefusedError.with_fix(
            f"{name} is disabled", f"run first: stagedoor user enable {name}"
        )
    if name not in policy.users:
        raise NotFoundError.of(f"user {name}", "user list")
    return policy.users[name].with_passwords_for(settings.accounts.passwords_for)
