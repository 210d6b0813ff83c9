"""`stagedoor login`, `logout` and `whoami`: sign in once in a browser; afterwards plain ssh is enough."""

from __future__ import annotations

import os
import shutil
import tempfile
import time
from contextlib import suppress
from pathlib import Path

from stagedoor.laptop import login_files, ssh_files
from stagedoor.laptop.keygen import run
from stagedoor.laptop.login_approve import log_in_by_browser, log_in_by_token, make_machine_label
from stagedoor.laptop.login_files import KEY, SECRET
from stagedoor.laptop.login_result import (
    WRONG,
    explain_unsigned,
    format_end,
    make_unsigned_error,
    print_line,
    refusal,
    write_login,
)
from stagedoor.laptop.login_web import GatewayWeb, open_gateway
from stagedoor.laptop.needed import CERTIFICATE, FRESH
from stagedoor.laptop.tunnel.errors import TunnelError
from stagedoor.laptop.tunnel.options import find_login_name


def log_in(
    url: str,
    *,
    label: str | None = None,
    browser: bool = True,
    ca_file: str | None = None,
    id_token: str | None = None,
    program: list[str],
) -> None:
    """Set this machine up for the gateway: key, sign-in, certificate and ssh's configuration.

    With `id_token`, from a CI job or a Kubernetes service account, no person has to approve.
    Raises TunnelError, OSError; then nothing is changed.
    """
    gateway = GatewayWeb(url, str(Path(ca_file).resolve()) if ca_file else None)
    document = _fetch_document(gateway)
    folder = login_files.find_folder(gateway.place)
    # Fail before the sign-in if ssh cannot be configured.
    login_files.render_config(document, folder, "name", program, gateway.place)
    label = label or make_machine_label()
    new_folder, key = _find_or_make_key(folder)
    try:
        if id_token:
            login = log_in_by_token(gateway, key, id_token)
        else:
            login = log_in_by_browser(gateway, key, label, browser)
        user = str(login["user"])
        config = login_files.render_config(document, folder, user, program, gateway.place)
        _check_certificate(gateway, login)
        ssh_files.make_private(folder)
        if new_folder is not None:
            for name in (KEY, f"{KEY}.pub"):
                shutil.move(str(new_folder / name), str(folder / name))
    finally:
        if new_folder is not None:
            shutil.rmtree(str(new_folder), ignore_errors=True)
    write_login(folder, gateway, login, label, by_token=id_token is not None)
    known_hosts = login_files.render_known_hosts(document)
    ssh_files.replace(folder / login_files.KNOWN_HOSTS, known_hosts, 0o644)
    ssh_files.replace(folder / login_files.CONFIG, config, 0o600)
    _report(login, folder, included=login_files.include(folder))


def _check_certificate(gateway: GatewayWeb, login: dict[str, object]) -> None:
    """Check a new login's certificate. End a login that should have one and has none. Raises TunnelError."""
    if login.get("certificate"):
        login_files.read_end(str(login["certificate"]))
    elif not login.get("no_grant"):
        with suppress(TunnelError):
            gateway.post("/login/end", {"secret": login.get("secret")})
        raise make_unsigned_error(login)


def _report(login: dict[str, object], folder: Path, *, included: bool) -> None:
    print_line(f"You are logged in as {login['user']} until {format_end(login)}.")
    also = " and the Include line at the top of ~/.ssh/config." if included else "."
    print_line(f"Wrote {folder}{also}")
    if login.get("certificate"):
        print_line("Now ssh alone is enough, as in: ssh app01.ssh")
    else:
        print_line(
            f"{explain_unsigned(login)}. Once you have it, ssh alone is enough, as in: ssh app01.ssh"
        )


def print_only(url: str, *, ca_file: str | None = None, program: list[str]) -> str:
    """Return the files that `log_in` would write for ssh, as text. Raises TunnelError."""
    gateway = GatewayWeb(url, ca_file)
    document = _fetch_document(gateway)
    folder = login_files.find_folder(gateway.place)
    config = login_files.render_config(
        document, folder, find_login_name(dict(os.environ)), program, gateway.place
    )
    hosts = folder / login_files.KNOWN_HOSTS
    known_hosts = login_files.render_known_hosts(document)
    return f"# {folder / login_files.CONFIG}\n{config}\n# {hosts}\n{known_hosts}"


def log_out(folder: Path, *, forget: bool) -> None:
    """End the login at the gateway, then remove its files, even if the gateway fails.

    `forget` removes the key and ssh's configuration too. Raises TunnelError, OSError.
    """
    state = login_files.read_state(folder)
    try:
        secret = (folder / SECRET).read_text(encoding="ascii").strip()
        gateway = open_gateway(state)
        status, said = gateway.post("/login/end", {"secret": secret})
        if status != 200:
            raise refusal(gateway, status, said)
    except FileNotFoundError:
        pass  # logged out before
    finally:
        if forget:
            login_files.forget(folder)
        else:
            login_files.remove(folder, SECRET, CERTIFICATE, FRESH)


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
    try:
        secret = (folder / SECRET).read_text(encoding="ascii").strip()
    except OSError:
        return {}
    try:
        gateway = open_gateway(state)
        status, said = gateway.post("/login/state", {"secret": secret})
        if status == 200:
            login_files.check_login(said)
            return said
        refused = refusal(gateway, status, said)
    except TunnelError as error:
        return {"unasked": error.line}
    return {"why" if status == WRONG else "unasked": refused.line}


def _fetch_document(gateway: GatewayWeb) -> login_files.GatewayDocument:
    status, said = gateway.get("/.well-known/stagedoor")
    if status != 200:
        raise refusal(gateway, status, said)
    return login_files.GatewayDocument(said, gateway.url)


def _find_or_make_key(folder: Path) -> tuple[Path | None, Path]:
    """Return the temporary folder of a new key, None for a key that exists already, and the key's path.

    The temporary folder is near `folder`; the key moves there once the login has succeeded.
    """
    if (folder / KEY).is_file():
        return None, folder / KEY
    near = next(parent for parent in folder.parents if parent.is_dir())
    new_folder = Path(tempfile.mkdtemp(prefix=".stagedoor-", dir=str(near)))
    try:
        options = ("-q", "-t", "ed25519", "-N", "", "-C", "stagedoor")
        run(["ssh-keygen", *options, "-f", str(new_folder / KEY)])
    except BaseException:
        shutil.rmtree(str(new_folder), ignore_errors=True)
        raise
    return new_folder, new_folder / KEY
