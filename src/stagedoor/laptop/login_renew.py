"""The renewal of a login's certificate, while ssh waits."""

from __future__ import annotations

import os
import time
from pathlib import Path

from stagedoor.laptop import login_files
from stagedoor.laptop.keygen import sign
from stagedoor.laptop.login_files import KEY
from stagedoor.laptop.login_result import (
    EXPIRED,
    NOT_LOGGED_IN,
    UNAUTHORIZED,
    end_malformed_login,
    format_end,
    make_refusal_error,
    print_line,
    write_login,
)
from stagedoor.laptop.login_web import open_gateway
from stagedoor.laptop.tunnel.errors import INTERRUPTED, TunnelError, clean

TYPE_CHECKING = False
if TYPE_CHECKING:
    from stagedoor.laptop.login_lock import LoginLock
    from stagedoor.laptop.login_web import GatewayWeb


def renew_under_lock(folder: Path, lock: LoginLock) -> None:
    """Renew the certificate, or log in again if the gateway refuses. Call `wait` of `lock` first.

    Raises TunnelError, OSError, also if another process holds the lock or has just failed.
    """
    if not lock.is_held:
        raise TunnelError(EXPIRED, "another login on this machine is taking too long; try again")
    code = lock.find_recent_failure()
    if code:
        raise TunnelError(
            code, "a login that another ssh on this machine started has failed; see its message"
        )
    try:
        _renew_or_log_in(folder)
    except TunnelError as error:
        lock.record_failure(error.code)
        raise
    except KeyboardInterrupt:
        lock.record_failure(INTERRUPTED)
        raise


def _renew_or_log_in(folder: Path) -> None:
    state = login_files.read_state(folder)
    gateway = open_gateway(state)
    status, answer = renew(gateway, folder / KEY)
    if status == 200:
        by_token = bool(state.get("by_token"))
        write_login(folder, gateway, answer, str(state.get("label")), by_token=by_token)
        return
    if status != UNAUTHORIZED:
        raise make_refusal_error(gateway, status, answer)
    from stagedoor.laptop.login_attended import find_reason_not_to_ask

    reason = find_reason_not_to_ask()
    if state.get("by_token"):
        reason = "it used an ID token; run stagedoor login with another"
    if reason:
        message = clean(str(answer.get("message", "")))
        raise TunnelError(NOT_LOGGED_IN, f"{message} ({reason}, so no new login was started)")
    from stagedoor.laptop.login_approve import log_in_by_browser, make_machine_label

    label = str(state.get("label") or make_machine_label())
    login = log_in_by_browser(gateway, folder / KEY, label, True)
    with end_malformed_login(gateway, login):
        login_files.check_login(login)
    write_login(folder, gateway, login, str(state.get("label")))
    print_line(f"You are logged in as {login['user']} until {format_end(login)}.")


def renew(gateway: GatewayWeb, key: Path) -> tuple[int, dict[str, object]]:
    """Request a new certificate for `key`, and return the status and the JSON answer.

    The key signs the request, and its sign-in must be valid. Raises TunnelError, OSError.
    """
    at, nonce = int(time.time()), os.urandom(16).hex()
    signature = sign(key, f"stagedoor renew\n{gateway.origin}\n{at}\n{nonce}\n")
    request: dict[str, object] = {"at": at, "nonce": nonce, "signature": signature}
    return gateway.post("/login/renew", request)
