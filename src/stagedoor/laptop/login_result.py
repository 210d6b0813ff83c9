"""The result of a login: the granted login, which is stored, or the error for a refusal."""

from __future__ import annotations

import json
import time
from contextlib import contextmanager, suppress

from stagedoor.laptop import login_files, ssh_files
from stagedoor.laptop.if_needed import CERTIFICATE, FRESH
from stagedoor.laptop.login_files import SECRET, STATE
from stagedoor.laptop.login_web import UNAVAILABLE
from stagedoor.laptop.tunnel import errors
from stagedoor.laptop.tunnel.errors import TunnelError, clean, show

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from stagedoor.laptop.login_web import GatewayWeb

DENIED, EXPIRED, NOT_LOGGED_IN = 30, 31, 32
EXITS = {
    DENIED: "denied in the browser, or wrong letters were typed too often",
    EXPIRED: "not approved in time, or the gateway no longer has the login",
    NOT_LOGGED_IN: "not logged in, and no person can be asked (CI, BatchMode, no terminal)",
}
UNAUTHORIZED = 401


def write_login(
    folder: Path,
    gateway: GatewayWeb,
    login: dict[str, object],
    label: str,
    *,
    by_token: bool = False,
) -> None:
    """Store the secret, the state and the certificate of a login that the gateway granted.

    A login may lack a certificate only if its user has no grant for any app. Raises OSError and TunnelError.
    A malformed answer is not stored; after a missing or invalid certificate, the secret and the state are.
    """
    login_files.check_login(login)
    if isinstance(login.get("secret"), str):
        ssh_files.replace_file(folder / SECRET, f"{login['secret']}\n", 0o600)
    state = {
        "gateway": gateway.url,
        "user": login.get("user"),
        "ends_at": login.get("ends_at"),
        "label": label,
        "ca_file": gateway.options.ca_file,
        "by_token": by_token,
    }
    ssh_files.replace_file(folder / STATE, json.dumps(state, indent=1) + "\n", 0o600)
    login_files.compile_modules(folder)
    if login.get("certificate"):
        login_files.write_certificate(folder, str(login["certificate"]), is_renewable=not by_token)
    elif login.get("no_grant"):
        login_files.remove_files(folder, CERTIFICATE, FRESH)
    else:
        raise make_unsigned_error(login)


@contextmanager
def end_malformed_login(gateway: GatewayWeb, login: dict[str, object]) -> Iterator[None]:
    """End a new login at the gateway if the block raises TunnelError: its secret is stored nowhere."""
    try:
        yield
    except TunnelError:
        with suppress(TunnelError):
            gateway.post("/login/end", {"secret": login.get("secret")})
        raise


def make_refusal_error(gateway: GatewayWeb, status: int, answer: dict[str, object]) -> TunnelError:
    """Return the error for a refusal by the gateway."""
    codes = {401: errors.CREDENTIAL, 403: errors.FORBIDDEN, 429: errors.BUSY}
    codes.update(dict.fromkeys(UNAVAILABLE, errors.BUSY))
    message = clean(str(answer.get("message") or f"it answered {status}"), errors.REASON_LIMIT)
    return TunnelError(codes.get(status, errors.REFUSED), f"{gateway.url}: {message}")


def make_unsigned_error(login: dict[str, object]) -> TunnelError:
    """Return the error for a login without a certificate."""
    return TunnelError(errors.BUSY, explain_unsigned(login))


def explain_unsigned(login: dict[str, object]) -> str:
    """Return the reason that the gateway signed no certificate."""
    return clean(str(login.get("why") or "the gateway signed no certificate"))


def format_end(login: dict[str, object]) -> str:
    """Return the end of a login in local time, such as `2026-01-31 18:00`."""
    ends_at = login.get("ends_at")
    seconds = ends_at if isinstance(ends_at, float) else 0
    return time.strftime("%Y-%m-%d %H:%M", time.localtime(seconds))


def print_line(line: str) -> None:
    """Print a line to stderr, which ssh passes on. stdout belongs to ssh."""
    show(f"{line}\n")
