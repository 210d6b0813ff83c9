"""The findings for each hop of the path to a shell, and how to fix failures. Pure."""

from __future__ import annotations

import json
import re
import shlex
from dataclasses import dataclass, field
from typing import Any, Literal

from stagedoor.laptop.tunnel import errors
from stagedoor.laptop.tunnel.errors import TunnelError, clean
from stagedoor.laptop.tunnel.options import parse_argv
from stagedoor.model.units import DAY_S
from stagedoor.wire.finding import Finding, Result, fail, ok, warn

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

How = Literal["connect", "jump", "direct", "web"]
EXPIRES_SOON_S = 14 * DAY_S
WARN_SKEW_S, FAIL_SKEW_S = 30.0, 300.0
"""In seconds. A user certificate is valid from five minutes before its signature."""
NAME, PROXY, GATEWAY, TLS = "name", "corporate proxy", "gateway", "TLS"
CREDENTIAL, GRANT, SHELL, SSHD = "credential", "grant", "shell", "sshd"
HOST_KEY, KEY, CLOCK, CONFIG = "host certificate", "key", "clock", "ssh configuration"

_HOP = {
    errors.USAGE: CONFIG,
    errors.UNREACHABLE: GATEWAY,
    errors.TLS: TLS,
    errors.NOT_PROXY: GATEWAY,
    errors.NO_ANSWER: GATEWAY,
    errors.CREDENTIAL: CREDENTIAL,
    errors.FORBIDDEN: GRANT,
    errors.NO_SHELL: SHELL,
    errors.BUSY: SHELL,
    errors.START_TIMEOUT: SHELL,
    errors.REFUSED: GATEWAY,
    errors.VIA: PROXY,
}
_FIX = {
    NAME: "check the spelling; if the name is internal, connect to the VPN",
    PROXY: "check STAGEDOOR_VIA or https_proxy; --via direct tries without it",
    GATEWAY: "check the address, the port (CONNECT, SSH and web have separate ones), firewall and VPN",
    TLS: "check this machine's clock; --ca-file trusts your organisation's CA",
    CREDENTIAL: "make a token on your account page, or ask an administrator for one, and store it in a file",
    GRANT: "ask an administrator for a grant to the app",
    SHELL: "try again in a minute; if it still fails, ask an administrator to check the gateway",
    SSHD: "ask the administrator: another server answers in place of the shell",
    HOST_KEY: "log in again, which writes the host CA: stagedoor login https://HOST; without a login: "
    "stagedoor ssh-config with --host-ca",
    KEY: "ssh-add -l shows your keys; register one on your account page",
    CLOCK: "synchronise the clock by NTP",
    CONFIG: "set up ssh: stagedoor login https://HOST, or stagedoor ssh-config with --gateway and --host-ca",
}


def translate_finding(text: str) -> str:
    """Translate a text of a finding into the language of the locale."""
    from stagedoor.wire.language.chinese.doctor import DOCTOR

    return errors.translate(text, DOCTOR)


def make_failure(hop: str, what: str, fix: str = "", also: str = "") -> Result:
    """Return a failure at `hop`. `also` is another fix, which begins with a semicolon."""
    return hop, fail(what, (fix or _FIX[hop]) + also)


def judge_tunnel_failure(error: TunnelError) -> Result:
    """Return the failure at the hop where the tunnel's client failed."""
    hop = _HOP.get(error.code, GATEWAY)
    if error.code == errors.UNREACHABLE:
        if "does not resolve" in error.line:
            hop = NAME
        elif "the corporate proxy" in error.line:
            hop = PROXY
    return make_failure(hop, error.line)


def check_certificate(name: str, ends_at: float, now: float) -> Finding:
    """Judge the remaining validity of a gateway's certificate. Times are in seconds since the epoch."""
    left_s = ends_at - now
    if left_s < EXPIRES_SOON_S:
        return warn(
            f"the certificate of {name} expires in {max(0.0, left_s) / DAY_S:.1f} days",
            "ask the administrator to renew it and to reload the gateway",
        )
    return ok(f"the certificate of {name} is valid for {left_s / DAY_S:.0f} days")


def judge_clock(theirs: float, ours: float, whose: str) -> Finding:
    """Judge the difference of two clocks. Times are in seconds since the epoch."""
    skew_s = ours - theirs
    what = f"this clock is {abs(skew_s):.0f} s {'ahead of' if skew_s > 0 else 'behind'} {whose}"
    if abs(skew_s) >= FAIL_SKEW_S:
        return fail(what, _FIX[CLOCK])
    return warn(what, _FIX[CLOCK]) if abs(skew_s) >= WARN_SKEW_S else ok(what)


def judge_greeting(host: str, line: bytes) -> Result:
    """Judge the first line from an sshd."""
    if line.startswith(b"SSH-2.0-"):
        return SSHD, ok(f"{host} says {clean(line.decode('ascii', 'replace'), 80)}")
    if line.startswith(b"Not allowed at this time"):
        what = f"{host}: its sshd refuses the gateway for a while (PerSourcePenalties)"
        return make_failure(
            SSHD, what, "wait, or ask the administrator for PerSourcePenaltyExemptList"
        )
    if not line:
        return make_failure(SSHD, f"{host} hung up without an answer")
    text = clean(line.decode("utf-8", "replace"), 80)
    fix = ""
    if line.startswith(b"HTTP/"):
        fix = "HTTP answers there: name the gateway's SSH port"
    elif line[:1] == b"\x15":
        fix = "TLS answers there: name the gateway's SSH port"
    return make_failure(SSHD, f"{host} does not speak SSH: {text!r}", fix)


_BEHIND = (
    "this machine's clock is behind: synchronise it by NTP; if it is right, ask the administrator to check "
    "the gateway's"
)
_SSH: Sequence[tuple[str, str, str]] = (
    (
        r"(?m)^stagedoor: (?P<what>.+ key .+)\. Sign in first: ",
        KEY,
        "run ssh once without BatchMode, or: stagedoor login",
    ),
    (r"(?m)^stagedoor: (?P<what>.+)$", SHELL, ""),
    # The refusal of a jump (RFC 4254 §5.1) in OpenSSH's words. Later lines of ssh are consequences.
    (r"(?m)open failed: administratively prohibited: (?P<what>.*\bgrant\b.*)$", GRANT, ""),
    (r"(?m)open failed: [a-z ]+: (?P<what>.+)$", SHELL, ""),
    # Before "No … host key is known", which ssh prints as a consequence.
    (r"Certificate invalid: not yet valid", CLOCK, _BEHIND),
    (r"REMOTE HOST IDENTIFICATION HAS CHANGED", HOST_KEY, ""),
    (r"Host key verification failed|No \S+ host key is known", HOST_KEY, ""),
    (
        r"Certificate invalid: expired",
        HOST_KEY,
        "ask the administrator to renew the shell's certificate",
    ),
    (r"UNPROTECTED PRIVATE KEY FILE", KEY, "chmod 600 the key's file"),
    (
        r"Too many authentication failures",
        KEY,
        "name the key: IdentityFile, and IdentitiesOnly yes",
    ),
    (r"Permission denied \(", KEY, ""),
    (r"Bad configuration option|Bad owner or permissions|no argument after keyword", CONFIG, ""),
    (r"Could not resolve hostname", CONFIG, ""),
    (
        r"no matching (?:host key type|key exchange|cipher|MAC)",
        SSHD,
        "this ssh is too old: update it",
    ),
    (r"Connection refused|timed out|No route to host|Network is unreachable", GATEWAY, ""),
    (r"Connection (?:closed|reset)|kex_exchange_identification", SSHD, ""),
)


def judge_ssh_end(host: str, code: int, stderr: str) -> Result:
    """Judge a login with the user's own ssh, by its exit code and OpenSSH's messages."""
    if code == 0:
        return KEY, ok(f"ssh {host} logs in with your key")
    for pattern, hop, fix in _SSH:
        if match := re.search(pattern, stderr):
            text = match.groupdict().get("what") or _find_line(stderr, match.start())
            return make_failure(hop, f"ssh {host}: {clean(text)}", fix)
    last = next((line for line in reversed(stderr.splitlines()) if line.strip()), "no message")
    return make_failure(SHELL, f"ssh {host} exited with {code}: {clean(last)}")


def _find_line(text: str, at: int) -> str:
    start = text.rfind("\n", 0, at) + 1
    return text[start:].partition("\n")[0].strip("@ \t\r")


def judge_web_refusal(app: str, status: int, message: str, login: str = "") -> Result:
    """Judge the web's refusal of a terminal. `login` is the hint to log in, if the gateway offers it."""
    hop = {401: CREDENTIAL, 429: CREDENTIAL, 403: GRANT, 404: GRANT}.get(status, SHELL)
    if not message:
        return make_failure(GATEWAY, f"the server that answered {status} is not Stagedoor's web")
    return make_failure(hop, f"{app}: {clean(message)}", also=login)


def check_terminals(app: str, status: int, body: bytes) -> Result:
    """Judge the web's answer to a request for the list of terminals."""
    document = parse_object(body)
    if status != 200:
        return judge_web_refusal(app, status, parse_message(body))
    if document.get("state") != "ready":
        return SHELL, ok(f"the shell of {app} is not running; a login starts it")
    count = len(document.get("terminals", ()))
    return SHELL, ok(f"the shell of {app} is running; open terminals: {count}")


def parse_message(body: bytes) -> str:
    """Return the message of a refusal in JSON, or "" if it is not Stagedoor's."""
    return str(parse_object(body).get("message", ""))


def parse_object(body: bytes) -> dict[str, Any]:
    """Parse a JSON object. Return an empty one for anything else."""
    try:
        document = json.loads(body)
    except ValueError:
        return {}
    return document if isinstance(document, dict) else {}


@dataclass(frozen=True)
class SshRoute:
    """The route that `ssh HOST` takes.

    `tunnel_options` are options of `stagedoor tunnel`. `address` is the host and port of an SSH listener.
    """

    how: How
    tunnel_options: Mapping[str, str] = field(default_factory=dict)
    address: tuple[str, int] = ("", 22)


def judge_route(config: Mapping[str, str]) -> SshRoute:
    """Return the route in the output of `ssh -G HOST` (keywords in lower case).

    That output lacks the address of a jump host, so `address` then has its name and port 0. Raises
    TunnelError for wrong options of `stagedoor tunnel`.
    """
    words = shlex.split(config.get("proxycommand", "none"))
    for place, word in enumerate(words):
        if word == "tunnel" or word.endswith(".py"):
            options, _ = parse_argv(words[place + 1 :])
            return SshRoute("connect", options)
    if (jump := config.get("proxyjump", "none")) != "none":
        return SshRoute("jump", address=(jump.rpartition(",")[2], 0))
    port = config.get("port", "22")
    return SshRoute("direct", address=(config.get("hostname", ""), int(port)))


def parse_ssh_config(text: str) -> dict[str, str]:
    """Return the first value of each keyword in the output of `ssh -G`."""
    values: dict[str, str] = {}
    for line in text.splitlines():
        keyword, _, value = line.partition(" ")
        values.setdefault(keyword.lower(), value)
    return values


def judge_idle(survived_s: float, cut_s: float | None) -> Finding:
    """Judge the longest idle time that a connection survived, and the shortest that cut it, if any."""
    if cut_s is None:
        return ok(f"the connection survives {survived_s:.0f} s without traffic")
    return warn(
        f"the path drops a connection after {cut_s:.0f} s without traffic"
        + (f"; it survives {survived_s:.0f} s" if survived_s else ""),
        "in ssh_config: ServerAliveInterval 30 (stagedoor ssh-config writes it)",
    )
