"""The credential, from the sources without a prompt: a file, a helper, the keyring, the environment."""

from __future__ import annotations

import errno
import os
import select
import sys
import time

from stagedoor.laptop.tunnel.address import choose_first
from stagedoor.laptop.tunnel.errors import CREDENTIAL, TunnelError
from stagedoor.laptop.tunnel.wire import CHUNK, wait_until_ready

TYPE_CHECKING = False
if TYPE_CHECKING:
    from stagedoor.laptop.tunnel.options import Options

HELPER_LIMIT = 64 * 1024  # bytes of output; a secret is one line
HELPER_TIMEOUT_S = 60.0  # long enough to unlock a keyring


class Secret:
    """A secret, its source, and the fix to suggest if the gateway refuses it."""

    def __init__(self, value: str, source: str, fix: str) -> None:
        self.value = value
        self.source = source
        self.fix = fix


def find_token_file(env: dict[str, str]) -> str:
    """Return the path of the default token file, in the user's configuration folder."""
    home = env.get("XDG_CONFIG_HOME") or os.path.join(os.path.expanduser("~"), ".config")
    return os.path.join(home, "stagedoor", "token")


def find_secret(options: Options, default_file: bool = True) -> Secret | None:
    """Return the first secret that is available without a prompt, or None. Raises TunnelError.

    The default token file does not name its gateway. Without `default_file` it is not used.
    """
    may_use_file = default_file or options.token_file is not None
    return (
        (read_token_file(options) if may_use_file else None)
        or run_helper(options)
        or read_keyring(options)
        or read_environment(options)
    )


def check_secret(text: str, source: str, fix: str) -> Secret | None:
    """Return the first line of `text` as a secret, or None if it is empty. Raises TunnelError."""
    value = text.strip("\r\n").split("\n")[0].rstrip("\r")
    if any(c < " " or c == "\x7f" for c in value):  # RFC 7617 §2
        raise TunnelError(CREDENTIAL, f"{source} contains a control character; {fix}")
    return Secret(value, source, fix) if value else None


def read_token_file(options: Options) -> Secret | None:
    """Read the token file. Return None if the default file does not exist. Raises TunnelError."""
    path = options.token_file or find_token_file(options.env)
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
            f"fix: chmod 600 {path}, and replace the token, which others may have read",
        )
    secret = check_secret(
        content.decode("utf-8", "replace"), source, "fix: put a new token into it"
    )
    if secret is None:
        raise TunnelError(CREDENTIAL, f"{source} is empty; fix: put your token into it")
    return secret


def run_program(command: list[str], env: dict[str, str], quiet: bool) -> tuple[int, str]:
    """Run a program with an empty stdin, and return its exit status and stdout. Raises OSError."""
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
        while wait_until_ready(
            program.stdout.fileno(), select.POLLIN, max(deadline - time.monotonic(), 0.0)
        ):
            more = os.read(program.stdout.fileno(), CHUNK)
            text += more
            if len(text) > HELPER_LIMIT:
                raise OSError(errno.EMSGSIZE, f"it printed more than {HELPER_LIMIT} bytes")
            if not more:
                status = program.wait(max(deadline - time.monotonic(), 0.0))
                return status, text.decode("utf-8", "replace")
    except subprocess.TimeoutExpired:
        pass  # it closed its stdout, but did not exit
    finally:
        program.kill()
        program.wait()
        program.stdout.close()
    raise OSError(errno.ETIMEDOUT, f"no answer within {HELPER_TIMEOUT_S:.0f} s")


def run_helper(options: Options) -> Secret | None:
    """Run the credential helper. Return None if there is none. Raises TunnelError."""
    if not options.helper:
        return None
    import shlex

    source = f"the credential helper '{options.helper}'"
    env = dict(options.env, STAGEDOOR_GATEWAY=str(options.gateway), STAGEDOOR_USER=options.user)
    try:
        status, text = run_program(shlex.split(options.helper), env, quiet=False)
    except (OSError, ValueError, IndexError) as error:
        reason = getattr(error, "strerror", None) or error
        raise TunnelError(CREDENTIAL, f"{source} could not be run: {reason}") from None
    if status:
        raise TunnelError(
            CREDENTIAL, f"{source} failed with exit code {status}; run it yourself to see why"
        )
    return check_secret(text, source, "fix: see what it prints")


def read_keyring(options: Options) -> Secret | None:
    """Look up the secret in the keyring. Return None without a keyring or an entry. Raises TunnelError."""
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
    folders = env.get("PATH", os.defpath).split(os.pathsep)
    if not any(os.access(os.path.join(folder, command[0]), os.X_OK) for folder in folders):
        return None
    try:
        status, text = run_program(command, env, quiet=True)
    except OSError:
        return None  # a broken or locked keyring counts as an empty one
    return check_secret(text, "the keyring", fix) if status == 0 else None


def read_environment(options: Options) -> Secret | None:
    """Return the secret in STAGEDOOR_TOKEN or STAGEDOOR_PASSWORD, or None. Raises TunnelError."""
    value, name = choose_first(
        *((options.env.get(n), n) for n in ("STAGEDOOR_TOKEN", "STAGEDOOR_PASSWORD"))
    )
    return check_secret(value, f"the variable {name}", f"fix: set {name} again") if name else None
