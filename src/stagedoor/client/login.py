"""`stagedoor login`: sign in once in a browser; afterwards plain ssh is enough.

This module is part of the client file that the gateway serves (`onefile`): standard library only, Python 3.8
or later. Each error is one line on stderr with its own exit code. ssh waits for a renewal, so modules that a
renewal does not need are imported where they are used.
"""

from __future__ import annotations

import json
import os
import time
from contextlib import suppress
from pathlib import Path

from stagedoor.client import login_ask, login_files, ssh_files, tunnel
from stagedoor.client.keygen import fingerprint_of, run
from stagedoor.client.login_files import KEY, SECRET, STATE
from stagedoor.client.login_web import LATER, Gateway, LoopbackListener, login_id
from stagedoor.client.needed import CERTIFICATE, FRESH
from stagedoor.client.tunnel import TunnelError
from stagedoor.client.turn import LoginLock

DENIED, EXPIRED, NOT_LOGGED_IN = 30, 31, 32
EXITS = {
    DENIED: "the person denied the login, or typed wrong letters too often",
    EXPIRED: "nobody approved the login in time, or its gateway forgot it",
    NOT_LOGGED_IN: "nobody is logged in, and nobody may be asked now",
}
PENDING_S = 180.0
POLL_S = 0.2
"""A short interval: the person typed the letters on another machine and is watching this terminal."""
_NAMESPACE = "login@stagedoor"
WRONG = 401


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
    import shutil

    gateway = Gateway(url, str(Path(ca_file).resolve()) if ca_file else None)
    document = _fetch_document(gateway)
    folder = login_files.folder_of(gateway.place)
    login_files.render_config(
        document, folder, "name", program, gateway.place
    )  # fail before the sign-in if ssh cannot be configured
    label = label or _machine_label()
    new_folder, key = _find_or_make_key(folder)
    try:
        login = (
            _log_in_by_token(gateway, key, id_token)
            if id_token
            else _log_in_by_browser(gateway, key, label, browser)
        )
        user = str(login["user"])
        config = login_files.render_config(document, folder, user, program, gateway.place)
        if login.get("certificate"):
            login_files.ends_at(str(login["certificate"]))
        elif not login.get("no_grant"):
            with suppress(TunnelError):
                gateway.post("/login/end", {"secret": login.get("secret")})
            raise _unsigned(login)
        ssh_files.make_private(folder)
        if new_folder is not None:
            for name in (KEY, f"{KEY}.pub"):
                shutil.move(str(new_folder / name), str(folder / name))
    finally:
        if new_folder is not None:
            shutil.rmtree(str(new_folder), ignore_errors=True)
    _store(folder, gateway, login, label, by_token=id_token is not None)
    ssh_files.replace(
        folder / login_files.KNOWN_HOSTS, login_files.render_known_hosts(document), 0o644
    )
    ssh_files.replace(folder / login_files.CONFIG, config, 0o600)
    included = login_files.include(folder)
    _say(f"You are logged in as {user} until {clock(login)}.")
    _say(
        f"Wrote {folder}"
        + (" and the Include line at the top of ~/.ssh/config." if included else ".")
    )
    if login.get("certificate"):
        _say("Now ssh alone is enough, as in: ssh app01.ssh")
    else:
        _say(f"{_why_unsigned(login)}. Once you have it, ssh alone is enough, as in: ssh app01.ssh")


def print_only(url: str, *, ca_file: str | None = None, program: list[str]) -> str:
    """Return the files that `log_in` would write for ssh, as text. Raises TunnelError."""
    gateway = Gateway(url, ca_file)
    document = _fetch_document(gateway)
    folder = login_files.folder_of(gateway.place)
    config = login_files.render_config(
        document, folder, tunnel.login_name(dict(os.environ)), program, gateway.place
    )
    hosts = folder / login_files.KNOWN_HOSTS
    known_hosts = login_files.render_known_hosts(document)
    return f"# {folder / login_files.CONFIG}\n{config}\n# {hosts}\n{known_hosts}"


def take_turn(folder: Path, turn: LoginLock) -> None:
    """Renew the certificate, or log in again if the gateway refuses that. `turn` has been waited for.

    Raises TunnelError, OSError, also if another process still logs in or has just failed.
    """
    if not turn.is_held:
        raise TunnelError(EXPIRED, "another login of this machine takes too long; try again")
    code = turn.recent_failure()
    if code:
        raise TunnelError(
            code, "the login of this machine did not succeed; see the first line of it"
        )
    try:
        _renew_or_log_in(folder)
    except TunnelError as error:
        turn.record_failure(error.code)
        raise
    except KeyboardInterrupt:
        turn.record_failure(tunnel.INTERRUPTED)
        raise


def _renew_or_log_in(folder: Path) -> None:
    state = login_files.read_state(folder)
    ca_file = state.get("ca_file")
    gateway = Gateway(str(state["gateway"]), str(ca_file) if ca_file else None)
    status, said = renew(gateway, folder / KEY)
    if status == 200:
        by_token = bool(state.get("by_token"))
        _store(folder, gateway, said, str(state.get("label")), by_token=by_token)
        return
    if status != WRONG:
        raise refusal(gateway, status, said)
    why = login_ask.why_not_ask()
    if state.get("by_token"):
        why = "it was made with an ID token; run stagedoor login with another"
    if why:
        over = tunnel.clean(str(said.get("message", "")))
        raise TunnelError(NOT_LOGGED_IN, f"{over} ({why}, so nobody was asked)")
    label = str(state.get("label") or _machine_label())
    login = _log_in_by_browser(gateway, folder / KEY, label, True)
    _store(folder, gateway, login, str(state.get("label")))
    _say(f"You are logged in as {login['user']} until {clock(login)}.")


def renew(gateway: Gateway, key: Path) -> tuple[int, dict[str, object]]:
    """Ask the gateway for a new certificate for `key`; return its status and JSON answer.

    The request is signed with the key, whose sign-in must still be valid. Raises TunnelError, OSError.
    """
    at, nonce = int(time.time()), os.urandom(16).hex()
    signature = _sign(key, f"stagedoor renew\n{gateway.origin}\n{at}\n{nonce}\n")
    request: dict[str, object] = {"at": at, "nonce": nonce, "signature": signature}
    return gateway.post("/login/renew", request)


def log_out(folder: Path, *, forget: bool) -> None:
    """End the login at the gateway, then remove its files, even if the gateway fails.

    `forget` removes the key and ssh's configuration too. Raises TunnelError, OSError.
    """
    state = login_files.read_state(folder)
    ca_file = state.get("ca_file")
    try:
        secret = (folder / SECRET).read_text(encoding="ascii").strip()
        gateway = Gateway(str(state["gateway"]), str(ca_file) if ca_file else None)
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


# ---- the steps -----------------------------------------------------------------------------------


def _fetch_document(gateway: Gateway) -> login_files.GatewayDocument:
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
    import shutil
    import tempfile

    near = next(parent for parent in folder.parents if parent.is_dir())
    new_folder = Path(tempfile.mkdtemp(prefix=".stagedoor-", dir=str(near)))
    try:
        run(
            [
                "ssh-keygen",
                "-q",
                "-t",
                "ed25519",
                "-N",
                "",
                "-C",
                "stagedoor",
                "-f",
                str(new_folder / KEY),
            ]
        )
    except BaseException:
        shutil.rmtree(str(new_folder), ignore_errors=True)
        raise
    return new_folder, new_folder / KEY


def _sign(key: Path, text: str) -> str:
    return run(["ssh-keygen", "-Y", "sign", "-q", "-n", _NAMESPACE, "-f", str(key)], text)


def _log_in_by_browser(gateway: Gateway, key: Path, label: str, browser: bool) -> dict[str, object]:
    """Return the gateway's answer once the person has approved, here or on another machine.

    Raises TunnelError.
    """
    import hashlib

    from stagedoor.model.letters import login_letters, shown_letters

    verifier = os.urandom(32).hex()
    challenge = hashlib.sha256(verifier.encode()).hexdigest()
    signature = _sign(key, f"stagedoor login\n{gateway.origin}\n{challenge}\n")
    listener = LoopbackListener(gateway.url)
    try:
        request: dict[str, object] = {
            "challenge": challenge,
            "signature": signature,
            "label": label,
            "port": listener.port,
        }
        status, begun = gateway.post("/login/start", request)
        if status != 200:
            raise refusal(gateway, status, begun)
        id_ = login_id(begun)
        poll: dict[str, object] = {"id": id_, "verifier": verifier}
        status, said = gateway.post("/login/poll", poll)  # the gateway derives the letters from it
        if status != 200:
            raise refusal(gateway, status, said)
        listener.done = url = f"{gateway.url}/login/{id_}"
        fingerprint = fingerprint_of(signature)
        letters = shown_letters(login_letters(gateway.url, id_, fingerprint, verifier))
        _say(f"Sign in at:  {url}")
        _say(f"Its page shows this key:  {fingerprint}")
        _say(f"In a browser on another machine, type:  {letters}")
        if browser:
            login_ask.open_browser(url)
        return _wait(gateway, poll, listener)
    finally:
        listener.close()


def _log_in_by_token(gateway: Gateway, key: Path, id_token: str) -> dict[str, object]:
    """Log in with the machine's ID token and return the gateway's answer. Raises TunnelError."""
    import hashlib

    digest = hashlib.sha256(id_token.encode()).hexdigest()
    signature = _sign(key, f"stagedoor machine\n{gateway.origin}\n{digest}\n")
    status, said = gateway.post("/login/machine", {"token": id_token, "signature": signature})
    if status == 404:
        raise TunnelError(tunnel.NOT_PROXY, f"{gateway.url} takes no ID tokens; it is too old")
    if status != 200:
        raise refusal(gateway, status, said)
    return said


def _wait(
    gateway: Gateway, poll: dict[str, object], listener: LoopbackListener
) -> dict[str, object]:
    deadline = time.monotonic() + PENDING_S
    while time.monotonic() < deadline:
        code = listener.wait(POLL_S)
        request = dict(poll, code=code) if code else poll
        try:
            status, said = gateway.post("/login/poll", request)
        except TunnelError as error:
            if error.code not in (tunnel.UNREACHABLE, tunnel.NO_ANSWER):
                raise
            continue  # the gateway restarts, or the network fails for a moment
        finally:
            listener.redirect_browser()
        state = said.get("state")
        if status == 200 and state == "logged-in" and isinstance(said.get("user"), str):
            return said
        if status == 200 and state == "denied":
            raise TunnelError(DENIED, "the login was denied in the browser; nothing was changed")
        if status == 400:
            raise TunnelError(EXPIRED, tunnel.clean(str(said.get("message", ""))))
        if status not in (200, 429, *LATER):
            raise refusal(gateway, status, said)
    raise TunnelError(
        EXPIRED, f"nobody approved the login in {PENDING_S:.0f} s; nothing was changed"
    )


def _store(
    folder: Path, gateway: Gateway, login: dict[str, object], label: str, *, by_token: bool = False
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
    login_files.cache_modules(folder)
    if login.get("certificate"):
        login_files.write_certificate(folder, str(login["certificate"]), to_its_end=by_token)
    elif login.get("no_grant"):
        login_files.remove(folder, CERTIFICATE, FRESH)
    else:
        raise _unsigned(login)


def refusal(gateway: Gateway, status: int, said: dict[str, object]) -> TunnelError:
    """Return the error for an answer of the gateway that is not a success."""
    code = {401: tunnel.CREDENTIAL, 403: tunnel.FORBIDDEN, 429: tunnel.BUSY}
    code.update(dict.fromkeys(LATER, tunnel.BUSY))
    message = tunnel.clean(str(said.get("message") or f"it answered {status}"), tunnel.REASON_LIMIT)
    return TunnelError(code.get(status, tunnel.REFUSED), f"{gateway.url}: {message}")


def _unsigned(login: dict[str, object]) -> TunnelError:
    return TunnelError(tunnel.BUSY, _why_unsigned(login))


def _why_unsigned(login: dict[str, object]) -> str:
    return tunnel.clean(str(login.get("why") or "the gateway signed no certificate"))


def clock(login: dict[str, object]) -> str:
    """Return the end of a login in local time, as `2026-01-31 18:00`."""
    ends = login.get("ends_at")
    return time.strftime("%Y-%m-%d %H:%M", time.localtime(ends if isinstance(ends, float) else 0))


def _machine_label() -> str:
    return f"{tunnel.login_name(dict(os.environ))}@{os.uname().nodename}"


def _say(line: str) -> None:
    """Write a line to stderr, which ssh shows to the person; stdout belongs to ssh."""
    tunnel.show(f"{line}\n")
