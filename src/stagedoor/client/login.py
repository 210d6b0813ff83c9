"""`stagedoor login`: one sign-in in a browser, and afterwards ssh alone.

`onefile` names the modules of the client that the gateway serves, of which it is one.
Standard library only, Python 3.8 or later. What went wrong is one line on stderr and an exit code of its own.
A renewal is waited for by ssh, so what it does not need is imported where it is used.
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
"""The person has typed the letters somewhere else, and looks at this terminal."""
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
    """Set this machine up for the gateway, whole: key, sign-in, certificate, ssh.

    `id_token` is that of a job of a CI, or of a Kubernetes service account: then no person is asked.
    Raises TunnelError, OSError; then nothing is changed.
    """
    import shutil

    gateway = Gateway(url, str(Path(ca_file).resolve()) if ca_file else None)
    known = _known(gateway)
    folder = login_files.folder_of(gateway.place)
    login_files.render_config(
        known, folder, "name", program, gateway.place
    )  # or say why not, first
    label = label or _machine()
    made, key = _key_for(folder)
    try:
        got = (
            _taken(gateway, key, id_token) if id_token else _approved(gateway, key, label, browser)
        )
        user = str(got["user"])
        config = login_files.render_config(known, folder, user, program, gateway.place)
        if got.get("certificate"):
            login_files.ends_at(str(got["certificate"]))
        elif not got.get("no_grant"):
            with suppress(TunnelError):
                gateway.post("/login/end", {"secret": got.get("secret")})
            raise _unsigned(got)
        ssh_files.make_private(folder)
        if made is not None:
            for name in (KEY, f"{KEY}.pub"):
                shutil.move(str(made / name), str(folder / name))
    finally:
        if made is not None:
            shutil.rmtree(str(made), ignore_errors=True)
    _keep(folder, gateway, got, label, by_token=id_token is not None)
    ssh_files.replace(
        folder / login_files.KNOWN_HOSTS, login_files.render_known_hosts(known), 0o644
    )
    ssh_files.replace(folder / login_files.CONFIG, config, 0o600)
    included = login_files.include(folder)
    _say(f"You are logged in as {user} until {clock(got)}.")
    _say(
        f"Wrote {folder}"
        + (" and the Include line at the top of ~/.ssh/config." if included else ".")
    )
    if got.get("certificate"):
        _say("Now ssh alone is enough, as in: ssh app01.ssh")
    else:
        _say(f"{_why_unsigned(got)}. Once you have it, ssh alone is enough, as in: ssh app01.ssh")


def print_only(url: str, *, ca_file: str | None = None, program: list[str]) -> str:
    """What `log_in` would write for ssh. Raises TunnelError."""
    gateway = Gateway(url, ca_file)
    known = _known(gateway)
    folder = login_files.folder_of(gateway.place)
    config = login_files.render_config(
        known, folder, tunnel.login_name(dict(os.environ)), program, gateway.place
    )
    hosts = folder / login_files.KNOWN_HOSTS
    return f"# {folder / login_files.CONFIG}\n{config}\n# {hosts}\n{login_files.render_known_hosts(known)}"


def take_turn(folder: Path, turn: LoginLock) -> None:
    """Log in by what asks the person least, unless another still does, or has just failed.

    Raises TunnelError, OSError.
    """
    if not turn.ours:
        raise TunnelError(EXPIRED, "another login of this machine takes too long; try again")
    code = turn.failed_meanwhile()
    if code:
        raise TunnelError(
            code, "the login of this machine did not succeed; see the first line of it"
        )
    try:
        _make_good(folder)
    except TunnelError as error:
        turn.fail(error.code)
        raise
    except KeyboardInterrupt:
        turn.fail(tunnel.INTERRUPTED)
        raise


def _make_good(folder: Path) -> None:
    state = login_files.read_state(folder)
    ca_file = state.get("ca_file")
    gateway = Gateway(str(state["gateway"]), str(ca_file) if ca_file else None)
    status, said = renew(gateway, folder / KEY)
    if status == 200:
        by_token = bool(state.get("by_token"))
        _keep(folder, gateway, said, str(state.get("label")), by_token=by_token)
        return
    if status != WRONG:
        raise refusal(gateway, status, said)
    why = login_ask.why_not_ask()
    if state.get("by_token"):
        why = "it was made with an ID token; run stagedoor login with another"
    if why:
        over = tunnel.clean(str(said.get("message", "")))
        raise TunnelError(NOT_LOGGED_IN, f"{over} ({why}, so nobody was asked)")
    got = _approved(gateway, folder / KEY, str(state.get("label") or _machine()), True)
    _keep(folder, gateway, got, str(state.get("label")))
    _say(f"You are logged in as {got['user']} until {clock(got)}.")


def renew(gateway: Gateway, key: Path) -> tuple[int, dict[str, object]]:
    """A certificate for the key that signs, while its sign-in lasts. Raises TunnelError, OSError."""
    at, nonce = int(time.time()), os.urandom(16).hex()
    signature = _sign(key, f"stagedoor renew\n{gateway.origin}\n{at}\n{nonce}\n")
    asked: dict[str, object] = {"at": at, "nonce": nonce, "signature": signature}
    return gateway.post("/login/renew", asked)


def log_out(folder: Path, *, forget: bool) -> None:
    """End the login, at the gateway first. What is here goes in any case. Raises TunnelError, OSError."""
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


def _known(gateway: Gateway) -> login_files.GatewayDocument:
    status, said = gateway.get("/.well-known/stagedoor")
    if status != 200:
        raise refusal(gateway, status, said)
    return login_files.GatewayDocument(said, gateway.url)


def _key_for(folder: Path) -> tuple[Path | None, Path]:
    """A key, and the folder in which it was made, if it is a new one: near its place, until it is known that
    the login succeeds."""
    if (folder / KEY).is_file():
        return None, folder / KEY
    import shutil
    import tempfile

    near = next(each for each in folder.parents if each.is_dir())
    made = Path(tempfile.mkdtemp(prefix=".stagedoor-", dir=str(near)))
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
                str(made / KEY),
            ]
        )
    except BaseException:
        shutil.rmtree(str(made), ignore_errors=True)
        raise
    return made, made / KEY


def _sign(key: Path, text: str) -> str:
    return run(["ssh-keygen", "-Y", "sign", "-q", "-n", _NAMESPACE, "-f", str(key)], text)


def _approved(gateway: Gateway, key: Path, label: str, browser: bool) -> dict[str, object]:
    """Return the gateway's answer once the person has approved, by either way. Raises TunnelError."""
    import hashlib

    from stagedoor.model.letters import login_letters, shown_letters

    verifier = os.urandom(32).hex()
    challenge = hashlib.sha256(verifier.encode()).hexdigest()
    signature = _sign(key, f"stagedoor login\n{gateway.origin}\n{challenge}\n")
    back = LoopbackListener(gateway.url)
    try:
        asked: dict[str, object] = {
            "challenge": challenge,
            "signature": signature,
            "label": label,
            "port": back.port,
        }
        status, begun = gateway.post("/login/start", asked)
        if status != 200:
            raise refusal(gateway, status, begun)
        id_ = login_id(begun)
        mine: dict[str, object] = {"id": id_, "verifier": verifier}
        status, said = gateway.post("/login/poll", mine)  # of which it derives the letters
        if status != 200:
            raise refusal(gateway, status, said)
        back.done = url = f"{gateway.url}/login/{id_}"
        fingerprint = fingerprint_of(signature)
        letters = shown_letters(login_letters(gateway.url, id_, fingerprint, verifier))
        _say(f"Sign in at:  {url}")
        _say(f"Its page shows this key:  {fingerprint}")
        _say(f"In a browser on another machine, type:  {letters}")
        if browser:
            login_ask.open_browser(url)
        return _wait(gateway, mine, back)
    finally:
        back.close()


def _taken(gateway: Gateway, key: Path, id_token: str) -> dict[str, object]:
    """What the gateway gives a machine that shows a token of its own. Raises TunnelError."""
    import hashlib

    digest = hashlib.sha256(id_token.encode()).hexdigest()
    signature = _sign(key, f"stagedoor machine\n{gateway.origin}\n{digest}\n")
    status, said = gateway.post("/login/machine", {"token": id_token, "signature": signature})
    if status == 404:
        raise TunnelError(tunnel.NOT_PROXY, f"{gateway.url} takes no ID tokens; it is too old")
    if status != 200:
        raise refusal(gateway, status, said)
    return said


def _wait(gateway: Gateway, mine: dict[str, object], back: LoopbackListener) -> dict[str, object]:
    deadline = time.monotonic() + PENDING_S
    while time.monotonic() < deadline:
        code = back.wait(POLL_S)
        asked = dict(mine, code=code) if code else mine
        try:
            status, said = gateway.post("/login/poll", asked)
        except TunnelError as error:
            if error.code not in (tunnel.UNREACHABLE, tunnel.NO_ANSWER):
                raise
            continue  # a gateway that starts again, or a network that is away at times
        finally:
            back.lead_on()
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


def _keep(
    folder: Path, gateway: Gateway, got: dict[str, object], label: str, *, by_token: bool = False
) -> None:
    """Write down what the gateway gave; without a certificate, only for a user who may enter no app yet.

    Raises TunnelError, OSError; then nothing of it is kept.
    """
    login_files.check_login(got)
    if isinstance(got.get("secret"), str):
        ssh_files.replace(folder / SECRET, f"{got['secret']}\n", 0o600)
    state = {
        "gateway": gateway.url,
        "user": got.get("user"),
        "ends_at": got.get("ends_at"),
        "label": label,
        "ca_file": gateway.options.ca_file,
        "by_token": by_token,
    }
    ssh_files.replace(folder / STATE, json.dumps(state, indent=1) + "\n", 0o600)
    login_files.keep_code(folder)
    if got.get("certificate"):
        login_files.write_certificate(folder, str(got["certificate"]), to_its_end=by_token)
    elif got.get("no_grant"):
        login_files.remove(folder, CERTIFICATE, FRESH)
    else:
        raise _unsigned(got)


def refusal(gateway: Gateway, status: int, said: dict[str, object]) -> TunnelError:
    """Return the error for a gateway's answer that is not the one that was asked for."""
    code = {401: tunnel.CREDENTIAL, 403: tunnel.FORBIDDEN, 429: tunnel.BUSY}
    code.update(dict.fromkeys(LATER, tunnel.BUSY))
    message = tunnel.clean(str(said.get("message") or f"it answered {status}"), tunnel.REASON_LIMIT)
    return TunnelError(code.get(status, tunnel.REFUSED), f"{gateway.url}: {message}")


def _unsigned(got: dict[str, object]) -> TunnelError:
    return TunnelError(tunnel.BUSY, _why_unsigned(got))


def _why_unsigned(got: dict[str, object]) -> str:
    return tunnel.clean(str(got.get("why") or "the gateway signed no certificate"))


def clock(got: dict[str, object]) -> str:
    """When a login ends, for a person here."""
    ends = got.get("ends_at")
    return time.strftime("%Y-%m-%d %H:%M", time.localtime(ends if isinstance(ends, float) else 0))


def _machine() -> str:
    return f"{tunnel.login_name(dict(os.environ))}@{os.uname().nodename}"


def _say(line: str) -> None:
    """To the person: ssh gives us its stderr, and stdout is not ours."""
    tunnel.show(f"{line}\n")
