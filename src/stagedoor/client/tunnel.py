"""The ProxyCommand client: one HTTP CONNECT (RFC 9110 §9.3.6) to the gateway, then ssh's bytes.

This one file runs alone (`stagedoor tunnel --print-script > tun.py`), on Linux and macOS, Python
3.8 or later. It imports nothing of Stagedoor, and at start only what every run needs: ssh waits
for it. stdout carries the tunnel and nothing else; each error is one line on stderr and a
distinct exit code (see `EXITS`).
"""
# It is longer than our modules may be, so that a single file can be copied to a laptop.
# Importing pathlib and contextlib would double the time of all imports at start:
# ruff: noqa: PTH110, PTH111, PTH118, PTH123, SIM105

from __future__ import annotations

import errno
import os
import select
import sys
import time

TYPE_CHECKING = False  # in place of that of `typing`, whose import costs 4 ms
if TYPE_CHECKING:
    import socket
    from collections.abc import Callable, Iterator
    from typing import TypeVar

    Result = TypeVar("Result")
else:
    try:
        import _socket as socket  # the C part of `socket` is enough here, and loads 8 ms faster
    except ImportError:
        import socket

OK, USAGE = 0, 2
UNREACHABLE, TLS, NOT_PROXY, NO_ANSWER, CREDENTIAL, FORBIDDEN = 10, 11, 12, 13, 14, 15
NO_SHELL, BUSY, START_TIMEOUT, REFUSED, VIA, LOST = 16, 17, 18, 19, 20, 21
INTERNAL, INTERRUPTED = 70, 130

EXITS = {
    OK: "the tunnel ended in order, or the socket was passed to ssh",
    USAGE: "the command line, a STAGEDOOR_… variable or a proxy variable is wrong",
    UNREACHABLE: "the gateway's name does not resolve, or nothing answers there",
    TLS: "TLS with the gateway failed, its certificate included",
    NOT_PROXY: "what answered is not an HTTP proxy",
    NO_ANSWER: "the gateway hung up or fell silent before its answer was complete",
    CREDENTIAL: "407: no credential, a refused one, or one that could not be read",
    FORBIDDEN: "403: this target is not for you",
    NO_SHELL: "404 or 502: no such app, or its shell does not answer or lets nobody in",
    BUSY: "429 or 503, after three tries",
    START_TIMEOUT: "504: the shell did not start or answer in time",
    REFUSED: "any other refusal",
    VIA: "the corporate proxy in front of the gateway refused",
    LOST: "the connection was lost after the tunnel was open",
    INTERNAL: "a fault in this program",
    INTERRUPTED: "interrupted (Ctrl-C)",
}

OPTIONS = {
    "--gateway": ("ADDRESS", "HOST:PORT, http://… or https://… ($STAGEDOOR_GATEWAY)"),
    "--user": ("NAME", "who you are at the gateway ($STAGEDOOR_USER, else your login name)"),
    "--token-file": ("FILE", "holds the token or password, mode 0600 ($STAGEDOOR_TOKEN_FILE)"),
    "--credential-helper": (
        "COMMAND",
        "prints the token or password ($STAGEDOOR_CREDENTIAL_HELPER)",
    ),
    "--via": ("URL", "corporate proxy http://HOST:PORT to the gateway, or 'direct' for none"),
    "--ca-file": ("FILE", "trust these CAs for https, not the system's ($STAGEDOOR_CA_FILE)"),
    "--server-name": ("NAME", "the name that the gateway's certificate must hold"),
    "--timeout": ("SECONDS", "wait so long for an answer, a shell's cold start included (150)"),
    "--fdpass": ("", "hand the connected socket to ssh (ProxyUseFdpass yes) and exit"),
    "--print-script": ("", "print this program as one file that runs on its own"),
    "--help": ("", "print this"),
}

HELP = """\
Usage: stagedoor tunnel [OPTION]… HOST [PORT]

Opens an HTTP CONNECT tunnel through the gateway to HOST:PORT (22) on stdin and stdout,
for ssh's ProxyCommand.

Examples:
  ssh -o 'ProxyCommand=stagedoor tunnel --gateway gw.example:8022 %h %p' app01.ssh
  ssh -o 'ProxyCommand=stagedoor tunnel --gateway gw.example:8022 --fdpass %h %p' \\
      -o ProxyUseFdpass=yes app01.ssh
  stagedoor tunnel --print-script > tun.py
  ssh -o 'ProxyCommand=python3 tun.py --gateway https://gw.example %h %p' app01.ssh

Options:
{options}

The credential is the first found of: the token file (--token-file, $STAGEDOOR_TOKEN_FILE,
~/.config/stagedoor/token); the credential helper, which gets $STAGEDOOR_GATEWAY and
$STAGEDOOR_USER; the keyring (secret-tool with the attributes
'service stagedoor gateway HOST:PORT user NAME', on macOS the service 'stagedoor:HOST:PORT');
$STAGEDOOR_TOKEN; $STAGEDOOR_PASSWORD. Only when the gateway asks for one and none was found,
SSH_ASKPASS or the terminal is asked. None is ever taken from the command line.

The corporate proxy is the first found of: --via; $STAGEDOOR_VIA; for an https gateway
https_proxy, for any other http_proxy; all_proxy. no_proxy is honoured, and loopback gateways
are always reached directly. Its own credential is in the variable's URL or in ~/.netrc.

Exit codes:
{exits}
"""

CHUNK = 64 * 1024
HEAD_LIMIT = 16 * 1024  # bytes of one answer's header, interim answers (1xx) included
BODY_LIMIT = 4 * 1024  # bytes of a refusal's body that are read
REASON_LIMIT = 500  # characters of it that are shown
LINE_LIMIT = 1000  # characters of any line that is shown
CONNECT_TIMEOUT_S = 10.0  # TCP and TLS, each
HEAD_TIMEOUT_S = 10.0  # from an answer's first byte to its last
BODY_TIMEOUT_S = 2.0
TIMEOUT_S = 150.0  # above a gateway's usual start time-out, so that its own reason arrives first
HELPER_LIMIT = 64 * 1024  # bytes that a helper may print; a secret is one line
HELPER_TIMEOUT_S = 60.0  # a keyring may ask its owner to unlock it
STAGGER_S = 0.25  # RFC 8305 §5, Connection Attempt Delay
TRIES = 3  # at 429 and 503; at a prompt
LONGEST_RETRY_S = 30.0  # a longer Retry-After is reported, not waited for
PATIENT_S = 2.0  # a start that takes longer has its progress shown in a log too
STEP_SHOWN = 60  # characters of a step that fit beside the rest in a terminal's line
HEARD = 2048  # bytes: a refusal in place of SSH, with the gateway's explanation
EXPLAINED = b"stagedoor: "  # the beginning of the gateway's explanation of such a refusal
GONE_TIMEOUT_S = 10.0  # to send the remaining data once ssh has exited


class TunnelError(Exception):
    """An error with an exit code, and a `line` for the person: what happened, and how to fix it."""

    def __init__(self, code: int, line: str) -> None:
        super().__init__(line)
        self.code = code
        self.line = line


class LocalClosedError(Exception):
    """ssh no longer reads."""


def clean(text: str, limit: int = LINE_LIMIT) -> str:
    """Return one printable line: control, format and bidi characters become `?`, blanks collapse."""
    line = " ".join(text.split())
    return "".join(c if c.isprintable() else "?" for c in line)[:limit]


def show(text: str) -> bool:
    """Write to stderr; return False if that fails. A closed stderr must not end the tunnel."""
    try:
        sys.stderr.write(text)
        sys.stderr.flush()
    except (OSError, ValueError):
        return False
    return True


# ---- command line and environment --------------------------------------------------------------


class Address:
    """The address of an HTTP proxy. `source` is the option or variable that named it."""

    def __init__(self, scheme: str, host: str, port: int, userinfo: str, source: str) -> None:
        self.scheme = scheme
        self.host = host
        self.port = port
        self.userinfo = userinfo
        self.source = source

    def __str__(self) -> str:
        return authority(self.host, self.port)


class Options:
    """The command line and the environment, checked."""

    def __init__(
        self,
        given: dict[str, str],
        target: list[str],
        env: dict[str, str],
        gateway_option: str = "--gateway",
        trust: str = "give --ca-file, or --server-name if it is known by another name",
    ) -> None:
        """Check the options. Raises TunnelError.

        Errors use the words of the command that runs: `gateway_option` is its option for the gateway, and
        `trust` its advice about an untrusted certificate.
        """
        self.trust = trust
        self.env = env
        if not target or len(target) > 2:
            raise TunnelError(USAGE, "give HOST and PORT; try 'stagedoor tunnel --help'")
        self.host = checked_host(target[0], "HOST")
        self.port = checked_port(target[1] if len(target) > 1 else "22", "PORT")
        address, source = first(
            (given.get("--gateway"), gateway_option),
            (env.get("STAGEDOOR_GATEWAY"), "STAGEDOOR_GATEWAY"),
        )
        if not address:
            raise TunnelError(
                USAGE, "no gateway is named: give --gateway HOST:PORT or set STAGEDOOR_GATEWAY"
            )
        self.gateway = parse_gateway(address, source)
        self.user = given.get("--user") or login_name(env)
        if ":" in self.user or not self.user.isprintable():  # RFC 7617 §2
            raise TunnelError(
                USAGE, f"the user name {self.user!r} holds ':' or a control character"
            )
        self.token_file = given.get("--token-file") or env.get("STAGEDOOR_TOKEN_FILE")
        self.helper = given.get("--credential-helper") or env.get("STAGEDOOR_CREDENTIAL_HELPER")
        self.via = corporate_proxy(given.get("--via"), self.gateway, env)
        self.ca_file = given.get("--ca-file") or env.get("STAGEDOOR_CA_FILE")
        self.server_name = given.get("--server-name") or self.gateway.host
        self.fdpass = "--fdpass" in given
        try:
            self.timeout_s = float(given.get("--timeout", TIMEOUT_S))
        except ValueError:
            self.timeout_s = 0.0
        if not 0 < self.timeout_s <= 86400:
            raise TunnelError(USAGE, "--timeout must be a number of seconds above 0")


def first(*candidates: tuple[str | None, str]) -> tuple[str, str]:
    """Return the first (value, source) with a value that is not empty, or two empty strings."""
    return next(((value, source) for value, source in candidates if value), ("", ""))


def parse_argv(argv: list[str]) -> tuple[dict[str, str], list[str]]:
    """Return the options by name, `""` for those without a value, and the other words in order.

    Raises TunnelError.
    """
    given: dict[str, str] = {}
    words: list[str] = []
    rest = iter(argv)
    for word in rest:
        if word == "--":
            words.extend(rest)
        elif not word.startswith("-") or word == "-":
            words.append(word)
        else:
            name, equals, value = word.partition("=")
            name = "--help" if name == "-h" else name
            if name not in OPTIONS:
                raise TunnelError(USAGE, f"unknown option {name}; try 'stagedoor tunnel --help'")
            wants_value = bool(OPTIONS[name][0])
            if equals and not wants_value:
                raise TunnelError(USAGE, f"{name} takes no value")
            if wants_value and not equals:
                value = next(rest, "")
            if wants_value and not value:
                raise TunnelError(USAGE, f"{name} needs a value: {name} {OPTIONS[name][0]}")
            given[name] = value
    return given, words


def authority(host: str, port: int) -> str:
    """Return `host:port`, with an IPv6 literal in brackets (RFC 3986 §3.2.2)."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def checked_host(text: str, what: str) -> str:
    """Return a host that is valid in a request line, without brackets. Raises TunnelError."""
    host = text[1:-1] if text.startswith("[") and text.endswith("]") else text
    if not host or not all("!" <= c <= "~" and c not in "/\\@[]?#" for c in host):
        raise TunnelError(USAGE, f"{what} {text!r} is not a host name")
    return host


def checked_port(text: str, what: str) -> int:
    """Return a port as a number. Raises TunnelError."""
    if not (text.isascii() and text.isdigit() and len(text) <= 5 and 0 < int(text) < 65536):
        raise TunnelError(USAGE, f"{what} {text!r} is not a port: give 1 to 65535")
    return int(text)


def parse_address(text: str, source: str) -> Address:
    """Parse `HOST:PORT`, `http://HOST[:PORT]` or `https://HOST[:PORT]`. Raises TunnelError."""
    scheme, slashes, rest = text.strip().partition("://")
    if not slashes:
        scheme, rest = "", text.strip()
    if scheme.lower() not in ("", "http", "https"):
        raise TunnelError(
            USAGE, f"{source} names a {scheme}:// proxy: only http:// and https:// are spoken here"
        )
    rest = rest[:-1] if rest.endswith("/") else rest
    userinfo, _, place = rest.rpartition("@")
    host, colon, port = place.rpartition(":")
    if not colon or "]" in port:
        host, port = place, {"http": "80", "https": "443"}.get(scheme.lower(), "")
    if not port:
        raise TunnelError(USAGE, f"{source} names no port: give HOST:PORT")
    return Address(
        scheme.lower() or "http",
        checked_host(host, source).lower(),
        checked_port(port, source),
        userinfo,
        source,
    )


def parse_gateway(text: str, source: str) -> Address:
    """Parse a gateway's address; refuse a name and password, which the process list would show.

    Raises TunnelError.
    """
    gateway = parse_address(text, source)
    if gateway.userinfo:
        raise TunnelError(
            USAGE, f"{source} must not hold a name or password: use --user and a token file"
        )
    return gateway


def login_name(env: dict[str, str]) -> str:
    """Return the user's name at the gateway: STAGEDOOR_USER or the login name. Raises TunnelError."""
    name = env.get("STAGEDOOR_USER") or env.get("LOGNAME") or env.get("USER")
    if not name:
        import pwd

        try:
            name = pwd.getpwuid(os.getuid()).pw_name
        except KeyError:
            raise TunnelError(USAGE, "who are you? set STAGEDOOR_USER=NAME") from None
    return name


def corporate_proxy(option: str | None, gateway: Address, env: dict[str, str]) -> Address | None:
    """Return the proxy in front of the gateway, chosen as curl does; None for a direct connection.

    `HTTP_PROXY` in capitals is not read: a CGI script's caller can set it (httpoxy).
    """
    names = ["http_proxy"] if gateway.scheme == "http" else ["https_proxy", "HTTPS_PROXY"]
    names += ["all_proxy", "ALL_PROXY"]
    chosen = [(option, "--via"), (env.get("STAGEDOOR_VIA"), "STAGEDOOR_VIA")]
    if not bypassed(gateway, env.get("no_proxy") or env.get("NO_PROXY") or ""):
        chosen += [(env.get(name), name) for name in names]
    text, source = first(*chosen)
    if not text or text == "direct":
        return None
    via = parse_address(text, source)
    if via.scheme != "http":
        name = via_named(source)
        raise TunnelError(
            USAGE, f"{source} names an https:// proxy: {name}http://HOST:PORT, or {name}direct"
        )
    if option and via.userinfo:
        raise TunnelError(
            USAGE,
            "--via must not hold a password, which other users could read in the process list: "
            "set STAGEDOOR_VIA, or add the proxy to ~/.netrc",
        )
    return via


def via_named(source: str) -> str:
    """Return the option or variable to name another proxy with: not all commands have the option."""
    return "--via " if source == "--via" else "STAGEDOOR_VIA="


def bypassed(gateway: Address, no_proxy: str) -> bool:
    """Return True if the gateway is reached without a proxy: it is local, or `no_proxy` lists it.

    `no_proxy` has names, domains, addresses and networks, separated by commas.
    """
    host = gateway.host.rstrip(".")
    if host == "localhost" or host == "::1" or host.startswith("127."):
        return True
    for entry in no_proxy.lower().replace(",", " ").split():
        if "/" in entry:
            import ipaddress

            try:
                if ipaddress.ip_address(host) in ipaddress.ip_network(entry, strict=False):
                    return True
            except ValueError:
                continue
        name = entry.lstrip("*").lstrip(".")
        if entry == "*" or name in (host, str(gateway)) or (name and host.endswith("." + name)):
            return True
    return False


# ---- the credential ----------------------------------------------------------------------------


class Secret:
    """A secret, its source, and the fix to suggest when the gateway refuses it."""

    def __init__(self, value: str, source: str, fix: str) -> None:
        self.value = value
        self.source = source
        self.fix = fix


def default_token_file(env: dict[str, str]) -> str:
    """Return the path of the token file in the person's configuration folder."""
    home = env.get("XDG_CONFIG_HOME") or os.path.join(os.path.expanduser("~"), ".config")
    return os.path.join(home, "stagedoor", "token")


def find_secret(options: Options) -> Secret | None:
    """Return the first secret available without asking a person, or None. Raises TunnelError."""
    return (
        from_token_file(options)
        or from_helper(options)
        or from_keyring(options)
        or from_environment(options)
    )


def checked_secret(text: str, source: str, fix: str) -> Secret | None:
    """Return the first line of `text` as a secret; None if it is empty. Raises TunnelError."""
    value = text.strip("\r\n").split("\n")[0].rstrip("\r")
    if any(c < " " or c == "\x7f" for c in value):  # RFC 7617 §2
        raise TunnelError(CREDENTIAL, f"{source} holds a control character; {fix}")
    return Secret(value, source, fix) if value else None


def from_token_file(options: Options) -> Secret | None:
    """Read the token file; None if the default one does not exist. Raises TunnelError."""
    path = options.token_file or default_token_file(options.env)
    source = f"the token file {path}"
    try:
        with open(path, "rb") as file:
            status = os.fstat(file.fileno())
            content = file.read(8192)
    except OSError as error:
        if options.token_file is None and error.errno in (errno.ENOENT, errno.ENOTDIR):
            return None
        raise TunnelError(CREDENTIAL, f"cannot read {source}: {error.strerror}") from None
    if status.st_mode & 0o077 or status.st_uid not in (0, os.geteuid()):
        raise TunnelError(
            CREDENTIAL,
            f"{source} is open to other users, so it was not used; "
            f"fix: chmod 600 {path}, and have a new token made, as that one may be known",
        )
    secret = checked_secret(
        content.decode("utf-8", "replace"), source, "fix: put a new token into it"
    )
    if secret is None:
        raise TunnelError(CREDENTIAL, f"{source} is empty; fix: put your token into it")
    return secret


def output_of(command: list[str], env: dict[str, str], quiet: bool) -> tuple[int, str]:
    """Run a program without ssh's stdin; return its exit status and stdout. Raises OSError."""
    import subprocess

    deadline = time.monotonic() + HELPER_TIMEOUT_S
    program = subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL if quiet else None,
        env=env,
    )
    assert program.stdout is not None
    text = b""
    try:
        while ready(program.stdout.fileno(), select.POLLIN, max(deadline - time.monotonic(), 0.0)):
            more = os.read(program.stdout.fileno(), CHUNK)
            text += more
            if len(text) > HELPER_LIMIT:
                raise OSError(errno.EMSGSIZE, f"it printed more than {HELPER_LIMIT} bytes")
            if not more:
                status = program.wait(max(deadline - time.monotonic(), 0.0))
                return status, text.decode("utf-8", "replace")
    except subprocess.TimeoutExpired:
        pass  # it closed its output, but still runs
    finally:
        program.kill()
        program.wait()
        program.stdout.close()
    raise OSError(errno.ETIMEDOUT, f"no answer within {HELPER_TIMEOUT_S:.0f} s")


def from_helper(options: Options) -> Secret | None:
    """Run the credential helper; None if there is none. Raises TunnelError."""
    if not options.helper:
        return None
    import shlex

    source = f"the credential helper '{options.helper}'"
    env = dict(options.env, STAGEDOOR_GATEWAY=str(options.gateway), STAGEDOOR_USER=options.user)
    try:
        status, text = output_of(shlex.split(options.helper), env, quiet=False)
    except (OSError, ValueError, IndexError) as error:
        reason = getattr(error, "strerror", None) or error
        raise TunnelError(CREDENTIAL, f"{source} could not be run: {reason}") from None
    if status:
        raise TunnelError(CREDENTIAL, f"{source} failed with exit code {status}; run it by hand")
    return checked_secret(text, source, "fix: see what it prints")


def from_keyring(options: Options) -> Secret | None:
    """Look the secret up in the keyring; None without a keyring or an entry. Raises TunnelError."""
    gateway, user, env = str(options.gateway), options.user, options.env
    if sys.platform == "darwin":
        service = f"stagedoor:{gateway}"
        command = ["security", "find-generic-password", "-s", service, "-a", user, "-w"]
        fix = f"fix: security add-generic-password -U -s {service} -a {user} -w"
    else:
        bus = os.path.join(env.get("XDG_RUNTIME_DIR") or "/nonexistent", "bus")
        if not env.get("DBUS_SESSION_BUS_ADDRESS") and not os.path.exists(bus):
            return None
        attributes = ["service", "stagedoor", "gateway", gateway, "user", user]
        command = ["secret-tool", "lookup", *attributes]
        fix = f"fix: secret-tool store --label=Stagedoor {' '.join(attributes)}"
    places = env.get("PATH", os.defpath).split(os.pathsep)
    if not any(os.access(os.path.join(place, command[0]), os.X_OK) for place in places):
        return None
    try:
        status, text = output_of(command, env, quiet=True)
    except OSError:
        return None  # a broken or locked keyring counts as an empty one
    return checked_secret(text, "the keyring", fix) if status == 0 else None


def from_environment(options: Options) -> Secret | None:
    """Return the secret in STAGEDOOR_TOKEN or STAGEDOOR_PASSWORD, or None. Raises TunnelError."""
    value, name = first(
        *((options.env.get(n), n) for n in ("STAGEDOOR_TOKEN", "STAGEDOOR_PASSWORD"))
    )
    return checked_secret(value, f"the variable {name}", f"fix: set {name} again") if name else None


def ask_person(options: Options, rejected: str = "") -> Secret | None:
    """Ask as ssh(1) does: SSH_ASKPASS or the terminal, never stdin. None if there is neither.

    `rejected` is why the last answer was not accepted. It is shown only if the person is asked again;
    otherwise the error that follows has it.
    """
    notice = f"stagedoor: not accepted: {clean(rejected)}\n" if rejected else ""
    question = f"Password or token of {options.user} at {options.gateway}: "
    env, askpass = options.env, options.env.get("SSH_ASKPASS")
    wish = env.get("SSH_ASKPASS_REQUIRE", "")
    display = env.get("DISPLAY") or env.get("WAYLAND_DISPLAY")
    if askpass and (wish == "force" or (wish == "prefer" and display)):
        show(notice)
        return ask_program(askpass, question, env)
    try:
        terminal = os.open("/dev/tty", os.O_RDWR | os.O_NOCTTY)
    except OSError:
        usable = askpass and display and wish != "never"
        show(notice if usable else "")
        return ask_program(str(askpass), question, env) if usable else None
    import termios

    try:
        before = termios.tcgetattr(terminal)
        silent = [*before[:3], before[3] & ~termios.ECHO, *before[4:]]
        try:
            termios.tcsetattr(terminal, termios.TCSAFLUSH, silent)
            os.write(terminal, notice.encode() + clean(question).encode() + b" ")
            typed = b""
            while not typed.endswith(b"\n"):
                more = os.read(terminal, 1024)
                if not more:
                    break
                typed += more
        finally:
            termios.tcsetattr(terminal, termios.TCSAFLUSH, before)
            os.write(terminal, b"\n")
    except (OSError, termios.error):
        return None
    finally:
        os.close(terminal)
    return checked_secret(typed.decode("utf-8", "replace"), "the prompt", "fix: try again")


def ask_program(program: str, question: str, env: dict[str, str]) -> Secret | None:
    """Ask by an SSH_ASKPASS program; None if the person cancels. Raises TunnelError."""
    try:
        status, text = output_of([program, question], env, quiet=False)
    except OSError as error:
        raise TunnelError(
            CREDENTIAL, f"SSH_ASKPASS {program} could not be run: {error.strerror}"
        ) from None
    return checked_secret(text, f"SSH_ASKPASS {program}", "fix: try again") if not status else None


def via_credential(via: Address, env: dict[str, str]) -> str | None:
    """Return `name:password` for the corporate proxy, from its URL or ~/.netrc; None if neither has it.

    Raises TunnelError.
    """
    if via.userinfo:
        from urllib.parse import unquote

        return unquote(via.userinfo)
    path = env.get("NETRC") or os.path.join(os.path.expanduser("~"), ".netrc")
    if not os.path.exists(path):
        return None
    import netrc

    try:
        entry = netrc.netrc(path).authenticators(via.host)
    except (netrc.NetrcParseError, OSError, UnicodeDecodeError) as error:
        raise TunnelError(VIA, f"cannot read {path} for the corporate proxy: {error}") from None
    return f"{entry[0]}:{entry[2]}" if entry else None


# ---- the two ends ------------------------------------------------------------------------------


class Plain:
    """A TCP connection to a proxy. Each call does what is possible now, or raises BlockingIOError."""

    def __init__(self, sock: socket.socket, name: str) -> None:
        self.sock = sock
        self.name = name
        self.read_fd = self.write_fd = sock.fileno()
        self.awaited = ""  # the target that a person is waiting for
        self.step = ""  # the last step of a start that the gateway reported
        self.session = ""  # the gateway's id of the tunnel, by which an administrator finds it
        self.heard = b""  # the first bytes that came through the tunnel

    def peek(self, limit: int) -> bytes:
        """Return received bytes and leave them in place."""
        return self.sock.recv(limit, socket.MSG_PEEK)

    def recv(self, limit: int) -> bytes:
        """Return received bytes; none at the end."""
        return self.sock.recv(limit)

    def send(self, view: memoryview) -> int:
        """Send bytes; return how many were taken."""
        return self.sock.send(view)

    def flush(self) -> None:
        """Do nothing: nothing is buffered."""

    def end(self) -> None:
        """End the sending direction."""
        try:
            self.sock.shutdown(socket.SHUT_WR)
        except OSError as error:
            if error.errno != errno.ENOTCONN:  # reset already: the error of `recv` is clearer
                raise


class Sealed(Plain):
    """A TLS connection, through memory, so that the two directions never wait for each other."""

    def __init__(self, sock: socket.socket, name: str, options: Options) -> None:
        import ssl

        super().__init__(sock, name)
        self.errors = ssl
        try:
            context = ssl.create_default_context(cafile=options.ca_file)
            # As curl does: since 3.13 Python demands of private CAs what RFC 5280 demands of public ones.
            context.verify_flags &= ~ssl.VERIFY_X509_STRICT
        except OSError as error:  # ssl.SSLError too
            reason = error.strerror if error.errno == errno.ENOENT else "no PEM certificate in it"
            raise TunnelError(
                USAGE, f"cannot use the CA file {options.ca_file}: {reason}"
            ) from None
        context.set_alpn_protocols(["http/1.1"])
        self.incoming, self.outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.tls = context.wrap_bio(
            self.incoming, self.outgoing, server_hostname=options.server_name
        )
        self.clear = b""  # decrypted and not yet read
        self.cipher = b""  # encrypted and not yet sent
        self.ended = False
        self.shake_hands(options.trust)

    def shake_hands(self, trust: str) -> None:
        """Perform the TLS handshake. Raises TunnelError."""
        deadline = time.monotonic() + CONNECT_TIMEOUT_S
        try:
            while True:
                try:
                    self.tls.do_handshake()
                    return
                except self.errors.SSLWantReadError:
                    settle(self, self.flush, select.POLLOUT, deadline)
                    settle(self, self.fill, select.POLLIN, deadline)
        except self.errors.SSLCertVerificationError as error:
            line = f"the certificate of {self.name} is not trusted: {error.verify_message}; {trust}"
        except self.errors.SSLError as error:
            line = f"TLS with {self.name} failed: {error.reason or error}"
            if error.reason in ("WRONG_VERSION_NUMBER", "RECORD_LAYER_FAILURE", "HTTP_REQUEST"):
                line = f"{self.name} does not speak TLS; give its address as http://"
        except OSError as error:
            line = f"{self.name} hung up during the TLS handshake: {error.strerror or error}"
        raise TunnelError(TLS, line)

    def fill(self) -> None:
        """Feed received bytes, or their end, to the TLS layer."""
        data = self.sock.recv(CHUNK)
        if data:
            self.incoming.write(data)
        else:
            self.incoming.write_eof()

    def flush(self) -> None:
        """Send encrypted bytes that wait."""
        self.cipher += self.outgoing.read()
        while self.cipher:
            self.cipher = self.cipher[self.sock.send(self.cipher) :]

    def decrypt(self, limit: int) -> bytes | None:
        """Return decrypted bytes; None if the socket must be read first."""
        try:
            return self.tls.read(limit)
        except self.errors.SSLWantReadError:
            return None
        except self.errors.SSLZeroReturnError:
            return b""
        except self.errors.SSLError:
            # The peer closed without close_notify: SSH itself detects truncated data.
            if self.incoming.eof:
                return b""
            raise

    def recv(self, limit: int) -> bytes:
        """Return decrypted bytes; none at the end."""
        if self.clear:
            data, self.clear = self.clear[:limit], self.clear[limit:]
            return data
        while True:
            decrypted = self.decrypt(limit)
            if decrypted is not None:
                return decrypted
            try:
                self.flush()  # an answer to a key update
            except BlockingIOError:
                pass  # it is sent with the next data
            self.fill()

    def peek(self, limit: int) -> bytes:
        """Return decrypted bytes and keep them for the next read."""
        data = self.recv(limit)
        self.clear = data + self.clear
        return data

    def send(self, view: memoryview) -> int:
        """Encrypt bytes once earlier ones are sent; return how many were taken."""
        self.flush()
        return self.tls.write(view)

    def end(self) -> None:
        """Send close_notify, then FIN; the other side's data can still be received."""
        if not self.ended:
            # Undecrypted bytes would make OpenSSL's shutdown fail and lose them.
            while True:
                data = self.decrypt(CHUNK)
                if not data:
                    break
                self.clear += data
            try:
                self.tls.unwrap()
            except self.errors.SSLError:
                pass  # the peer's close_notify is missing; `recv` waits for it
            self.ended = True
        self.flush()
        super().end()


class Local:
    """The end towards ssh: two pipes, or one socket for both directions."""

    def __init__(self, read_fd: int, write_fd: int) -> None:
        import stat

        self.read_fd, self.write_fd = read_fd, write_fd
        self.restore: list[int] = []
        kinds = {fd: os.fstat(fd).st_mode for fd in (read_fd, write_fd)}
        self.is_socket = stat.S_ISSOCK(kinds[write_fd])
        for fd, mode in kinds.items():
            # A terminal's flags are shared with the person's shell, so they are not changed.
            if (stat.S_ISFIFO(mode) or stat.S_ISSOCK(mode)) and os.get_blocking(fd):
                os.set_blocking(fd, False)
                self.restore.append(fd)
        self.blocks = os.get_blocking(read_fd)

    def close(self) -> None:
        """Restore the descriptors' blocking mode."""
        for fd in self.restore:
            os.set_blocking(fd, True)

    def recv(self, limit: int) -> bytes:
        """Return bytes from ssh; none at the end."""
        if self.blocks and not ready(self.read_fd, select.POLLIN, 0.0):
            raise BlockingIOError
        try:
            return os.read(self.read_fd, limit)
        except BlockingIOError:
            raise
        except OSError:
            return b""

    def send(self, view: memoryview) -> int:
        """Send bytes to ssh; return how many were taken. Raises LocalClosedError."""
        try:
            return os.write(self.write_fd, view)
        except BlockingIOError:
            raise
        except OSError:
            raise LocalClosedError from None

    def flush(self) -> None:
        """Do nothing: nothing is buffered."""

    def end(self) -> None:
        """End the direction towards ssh. Raises LocalClosedError."""
        if self.is_socket:
            try:
                sock = socket.socket(fileno=os.dup(self.write_fd))
                sock.shutdown(socket.SHUT_WR)
                sock.close()
            except OSError:
                raise LocalClosedError from None
        else:
            # Not closed, or another file could get the same descriptor.
            null = os.open(os.devnull, os.O_WRONLY)
            os.dup2(null, self.write_fd)
            os.close(null)

    def is_gone(self) -> bool:
        """Return True if ssh no longer reads."""
        return ready(self.write_fd, 0, 0.0)


def ready(fd: int, event: int, wait_s: float) -> bool:
    """Wait up to `wait_s` seconds for `event`, an error or a hang-up; return True if it came."""
    poller = select.poll()
    poller.register(fd, event)
    return bool(poller.poll(max(0.0, wait_s) * 1000))


def settle(wire: Plain, call: Callable[[], Result], event: int, deadline: float) -> Result:
    """Repeat `call` until it does not block. Raises TunnelError (NO_ANSWER) at the deadline.

    On a terminal, the awaited target is shown after a second, and erased at the end.
    """
    start = time.monotonic()
    is_shown = False
    try:
        while True:
            try:
                return call()
            except BlockingIOError:
                now = time.monotonic()
            if now >= deadline:
                raise TunnelError(NO_ANSWER, f"{wire.name} gave no answer in time")
            may_show = wire.awaited and os.isatty(2)
            step_s = min(1.0, deadline - now) if may_show else deadline - now
            if not ready(wire.read_fd, event, step_s) and may_show:
                waited_s = time.monotonic() - start
                step = f" ({wire.step[:STEP_SHOWN]})" if wire.step else ""
                line = f"stagedoor: waiting for {clean(wire.awaited)}{step}, {waited_s:.0f} s"
                is_shown = show(f"\r{line}\x1b[K")
    finally:
        if is_shown:
            show("\r\x1b[K")


class PrefaceReader:
    """A reader of the wire that keeps its first bytes in `Plain.heard`."""

    def __init__(self, wire: Plain) -> None:
        self.wire = wire
        self.read_fd = wire.read_fd

    def recv(self, limit: int) -> bytes:
        """Return received bytes; none at the end."""
        data = self.wire.recv(limit)
        if len(self.wire.heard) <= HEARD:
            self.wire.heard += data[: HEARD + 1]
        return data


def carry(source: PrefaceReader | Local, sink: Plain | Local) -> Iterator[tuple[int, int] | None]:
    """Copy one direction's bytes, then its end. Yield each (fd, event) that it has to wait for.

    Yields None after each chunk, so that a fast direction never starves the other.
    """
    while True:
        try:
            data = source.recv(CHUNK)
        except BlockingIOError:
            yield source.read_fd, select.POLLIN
            continue
        view = memoryview(data)
        while True:
            try:
                if view:
                    view = view[sink.send(view) :]
                elif data:
                    sink.flush()
                    break
                else:
                    sink.end()
                    return
            except BlockingIOError:
                yield sink.write_fd, select.POLLOUT
        yield None


def pump(wire: Plain, local: Local) -> None:
    """Copy both directions until both have ended. Raises OSError if the gateway is lost."""
    upward, downward = carry(local, wire), carry(PrefaceReader(wire), local)
    live = [upward, downward]
    deadline = None  # set once ssh has exited
    try:
        while live:
            waits: dict[int, int] = {}
            moved = False
            for flow in list(live):
                try:
                    wish = next(flow)
                except (StopIteration, LocalClosedError):
                    live.remove(flow)
                    wish = None
                if wish is None:
                    moved = True
                else:
                    waits[wish[0]] = waits.get(wish[0], 0) | wish[1]
            if moved:
                continue
            if downward in live:
                waits.setdefault(local.write_fd, 0)  # to notice that ssh has exited
            poller = select.poll()
            for fd, event in waits.items():
                poller.register(fd, event)
            wait_s = None if deadline is None else max(0.0, deadline - time.monotonic())
            events = poller.poll(None if wait_s is None else wait_s * 1000)
            if not events:
                return
            if downward in live and local.is_gone():
                live.remove(downward)
                deadline = time.monotonic() + GONE_TIMEOUT_S
    except OSError:
        if not local.is_gone():
            raise


# ---- reaching the gateway ----------------------------------------------------------------------


def open_tcp(address: Address, name: str) -> socket.socket:
    """Connect to the first address that answers (RFC 8305). Raises TunnelError (UNREACHABLE)."""
    try:
        # As bytes: for a string Python would load its IDNA tables first.
        results = socket.getaddrinfo(
            address.host.encode("ascii"), address.port, type=socket.SOCK_STREAM
        )
    except OSError as error:
        line = f"cannot reach {name}: its name does not resolve ({error.strerror or error})"
        raise TunnelError(UNREACHABLE, f"{line}; check {address.source}") from None
    leading = [i for i in results if i[0] == results[0][0]]
    others = [i for i in results if i[0] != results[0][0]]
    queue = [i for pair in zip(leading, others) for i in pair]  # noqa: B905 - Python 3.8 runs this
    queue += leading[len(others) :] + others[len(leading) :]  # RFC 8305 §4: families alternate
    trying: dict[int, socket.socket] = {}
    deadline = time.monotonic() + CONNECT_TIMEOUT_S
    next_at = 0.0
    reason: str | None = "no answer within 10 s"
    try:
        while queue or trying:
            now = time.monotonic()
            if now >= deadline:
                break
            if queue and (not trying or now >= next_at):
                family, kind, protocol, _, place = queue.pop(0)
                next_at = now + STAGGER_S
                try:
                    sock = socket.socket(family, kind, protocol)
                except OSError as error:
                    reason = error.strerror
                    continue
                trying[sock.fileno()] = sock
                sock.setblocking(False)
                code = sock.connect_ex(place)
                if code not in (0, errno.EINPROGRESS):
                    reason = os.strerror(code)
                    trying.pop(sock.fileno()).close()
                continue
            poller = select.poll()
            for fd in trying:
                poller.register(fd, select.POLLOUT)
            until = min(next_at, deadline) if queue else deadline
            for fd, _event in poller.poll(max(0.0, until - now) * 1000):
                code = trying[fd].getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
                if code == 0:
                    return tuned(trying.pop(fd))
                reason = os.strerror(code)
                trying.pop(fd).close()
                next_at = 0.0
    finally:
        for sock in trying.values():
            sock.close()
    raise TunnelError(UNREACHABLE, f"cannot reach {name}: {reason}; check {address.source}")


def tuned(sock: socket.socket) -> socket.socket:
    """Return the socket, set to send keystrokes at once and to notice a dead peer in three minutes.

    A shorter sleep of the laptop is survived.
    """
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in (
        ("TCP_KEEPIDLE", 60),
        ("TCP_KEEPALIVE", 60),  # macOS's name for it
        ("TCP_KEEPINTVL", 15),
        ("TCP_KEEPCNT", 8),
        ("TCP_USER_TIMEOUT", 180_000),  # Linux, milliseconds (tcp(7))
    ):
        if hasattr(socket, name):
            sock.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)
    return sock


class Answer:
    """A proxy's answer; `reason` is one line that explains a refusal."""

    def __init__(self, status: int, phrase: str, fields: dict[str, str]) -> None:
        self.status = status
        self.phrase = phrase
        self.fields = fields
        self.reason = ""

    @property
    def opened(self) -> bool:
        """True if the proxy opened the tunnel."""
        return 200 <= self.status < 300  # RFC 9110 §9.3.6: any 2xx


def end_of_head(data: bytes, start: int) -> int:
    """Return the index after the empty line, or -1. A lone LF ends a line too (RFC 9112 §2.2)."""
    ends = [(data.find(mark, start), len(mark)) for mark in (b"\n\r\n", b"\n\n")]
    return min((at + size for at, size in ends if at >= 0), default=-1)


def read_head(wire: Plain, limit: int, answer_by: float) -> bytes:
    """Read exactly one header with its empty line, and nothing after it. Raises TunnelError."""
    head = b""
    deadline = answer_by
    while len(head) < limit:
        room = limit - len(head)
        try:
            seen = settle(wire, lambda: wire.peek(room), select.POLLIN, deadline)  # noqa: B023
        except OSError as error:
            seen, reason = b"", f" ({error.strerror or error})"
        else:
            reason = ""
        if not seen and not head:
            raise TunnelError(NO_ANSWER, f"{wire.name} hung up without an answer{reason}")
        whole = head + seen
        if not b"HTTP/1.".startswith(whole[:7]):
            raise TunnelError(NOT_PROXY, not_proxy(wire, whole))
        if not seen:
            raise TunnelError(NO_ANSWER, f"{wire.name} hung up in the midst of its answer{reason}")
        if not head:
            deadline = min(answer_by, time.monotonic() + HEAD_TIMEOUT_S)
        end = end_of_head(whole, max(0, len(head) - 2))
        stop = len(whole) if end < 0 else end
        while len(head) < stop:
            head += wire.recv(stop - len(head))
        if end >= 0:
            return head
    raise TunnelError(NOT_PROXY, f"{wire.name} sent a header of more than {HEAD_LIMIT} bytes")


def not_proxy(wire: Plain, data: bytes) -> str:
    """Return the error for an answer, `data`, that is not HTTP."""
    line = f"{wire.name} is not an HTTP proxy (got {clean(data[:60].decode('latin-1'))!r})"
    if data.startswith(b"SSH-"):
        line += "; an SSH server answers there: check the port"
    elif data[:1] == b"\x15":
        line += "; it speaks TLS: give its address as https://"
    return line


def parse_head(wire: Plain, head: bytes) -> Answer:
    """Parse a header by RFC 9112 §4 and §5, but check only what is needed. Raises TunnelError."""
    lines = head.decode("latin-1").split("\n")
    version, _, rest = lines[0].rstrip("\r").partition(" ")
    status, _, phrase = rest.partition(" ")
    well_formed = version in ("HTTP/1.0", "HTTP/1.1") and status.isascii() and status.isdigit()
    if not well_formed or len(status) != 3 or status < "100":
        raise TunnelError(NOT_PROXY, not_proxy(wire, head))
    fields: dict[str, str] = {}
    for line in lines[1:]:
        name, colon, value = line.partition(":")
        if colon:
            fields.setdefault(name.strip().lower(), value.strip())
    return Answer(int(status), phrase, fields)


def read_answer(wire: Plain, answer_by: float) -> Answer:
    """Read the final answer, with the reason of a refusal. Raises TunnelError."""
    room = HEAD_LIMIT
    began = time.monotonic()
    patient_until, patience_s = began + PATIENT_S, answer_by - began
    while True:
        head = read_head(wire, room, answer_by)
        room -= len(head)
        answer = parse_head(wire, head)
        # RFC 9110 §15.2: interim answers are skipped. 101 would be final, but was not requested.
        if answer.status >= 200 or answer.status == 101:
            break
        step = clean(answer.fields.get("stagedoor-progress", ""))
        if step:
            for_person = step.startswith(
                "step-up: "
            )  # a person has to act: shown at once, and once
            if for_person and step != wire.step:
                show(f"stagedoor: {clean(wire.awaited)}: {step}\n")
            wire.step = step
            # A gateway that reports progress gets more time: adding a node takes minutes.
            answer_by = time.monotonic() + patience_s
            if not (for_person or os.isatty(2)) and time.monotonic() >= patient_until:
                show(f"stagedoor: {clean(wire.awaited)}: {step}\n")
    if not answer.opened:
        answer.reason = clean(read_body(wire, answer) or answer.phrase, REASON_LIMIT)
    return answer


def read_body(wire: Plain, answer: Answer) -> str:
    """Return the first line of a refusal in plain text; empty if none arrives in time."""
    if not answer.fields.get("content-type", "").lower().startswith("text/plain"):
        return ""
    size = answer.fields.get("content-length", "")
    wanted = int(size) if size.isascii() and size.isdigit() and len(size) < 9 else BODY_LIMIT
    wanted = min(wanted, BODY_LIMIT)
    body = b""
    deadline = time.monotonic() + BODY_TIMEOUT_S
    try:
        while len(body) < wanted:
            left = wanted - len(body)
            more = settle(wire, lambda: wire.recv(left), select.POLLIN, deadline)  # noqa: B023
            if not more:
                break
            body += more
    except (OSError, TunnelError):
        pass  # use what was received
    return next((line for line in body.decode("utf-8", "replace").splitlines() if line.strip()), "")


def ask(wire: Plain, target: str, credential: str | None, answer_by: float) -> Answer:
    """Send the CONNECT request, in one write if possible, and return the answer. Raises TunnelError."""
    request = f"CONNECT {target} HTTP/1.1\r\nHost: {target}\r\nUser-Agent: stagedoor-tunnel\r\n"
    if wire.awaited:  # only for the gateway; a corporate proxy has no use for these
        request += "Stagedoor-Progress: 1\r\n"
        # https://opentelemetry.io/docs/specs/otel/context/env-carriers/
        trace = os.environ.get("TRACEPARENT", "")
        if len(trace) == 55 and not trace.strip("0123456789abcdef-"):
            request += f"traceparent: {trace}\r\n"
    if credential is not None:  # RFC 7617
        import binascii

        basic = binascii.b2a_base64(
            credential.encode("utf-8", "surrogateescape"), newline=False
        ).decode("ascii")
        request += f"Proxy-Authorization: Basic {basic}\r\n"
    view = memoryview(f"{request}\r\n".encode("ascii"))
    try:
        while view:
            part = view
            view = view[settle(wire, lambda: wire.send(part), select.POLLOUT, answer_by) :]  # noqa: B023
        settle(wire, wire.flush, select.POLLOUT, answer_by)
        return read_answer(wire, answer_by)
    except OSError as error:
        raise TunnelError(
            NO_ANSWER, f"{wire.name} hung up without an answer ({error.strerror or error})"
        ) from None


def reach(options: Options) -> Plain:
    """Connect to the gateway, by a corporate proxy if there is one, with TLS for https.

    Raises TunnelError.
    """
    gateway, via = options.gateway, options.via
    name = f"the gateway {gateway}"
    proxy = "" if via is None else f"the corporate proxy {via} (from {via.source})"
    sock = open_tcp(gateway, name) if via is None else open_tcp(via, proxy)
    try:
        if via is not None:
            pass_by(options, via, proxy, sock)
        return Sealed(sock, name, options) if gateway.scheme == "https" else Plain(sock, name)
    except BaseException:
        sock.close()
        raise


def pass_by(options: Options, via: Address, proxy: str, sock: socket.socket) -> None:
    """Ask the corporate proxy to connect to the gateway. Raises TunnelError."""
    credential = via_credential(via, options.env)
    patience = time.monotonic() + CONNECT_TIMEOUT_S * 3
    answer = ask(Plain(sock, proxy), str(options.gateway), credential, patience)
    if not answer.opened:
        fix = f"{via_named(via.source)}direct goes without it"
        if answer.status == 407:
            fix = "its credential belongs in STAGEDOOR_VIA or in ~/.netrc"
        raise TunnelError(
            VIA,
            f"{proxy} refused the way to {options.gateway}: {answer.status} {answer.reason}; {fix}",
        )


def open_tunnel(options: Options) -> Plain:
    """Open a tunnel to the target; the target's bytes come next on it. Raises TunnelError."""
    target = authority(options.host, options.port)
    secret = find_secret(options)
    prompts = busy = 0
    deadline = time.monotonic() + options.timeout_s
    while True:
        wire = reach(options)
        credential = None if secret is None else f"{options.user}:{secret.value}"
        wire.awaited = target
        answer = ask(wire, target, credential, deadline)
        if answer.opened:
            wire.session = answer.fields.get("stagedoor-session", "")
            warn_of_end(answer.fields.get("stagedoor-token-ends", ""))
            return wire
        wire.sock.close()
        if answer.status == 407 and (secret is None or prompts) and prompts < TRIES:
            prompts += 1
            secret = ask_person(options, answer.reason if prompts > 1 else "")
            if secret is not None:
                deadline = (
                    time.monotonic() + options.timeout_s
                )  # the time that the person took is not counted
                continue
        if answer.status in (429, 503):
            busy += 1
            pause_s = retry_after_s(answer, busy)
            if busy < TRIES and pause_s <= min(LONGEST_RETRY_S, deadline - time.monotonic()):
                if os.isatty(2):  # a log gets only the last answer
                    show(f"stagedoor: {answer.reason}; once more in {pause_s:.0f} s\n")
                time.sleep(pause_s)
                continue
        raise refusal(options, answer, secret)


def warn_of_end(ends: str) -> None:
    """Show on a terminal, but not in a log, when the token ends: `ends` is seconds since the epoch."""
    if not (ends.isascii() and ends.isdigit() and len(ends) < 12 and os.isatty(2)):
        return
    left_s = int(ends) - time.time()
    left = (
        f"{left_s / 86400:.0f} days" if left_s > 2 * 86400 else f"{max(0.0, left_s) / 3600:.0f} h"
    )
    show(
        f"stagedoor: your token ends in {left}; make another on your account's page, or ask for one\n"
    )


def retry_after_s(answer: Answer, tries: int) -> float:
    """Return Retry-After in seconds (RFC 9110 §10.2.3: seconds or a date); `tries` seconds without one."""
    text = answer.fields.get("retry-after", "")
    if text.isascii() and text.isdigit():
        return float(text[:9])
    if text:
        from email.utils import parsedate_to_datetime

        try:
            return max(0.0, parsedate_to_datetime(text).timestamp() - time.time())
        except (TypeError, ValueError, IndexError, OverflowError):
            pass  # an invalid date is ignored
    return float(tries)


def refusal(options: Options, answer: Answer, secret: Secret | None) -> TunnelError:
    """Return the error for a refusal, in one line: who refused what, why, and how to fix it."""
    status, reason = answer.status, answer.reason or "no reason given"
    place = f"the gateway {options.gateway}"
    target = authority(options.host, options.port)
    if status == 407 and secret is None:
        fix = f"put your token into {default_token_file(options.env)} (mode 0600)"
        line = (
            f"{place} wants a credential of {options.user} and none was found: {reason}; fix: {fix}"
        )
        return TunnelError(CREDENTIAL, line)
    if status == 407 and secret is not None:
        line = f"{place} refused the credential of {options.user} from {secret.source}: {reason}"
        return TunnelError(CREDENTIAL, f"{line}; {secret.fix}")
    if status == 403:
        return TunnelError(FORBIDDEN, f"{target} is not open to {options.user}: {reason}")
    if status == 404:
        return TunnelError(NO_SHELL, f"{target} is not there: {reason}; check its name")
    if status == 502:
        fix = "try again, which starts it if it is not running"
        return TunnelError(NO_SHELL, f"the shell of {target} does not answer: {reason}; {fix}")
    if status in (429, 503):
        wait_s = retry_after_s(answer, TRIES)
        line = f"{target} cannot be entered now ({status}): {reason}; try again in {wait_s:.0f} s"
        return TunnelError(BUSY, line)
    if status == 504:
        fix = "try again: what was started goes on starting"
        return TunnelError(START_TIMEOUT, f"{target} did not answer in time: {reason}; {fix}")
    return TunnelError(REFUSED, f"{place} refused {target}: {status} {reason}")


# ---- the tunnel to ssh -------------------------------------------------------------------------


def pass_socket(sock: socket.socket) -> None:
    """Hand `sock` to ssh over stdout (ssh_config(5), ProxyUseFdpass; SCM_RIGHTS in unix(7))."""
    number = sock.fileno().to_bytes(4, sys.byteorder)  # socket.send_fds came with Python 3.9
    try:
        stdout = socket.socket(fileno=os.dup(1))
        stdout.sendmsg([b"\0"], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, number)])
        stdout.close()
    except OSError as error:
        raise TunnelError(
            USAGE, f"--fdpass works under ssh's 'ProxyUseFdpass yes' only ({error.strerror})"
        ) from None


LAST_WORDS = 300
"""Bytes of a last message: ssh prints 400."""
LAST_WORDS_S = 5.0
DISCONNECT = 1
BY_APPLICATION = 11


def hand_over(wire: Plain) -> int:
    """Pass ssh the socket itself; for TLS pass one end of a socket pair, and relay at the other end.

    Return the exit code. Raises TunnelError.
    """
    if not isinstance(wire, Sealed):
        wire.sock.setblocking(True)
        pass_socket(wire.sock)
        return OK
    ours = stay_behind()
    return OK if ours is None else carry_on(wire, Local(ours.fileno(), ours.fileno()))


def stay_behind() -> socket.socket | None:
    """Pass ssh one end of a socket pair. Return the other end in a child process, and None in this one.

    ssh waits for this process to end before it continues.
    """
    ours, theirs = socket.socketpair()
    pass_socket(theirs)
    theirs.close()
    if os.fork():
        return None
    null = os.open(os.devnull, os.O_RDWR)
    for fd in (0, 1, 2):
        # Keep only a terminal: the reader of a pipe would wait until this process ends.
        if fd < 2 or not os.isatty(2):
            os.dup2(null, fd)
    return ours


def have_ssh_say(line: str) -> None:
    """Make ssh print `line` as its server's last message (RFC 4253 §11.1), not an error about sockets."""
    try:
        ours = stay_behind()
    except TunnelError:
        return  # not run by ssh; the line is on stderr
    if ours is None:
        return
    said = clean(line).encode("utf-8", "replace")[:LAST_WORDS]
    payload = bytes([DISCONNECT]) + pack_uint(BY_APPLICATION)
    payload += pack_uint(len(said)) + said + pack_uint(0)
    padding = 16 - (5 + len(payload)) % 8
    packet = pack_uint(1 + len(payload) + padding) + bytes([padding]) + payload + bytes(padding)
    ours.settimeout(LAST_WORDS_S)
    try:
        ours.sendall(b"SSH-2.0-stagedoor\r\n" + packet)
        while ours.recv(4096):
            pass
    except OSError:
        pass
    os._exit(OK)


def pack_uint(number: int) -> bytes:
    """Return a uint32 of the SSH protocol."""
    return number.to_bytes(4, "big")


def refused_by(heard: bytes) -> str:
    """Return why the shell's SSH server refused, if it sent one line in place of SSH (RFC 4253 §4.2).

    Otherwise return an empty string. The gateway adds its own line, which says how to fix it.
    """
    if heard.startswith(b"SSH-") or len(heard) > HEARD:
        return ""
    lines = heard.split(b"\n")
    if len(lines) > 2 and lines[1].startswith(EXPLAINED):
        return clean(lines[1][len(EXPLAINED) :].decode("utf-8", "replace"), REASON_LIMIT)
    if len(lines) == 2 and not lines[1]:
        return f"its SSH server said {clean(lines[0].decode('utf-8', 'replace'))!r} and hung up"
    return ""


def carry_on(wire: Plain, local: Local) -> int:
    """Relay between the gateway and ssh to the end; return the exit code. Raises TunnelError."""
    start = time.monotonic()
    lost = None
    try:
        pump(wire, local)
    except OSError as error:
        lost = error
    finally:
        local.close()
    refused = refused_by(wire.heard)
    if refused:
        raise TunnelError(NO_SHELL, f"{clean(wire.awaited)} let nobody in: {refused}")
    if lost is not None:
        after_s = time.monotonic() - start
        reason = lost.strerror or str(lost)
        session = f" (session {wire.session})" if wire.session else ""
        line = f"the connection to {wire.name} was lost after {after_s:.0f} s: {reason}{session}"
        raise TunnelError(LOST, line)
    return OK


def help_text() -> str:
    """Return the text of `--help`."""
    options = [(f"{name} {value}".strip(), text) for name, (value, text) in OPTIONS.items()]
    return HELP.format(
        options="\n".join(f"  {name:28} {text}" for name, text in options),
        exits="\n".join(f"  {code:4} {text}" for code, text in EXITS.items()),
    )


def run(argv: list[str]) -> int:
    """Run with `argv` and return the exit code. Raises TunnelError."""
    given, words = parse_argv(argv)
    if "--help" in given:
        sys.stdout.write(help_text())
        return OK
    if "--print-script" in given:
        with open(__file__, encoding="utf-8") as file:
            sys.stdout.write(file.read())
        return OK
    options = Options(given, words, dict(os.environ))
    try:
        wire = open_tunnel(options)
    except TunnelError as error:
        if options.fdpass:
            show(f"stagedoor: {clean(error.line)}\n")
            have_ssh_say(error.line)
            return error.code
        raise
    return hand_over(wire) if options.fdpass else carry_on(wire, Local(0, 1))


def main(argv: list[str]) -> int:
    """Run with `argv`, without the program's name, and return the exit code (see `EXITS`)."""
    for fd in (0, 1, 2):  # or a socket could get the number of a closed stdin or stderr
        try:
            os.fstat(fd)
        except OSError:
            os.open(os.devnull, os.O_RDWR)
    try:
        return run(argv)
    except TunnelError as error:
        show(f"stagedoor: {clean(error.line)}\n")
        return error.code
    except KeyboardInterrupt:
        return INTERRUPTED
    except Exception as error:  # a person who only wants to log in gets no traceback
        line = f"a fault in stagedoor tunnel: {type(error).__name__}: {error}; please report it"
        show(f"stagedoor: {clean(line)}\n")
        return INTERNAL


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
