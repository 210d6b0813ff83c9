"""The approval of a login, by a person in a browser or by an ID token of this machine."""

from __future__ import annotations

import os
import time

from stagedoor.laptop import login_attended
from stagedoor.laptop.keygen import find_fingerprint, sign
from stagedoor.laptop.login_result import DENIED, EXPIRED, make_refusal_error, print_line
from stagedoor.laptop.login_web import UNAVAILABLE, read_login_id
from stagedoor.laptop.loopback import LoopbackListener
from stagedoor.laptop.tunnel import errors
from stagedoor.laptop.tunnel.errors import TunnelError, clean
from stagedoor.laptop.tunnel.options import find_login_name

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pathlib import Path

    from stagedoor.laptop.login_web import GatewayWeb

LOGIN_PENDING_S = 180.0
POLL_S = 0.2
"""A short interval, since the developer is watching this terminal."""


def log_in_by_browser(
    gateway: GatewayWeb, key: Path, label: str, browser: bool
) -> dict[str, object]:
    """Log in with a person's approval, here or on another machine, and return the gateway's answer.

    Raises TunnelError.
    """
    import hashlib

    from stagedoor.model.letters import derive_login_letters, show_letters

    verifier = os.urandom(32).hex()
    challenge = hashlib.sha256(verifier.encode()).hexdigest()
    signature = sign(key, f"stagedoor login\n{gateway.origin}\n{challenge}\n")
    listener = LoopbackListener(gateway.url)
    try:
        request: dict[str, object] = {
            "challenge": challenge,
            "signature": signature,
            "label": label,
            "port": listener.port,
        }
        status, answer = gateway.post("/login/start", request)
        if status != 200:
            raise make_refusal_error(gateway, status, answer)
        id_ = read_login_id(answer)
        poll: dict[str, object] = {"id": id_, "verifier": verifier}
        # The gateway derives the letters from this.
        status, answer = gateway.post("/login/poll", poll)
        if status != 200:
            raise make_refusal_error(gateway, status, answer)
        listener.result_url = url = f"{gateway.url}/login/{id_}"
        fingerprint = find_fingerprint(signature)
        letters = show_letters(derive_login_letters(gateway.url, id_, fingerprint, verifier))
        print_line(f"Sign in at:  {url}")
        print_line(f"Its page shows this key:  {fingerprint}")
        print_line(f"In a browser on another machine, type:  {letters}")
        if browser:
            login_attended.open_browser(url)
        return wait_for_approval(gateway, poll, listener)
    finally:
        listener.close()


def log_in_by_token(gateway: GatewayWeb, key: Path, id_token: str) -> dict[str, object]:
    """Log in with the machine's ID token and return the gateway's answer. Raises TunnelError."""
    import hashlib

    digest = hashlib.sha256(id_token.encode()).hexdigest()
    signature = sign(key, f"stagedoor machine\n{gateway.origin}\n{digest}\n")
    status, answer = gateway.post("/login/machine", {"token": id_token, "signature": signature})
    if status == 404:
        raise TunnelError(
            errors.NOT_PROXY, f"{gateway.url} does not accept ID tokens; it is too old"
        )
    if status != 200:
        raise make_refusal_error(gateway, status, answer)
    return answer


def wait_for_approval(
    gateway: GatewayWeb, poll: dict[str, object], listener: LoopbackListener
) -> dict[str, object]:
    """Wait until the login is approved, and return the gateway's answer. Raises TunnelError."""
    deadline = time.monotonic() + LOGIN_PENDING_S
    while time.monotonic() < deadline:
        code = listener.wait(POLL_S)
        request = dict(poll, code=code) if code else poll
        try:
            status, answer = gateway.post("/login/poll", request)
        except TunnelError as error:
            if error.code not in (errors.UNREACHABLE, errors.NO_ANSWER):
                raise
            continue  # the gateway is restarting, or the network failed briefly
        finally:
            listener.redirect_browser()
        state = answer.get("state")
        if status == 200 and state == "logged-in" and isinstance(answer.get("user"), str):
            return answer
        if status == 200 and state == "denied":
            raise TunnelError(DENIED, "the login was denied in the browser; nothing was changed")
        if status == 400:
            raise TunnelError(EXPIRED, clean(str(answer.get("message", ""))))
        if status not in (200, 429, *UNAVAILABLE):
            raise make_refusal_error(gateway, status, answer)
    raise TunnelError(
        EXPIRED, f"the login was not approved within {LOGIN_PENDING_S:.0f} s; nothing was changed"
    )


def make_machine_label() -> str:
    """Return the default label of this machine: `NAME@HOST`."""
    return f"{find_login_name(dict(os.environ))}@{os.uname().nodename}"
