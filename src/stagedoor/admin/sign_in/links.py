"""Links that sign somebody in on the web, once, by the word of an administrator."""

from dataclasses import dataclass, field
from urllib.parse import quote, urlsplit

from stagedoor.admin import service as admin
from stagedoor.admin.terminals.shares import make_share
from stagedoor.authn.passes import Lifetimes, on_password_of, pass_for
from stagedoor.model.errors import RefusedError
from stagedoor.model.policy import User
from stagedoor.model.share import Share
from stagedoor.model.source import host_port
from stagedoor.model.webpass import PassKind
from stagedoor.settings.form import split_address
from stagedoor.settings.settings import Settings
from stagedoor.store.people import is_disabled
from stagedoor.store.sign_in import passes
from stagedoor.wire.target import parse_login


@dataclass(frozen=True, slots=True)
class MintedLink:
    """`url` holds the secret; `expires_at` is seconds since the epoch."""

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
    """A new link for `user`; with `app` it lets into nothing else. The audit tells of it.

    It stands in the password's place, and what it opened ends when the password is changed.
    Raises NotFoundError, RefusedError, StoreError.
    """
    target = None
    if app is not None:
        target = parse_login(app)
        if target is None:
            raise RefusedError(f"{app!r} names no app; write APP or APP.ENVIRONMENT")
    base = site_of(settings, url)
    found = _limited(settings, service, user)
    scopes = None if target is None else (f"connect:{target.login_name}",)
    identity = on_password_of(found, scopes)
    now = service.clock()
    given = pass_for(PassKind.LINK, identity, now, Lifetimes())
    with service.change("web.link") as change:
        change.unchanged = True
        change.fields |= {"user": user, "app": app, "expires_at": given.expires_at}
    secret = passes.issue(service.database, given, now)
    # The app's page is reached by its path under any name.
    leads = "" if target is None else f"&app={quote(target.login_name)}"
    return MintedLink(f"{base}/link#{secret}{leads}", given.expires_at)


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
    """A new share of a terminal of `user`, and its link, which holds the secret. The audit tells of it.

    It stands on the user's password, as `make_link` does.
    Raises NotFoundError, RefusedError, StoreError.
    """
    target = parse_login(app)
    if target is None:
        raise RefusedError(f"{app!r} names no app; write APP or APP.ENVIRONMENT")
    if lasts_s > settings.web.share_s:
        raise RefusedError(
            f"a share lasts {settings.web.share_s / 60:g} minutes at most (web.share_s)"
        )
    base = site_of(settings, url)
    found = _limited(settings, service, user)
    host = on_password_of(found)
    share, secret = make_share(service, host, target, terminal, lasts_s, typing=typing)
    return share, f"{base}/shared#{secret}"


def _limited(settings: Settings, service: admin.AdminService, name: str) -> User:
    """As the gateway knows them: a link stands on a password only where that counts. Raises NotFoundError,
    RefusedError."""
    user = admin.require_user(service, name)
    with service.database.read() as transaction:
        if is_disabled(transaction, name):
            raise RefusedError(f"{name} is disabled; run first: stagedoor user enable {name}")
    return user.limited_to(settings.accounts.passwords_for)


def site_of(settings: Settings, url: str | None) -> str:
    """Where links lead. Raises RefusedError."""
    base = (url or _base(settings)).rstrip("/")
    parts = urlsplit(base)
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.query or parts.fragment:
        raise RefusedError(f"{base!r} is no address of a site; write https://HOST[:PORT]")
    return base


def site_or_none(settings: Settings) -> str | None:
    """Where browsers reach the gateway; None where the settings do not tell."""
    try:
        return site_of(settings, None)
    except RefusedError:
        return None


def _base(settings: Settings) -> str:
    """Where browsers reach the gateway, as far as its settings tell."""
    web = settings.web
    if web.public_url is not None:
        return web.public_url
    if web.domain is not None:
        return f"https://{web.domain}{web.path}"
    for scheme, addresses in (("https", web.tls_addresses), ("http", web.addresses)):
        for address in addresses:
            host, port = split_address(address)
            if port:
                return f"{scheme}://{host_port(host, port)}{web.path}"
    raise RefusedError(
        "the settings do not tell where browsers reach the WebShell; say it with --url https://HOST, or "
        "for good by web.public_url"
    )
