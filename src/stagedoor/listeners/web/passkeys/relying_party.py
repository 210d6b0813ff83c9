"""The relying party of a request: the name that a browser creates and uses a passkey for."""

from ipaddress import ip_address

from starlette.requests import Request

from stagedoor.listeners.web.guard import RequestGuard
from stagedoor.model.denial import Denial, Reason
from stagedoor.model.passkey import RelyingParty

_BY_ADDRESS = Denial(
    Reason.BAD_REQUEST,
    "browsers take passkeys for names only, and this page was opened by an address: open it by the gateway's "
    "name, over https (on this machine, http://localhost does too)",
)
_IN_PLAIN = Denial.with_mend(
    Reason.BAD_REQUEST,
    "browsers take passkeys over https only",
    "a reverse proxy has to send X-Forwarded-Proto from an address in web.forwarded_from",
    "open this page by https://",
)


def find_relying_party(guard: RequestGuard, request: Request) -> RelyingParty | Denial:
    """Return the relying party for the request's Host, which the guard has checked.

    If each app has a name of its own, passkeys are for the domain above all of them.
    """
    host = (request.url.hostname or "").lower()
    domain = guard.limits.domain
    if domain is not None and (host == domain or host.endswith(f".{domain}")):
        host = domain
    elif _is_address(host):
        return _BY_ADDRESS
    if not guard.is_secure(request) and host != "localhost" and not host.endswith(".localhost"):
        return _IN_PLAIN
    return RelyingParty(host, guard.find_own_origin(request))


def _is_address(host: str) -> bool:
    try:
        ip_address(host.strip("[]"))
    except ValueError:
        return False
    return True
