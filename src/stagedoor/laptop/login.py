"""`stagedoor login`, `logout` and `whoami`."""

from __future__ import annotations

import os
import shutil
import tempfile
import time
from pathlib import Path

from stagedoor.laptop import login_files, ssh_files
from stagedoor.laptop.if_needed import CERTIFICATE, FRESH
from stagedoor.laptop.keygen import run_with_input
from stagedoor.laptop.login_approve import log_in_by_browser, log_in_by_token, make_machine_label
from stagedoor.laptop.login_files import KEY, SECRET
from stagedoor.laptop.login_result import (
    UNAUTHORIZED,
    end_malformed_login,
    explain_unsigned,
    format_end,
    make_refusal_error,
    make_unsigned_error,
    print_line,
    write_login,
)
from stagedoor.laptop.login_web import GatewayWeb, open_gateway
from stagedoor.laptop.tunnel.errors import INTERRUPTED, TunnelError
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
    """Log this machine in at the gateway: write its key, sign-in, certificate and ssh configuration.

    A person approves the login in a browser. An `id_token`, from a CI job or a Kubernetes service account,
    replaces the approval. Raises TunnelError, OSError; a refused or interrupted login changes nothing.
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
        with end_malformed_login(gateway, login):
            login_files.check_login(login)
            user = str(login["user"])
            config = login_files.render_config(document, folder, user, program, gateway.place)
            _check_certificate(login)
        ssh_files.make_private(folder)
        if new_folder is not None:
            for name in (KEY, f"{KEY}.pub"):
                shutil.move(str(new_folder / name), str(folder / name))
    finally:
        if new_folder is not None:
            shutil.rmtree(str(new_folder), ignore_errors=True)
    write_login(folder, gateway, login, label, by_token=id_token is not None)
    known_hosts = login_files.render_known_hosts(document)
    ssh_files.replace_file(folder / login_files.KNOWN_HOSTS, known_hosts, 0o644)
    ssh_files.replace_file(folder / login_files.CONFIG, config, 0o600)
    _report(login, folder, is_included=login_files.include_config(folder))


def _check_certificate(login: dict[str, object]) -> None:
    """Check a new login's certificate. Raises TunnelError if it is invalid, or missing without a reason."""
    if login.get("certificate"):
        login_files.read_end(str(login["certificate"]))
    elif not login.get("no_grant"):
        raise make_unsigned_error(login)


def _report(login: dict[str, object], folder: Path, *, is_included: bool) -> None:
    print_line(f"You are logged in as {login['user']} until {format_end(login)}.")
    include = " and the Include line at the top of ~/.ssh/config" if is_included else ""
    print_line(f"Wrote {folder}{include}.")
    if login.get("certificate"):
        print_line("Now ssh alone is enough, as in: ssh app01.ssh")
    else:
        print_line(
            f"{explain_unsigned(login)}. Once you have it, ssh alone is enough, as in: ssh app01.ssh"
        )


def render_files(url: str, *, ca_file: str | None = None, program: list[str]) -> str:
    """Return the text of the files that `log_in` would write for ssh. Raises TunnelError."""
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
    """End the login at the gateway, and remove its files, even if the gateway cannot be reached.

    `forget` removes the key and ssh's configuration as well. Raises TunnelError, OSError.
    """
    state = login_files.read_state(folder)
    try:
        secret = (folder / SECRET).read_text(encoding="ascii").strip()
        gateway = open_gateway(state)
        status, answer = gateway.post("/login/end", {"secret": secret})
        if status != 200:
            raise make_refusal_error(gateway, status, answer)
    except FileNotFoundError:
        pass  # already logged out
    except KeyboardInterrupt:
        line = f"interrupted; the login at {state['gateway']} may still be valid"
        raise TunnelError(INTERRUPTED, line) from None
    finally:
        if forget:
            login_files.remove_login(folder)
        else:
            login_files.remove_files(folder, SECRET, CERTIFICATE, FRESH)


def describe_login(folder: Path) -> dict[str, object]:
    """Return this machine's login at a gateway, as `stagedoor whoami --json` prints it. Raises TunnelError.

    `why` is the reason that the login ended. `unverified` is the reason that the gateway did not answer; the
    other fields are then the stored ones.
    """
    state = login_files.read_state(folder)
    answer = _fetch_state(folder, state)
    certificate_ends_at: int | None = None
    if (folder / CERTIFICATE).exists():
        certificate_ends_at = login_files.read_end(
            (folder / CERTIFICATE).read_text(encoding="ascii").strip()
        )
    ends_at = answer.get("ends_at", state.get("ends_at"))
    is_valid = isinstance(ends_at, float) and ends_at > time.time() and (folder / SECRET).exists()
    return {
        "gateway": state["gateway"],
        "user": answer.get("user", state.get("user")),
        "label": state.get("label"),
        "logged_in": is_valid and "why" not in answer,
        "ends_at": ends_at,
        "certificate_ends_at": certificate_ends_at,
        **{name: answer[name] for name in ("why", "unverified") if name in answer},
    }


def _fetch_state(folder: Path, state: dict[str, object]) -> dict[str, object]:
    """Return the gateway's `user` and `ends_at`, or else `why` or `unverified` (see `describe_login`)."""
    try:
        secret = (folder / SECRET).read_text(encoding="ascii").strip()
    except OSError:
        return {}
    try:
        gateway = open_gateway(state)
        status, answer = gateway.post("/login/state", {"secret": secret})
        if status == 200:
            login_files.check_login(answer)
            return answer
        refusal = make_refusal_error(gateway, status, answer)
    except TunnelError as error:
        return {"unverified": error.line}
    return {"why" if status == UNAUTHORIZED else "unverified": refusal.line}


def _fetch_document(gateway: GatewayWeb) -> login_files.GatewayDocument:
    status, answer = gateway.get("/.well-known/stagedoor")
    if status != 200:
        raise make_refusal_error(gateway, status, answer)
    return login_files.GatewayDocument(answer, gateway.url)


def _find_or_make_key(folder: Path) -> tuple[Path | None, Path]:
    """Return the temporary folder of a new key, or None if the key exists, and the key's path.

    The temporary folder is on the file system of `folder`, where the caller moves the key after the login.
    """
    if (folder / KEY).is_file():
        return None, folder / KEY
    existing = next(parent for parent in folder.parents if parent.is_dir())
    new_folder = Path(tempfile.mkdtemp(prefix=".stagedoor-", dir=str(existing)))
    try:
        options = ("-q", "-t", "ed25519", "-N", "", "-C", "stagedoor")
        run_with_input(["ssh-keygen", *options, "-f", str(new_folder / KEY)])
    except BaseException:
        shutil.rmtree(str(new_folder), ignore_errors=True)
        raise
    return new_folder, new_folder / KEY
