"""The answer of a gateway to a login: the granted login, which is stored, or its refusal as an error."""

from __future__ import annotations

import json
import time

from stagedoor.laptop import login_files, ssh_files
from stagedoor.laptop.login_files import SECRET, STATE
from stagedoor.laptop.login_web import LATER
from stagedoor.laptop.needed import CERTIFICATE, FRESH
from stagedoor.laptop.tunnel import errors
from stagedoor.laptop.tunnel.errors import TunnelError, clean, show

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pathlib import Path

    from stagedoor.laptop.login_web import GatewayWeb

DENIED, EXPIRED, NOT_LOGGED_IN = 30, 31, 32
EXITS = {
    DENIED: "the person denied the login, or typed wrong letters too often",
    EXPIRED: "the login was not approved in time, or its gateway forgot it",
    NOT_LOGGED_IN: "there is no valid login, and a new one cannot be started (CI, BatchMode, no terminal)",
}
WRONG = 401


def write_login(
    folder: Path,
    gateway: GatewayWeb,
    login: dict[str, object],
    label: str,
    *,
    by_token: bool = False,
) -> None:
    """Store a login that the gateway granted: secret, state and certificate.

    Only a login of a user without a grant for any app may lack a certificate.
    Raises OSError and TunnelError: for a malformed answer before anything is stored, for a missing or invalid
    certificate after the secret and the state are.
    """
    login_files.check_login(login)
    if isinstance(login.get("secret"), str):
        ssh_files.replace(folder / SECRET, f"{login['secret']}\n", 0o600)
    state = {
        "gateway": gateway.url,
        "user": login.get("user"),
        "ends_at": login.get("ends_at"),
        "label": label,
        "ca_file": gateway.options.ca_file,
        "by_token": by_token,
    }
    ssh_files.replace(folder / STATE, json.dumps(state, indent=1) + "\n", 0o600)
    login_files.write_modules(folder)
    if login.get("certificate"):
        login_files.write_certificate(folder, str(login["certificate"]), to_its_end=by_token)
    elif login.get("no_grant"):
        login_files.remove(folder, CERTIFICATE, FRESH)
    else:
        raise make_unsigned_error(login)


def refusal(gateway: GatewayWeb, status: int, said: dict[str, object]) -> TunnelError:
    """Return the error for an answer of the gateway that is not a success."""
    code = {401: errors.CREDENTIAL, 403: errors.FORBIDDEN, 429: errors.BUSY}
    code.update(dict.fromkeys(LATER, errors.BUSY))
    message = clean(str(said.get("message") or f"it answered {status}"), errors.REASON_LIMIT)
    return TunnelError(code.get(status, errors.REFUSED), f"{gateway.url}: {message}")


def make_unsigned_error(login: dict[str, object]) -> TunnelError:
    """Return the error for a login without a certificate."""
    return TunnelError(errors.BUSY, explain_unsigned(login))


def explain_unsigned(login: dict[str, object]) -> str:
    """Return why the gateway signed no certificate."""
    return clean(str(login.get("why") or "the gateway signed no certificate"))


def format_end(login: dict[str, object]) -> str:
    """Return the end of a login in local time, as `2026-01-31 18:00`."""
    ends = login.get("ends_at")
    return time.strftime("%Y-%m-%d %H:%M", time.localtime(ends if isinstance(ends, float) else 0))


def print_line(line: str) -> None:
    """Write a line to stderr, which ssh shows to the person; stdout belongs to ssh."""
    show(f"{line}\n")
