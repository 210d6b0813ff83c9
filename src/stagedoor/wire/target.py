"""The names that a client may request; this grammar is the allow list.

    target      = app "-ssh" [ "." environment ]      ; app01-ssh, app01-ssh.staging
                / app [ "." environment ] ".ssh"      ; app01.ssh, app01.staging.ssh
    app         = label     ; not ending in "-ssh", and app "-ssh" is a label too (63 characters)
    environment = label     ; not "ssh"
    label       = as in RFC 1123 §2.1 and Kubernetes: [a-z0-9-], at most 63,
                  no hyphen at either end

Upper-case ASCII is folded first; a trailing dot is refused. The two rules on "ssh" ensure that no name
has two readings. An address in any notation never matches, because no address ends in ssh.
"""

import re
from collections.abc import Iterable

from stagedoor.model.denial import Denial, Reason
from stagedoor.model.errors import RefusedError
from stagedoor.model.target import (
    SHELL_SUFFIX,
    SSH_PORT,
    Target,
    is_valid_app,
    is_valid_environment,
)

MAX_SHOWN_CHARS = 100
"""The number of characters of a requested name that a message repeats."""

# Every pattern here is used with `fullmatch`: `match` with `$` would take a trailing newline.
# An address of inet_aton(3): one to four decimal, octal or hexadecimal numbers.
_INET_ATON = re.compile(r"(?:0x[0-9a-f]*|[0-9]+)(?:\.(?:0x[0-9a-f]*|[0-9]+)){0,3}\.?")
_DIGITS = re.compile(r"[0-9]+")


def parse_target(host: str, port: str | int | None = None) -> Target | Denial:
    """Parse the name and port that a client requests.

    `port` is the text from the wire, or None if the protocol has none (SSH, where the port is the
    gateway's own). A request that is no `uri-host ":" port` (RFC 9112 §3.2.3: a URL, a user part, `*`,
    no port, a port that is no number) is a BAD_REQUEST. A well-formed name that is not an app's is
    TARGET_NOT_ALLOWED.
    """
    # The normal case first: what this accepts passes every check below.
    if (
        host.isascii()
        and (port is None or str(port) == str(SSH_PORT))
        and (target := _read(host.lower())) is not None
    ):
        return target
    malformed = _malformed(host, port)
    if malformed is not None:
        return Denial(Reason.BAD_REQUEST, malformed)
    name = host.lower()
    if _is_address(name):
        return _not_allowed(
            f"{quote_name(host)}: addresses are not allowed; use the app's name, such as app01.ssh"
        )
    # One spelling only: int() would accept "+22", " 22", "2_2" and digits of other scripts.
    if port is not None and str(port) != str(SSH_PORT):
        return _not_allowed(
            f"{quote_name(host)}: port {_shown_port(port)} is not allowed; only port {SSH_PORT} is"
        )
    if name.endswith(".") and _read(name[:-1]) is not None:
        return _not_allowed(f"{quote_name(host)}: leave out the dot at the end")
    return _not_allowed(
        f"{quote_name(host)} does not name an app's shell; use a name such as app01.ssh, app01-ssh"
        " or app01.staging.ssh"
    )


def parse_login(name: str) -> Target | None:
    """Parse a login name as a target: `app01`, `app01.staging`, or a name that `parse_target` accepts.

    The short forms are for places where only an app can be meant (`ssh app01@gateway`).
    """
    name = name.lower() if name.isascii() else ""
    target = _read(name)
    if target is not None:
        return target
    app, dot, environment = name.partition(".")
    if not is_valid_app(app) or (dot and not is_valid_environment(environment)):
        return None
    return Target(app, environment if dot else None)


def require_app(name: str) -> Target:
    """Parse an app's name: `app01` or `app01.staging`, with or without `.ssh`. Raises RefusedError."""
    target = parse_login(name.removesuffix(".ssh"))
    if target is None:
        raise RefusedError(f"{name!r} is not an app's name; write APP or APP.ENVIRONMENT")
    return target


def may_name_app(name: str, apps: Iterable[Target]) -> bool:
    """Return True if a login as `name` may mean one of `apps`.

    `app01` means the app in any environment, and `app01.staging` in that environment. Every form that
    `parse_login` accepts counts.
    """
    target = parse_login(name)
    return target is not None and any(
        app.app == target.app and target.environment in (None, app.environment) for app in apps
    )


def quote_name(name: str) -> str:
    """Return a requested name, quoted, in a form that is safe in a message, a log or a terminal.

    The result is printable ASCII of at most 100 characters. A name with a user part is not repeated,
    because it may contain a password.
    """
    if "@" in name or "%40" in name:
        return "the name asked for"
    text = "".join(c if " " <= c <= "~" else "?" for c in name[: MAX_SHOWN_CHARS + 1])
    if len(text) > MAX_SHOWN_CHARS:
        text = text[: MAX_SHOWN_CHARS - 3] + "..."
    return f"'{text}'"


def _read(name: str) -> Target | None:
    environment: str | None = None
    match name.split("."):
        case [app, "ssh"]:
            pass
        case [app, environment, "ssh"]:
            pass
        case [shell] if shell.endswith(SHELL_SUFFIX):
            app = shell.removesuffix(SHELL_SUFFIX)
        case [shell, environment] if shell.endswith(SHELL_SUFFIX):
            app = shell.removesuffix(SHELL_SUFFIX)
        case _:
            return None
    if not is_valid_app(app) or (environment is not None and not is_valid_environment(environment)):
        return None
    return Target(app, environment)


def _malformed(host: str, port: str | int | None) -> str | None:
    """Return why this is no authority (RFC 9112 §3.2.3), or None."""
    if not host:
        return "no name was given; use a name such as app01.ssh"
    # Before lower(): it maps the Kelvin sign to k, and IDNA maps ſ to s and 。 to a dot.
    if not host.isascii() or not host.isprintable() or " " in host:
        return f"{quote_name(host)}: a name holds only ASCII letters, digits, hyphens and dots"
    if "@" in host:
        return "leave the user out of the name; a name and password go into Proxy-Authorization"
    if "/" in host:
        return (
            f"{quote_name(host)} is a URL; ask for a name and a port, such as app01.ssh:{SSH_PORT}"
        )
    if host == "*":
        return f"'*' is not a name; ask for a name and a port, such as app01.ssh:{SSH_PORT}"
    if port is not None and (isinstance(port, bool) or not _DIGITS.fullmatch(str(port))):
        if port == "":
            return f"{quote_name(host)}: the port is missing; ask for port {SSH_PORT}"
        return f"{quote_name(host)}: the port is not a number; ask for port {SSH_PORT}"
    return None


def _is_address(name: str) -> bool:
    """Return True if `name` is written as an address, which the message points out."""
    return ":" in name or name.startswith("[") or _INET_ATON.fullmatch(name) is not None


def _shown_port(port: str | int) -> str:
    text = str(port)
    return text if len(text) <= 10 else text[:10] + "..."


def _not_allowed(message: str) -> Denial:
    return Denial(Reason.TARGET_NOT_ALLOWED, message)
