"""The address at which browsers reach the WebShell, from the settings, and paths there.

Every administrator's command loads this module, so it imports nothing of sign-ins.
"""

from urllib.parse import urlsplit

from stagedoor.authz.step_up import StepUpRules
from stagedoor.model.errors import RefusedError
from stagedoor.model.source import join_host_port
from stagedoor.settings.form import split_address
from stagedoor.settings.settings import Settings

STEP_UP_PATH = "/step-up"
SSO_PATH = "/sign-in/sso"
"""The path to which an identity provider sends browsers back."""


def find_site(settings: Settings, url: str | None) -> str:
    """Return the WebShell's URL without a trailing slash: `url`, or by default the one in the settings.

    Raises RefusedError if it is no address of a site, or if the settings have none.
    """
    base = (url or _find_base(settings)).rstrip("/")
    parts = urlsplit(base)
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.query or parts.fragment:
        raise RefusedError(f"{base!r} is not the address of a site; write https://HOST[:PORT]")
    return base


def find_site_or_none(settings: Settings) -> str | None:
    """Return the URL at which browsers reach the WebShell, or None if the settings do not have it."""
    try:
        return find_site(settings, None)
    except RefusedError:
        return None


def read_step_up_rules(settings: Settings) -> StepUpRules:
    """Return the rules by which targets need a fresh proof of presence, from the settings.

    Their `url` is None if the settings do not have the WebShell's address.
    """
    site = find_site_or_none(settings)
    url = None if site is None else site + STEP_UP_PATH
    return StepUpRules(settings.step_up.patterns, settings.step_up.fresh_s, url)


def _find_base(settings: Settings) -> str:
    """Return the WebShell's URL by the settings. Raises RefusedError if they do not have it."""
    web = settings.web
    if web.public_url is not None:
        return web.public_url
    if web.domain is not None:
        return f"https://{web.domain}{web.path}"
    for scheme, addresses in (("https", web.tls_addresses), ("http", web.addresses)):
        for address in addresses:
            host, port = split_address(address)
            if port:
                return f"{scheme}://{join_host_port(host, port)}{web.path}"
    raise RefusedError.with_fix(
        "the settings do not say where browsers reach the WebShell",
        "give it with --url https://HOST, or for good by web.public_url",
    )
