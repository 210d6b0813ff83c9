"""`stagedoor whoami`: the logins of this machine, as their gateways report them."""

from __future__ import annotations

import time
from pathlib import Path

from stagedoor.laptop import login_files
from stagedoor.laptop.login_files import SECRET
from stagedoor.laptop.login_result import WRONG, refusal
from stagedoor.laptop.login_web import GatewayWeb
from stagedoor.laptop.needed import CERTIFICATE
from stagedoor.laptop.tunnel.errors import TunnelError


def ask_whoami(folder: Path) -> dict[str, object]:
    """Return this machine's login at a gateway, as the gateway reports it now.

    `why` is the reason that the login ended. `unasked` is the reason that the gateway was not asked; the
    other fields are then those that this machine stored before. Raises TunnelError.
    """
    state = login_files.read_state(folder)
    said = _state_now(folder, state)
    until: int | None = None
    if (folder / CERTIFICATE).exists():
        until = login_files.read_end((folder / CERTIFICATE).read_text(encoding="ascii").strip())
    ends = said.get("ends_at", state.get("ends_at"))
    lasts = isinstance(ends, float) and ends > time.time() and (folder / SECRET).exists()
    return {
        "gateway": state["gateway"],
        "user": said.get("user", state.get("user")),
        "label": state.get("label"),
        "logged_in": lasts and "why" not in said,
        "ends_at": ends,
        "certificate_ends_at": until,
        **{name: said[name] for name in ("why", "unasked") if name in said},
    }


def _state_now(folder: Path, state: dict[str, object]) -> dict[str, object]:
    """Ask the gateway. Return `user` and `ends_at`, `why` the login ended, or `unasked` (`ask_whoami`)."""
    ca_file = state.get("ca_file")
    try:
        secret = (folder / SECRET).read_text(encoding="ascii").strip()
    except OSError:
        return {}
    try:
        gateway = GatewayWeb(str(state["gateway"]), str(ca_file) if ca_file else None)
        status, said = gateway.post("/login/state", {"secret": secret})
        if status == 200:
            login_files.check_login(said)
            return said
        refused = refusal(gateway, status, said)
    except TunnelError as error:
        return {"unasked": error.line}
    return {"why" if status == WRONG else "unasked": refused.line}
