"""The client that a gateway serves, as one file: `tunnel`, `login`, `logout`, `whoami` and `doctor`.

Standard library only, Python 3.8 or later.
"""

from __future__ import annotations

import os
import sys

from stagedoor.client.needed import folder_in, is_fresh, since_in

TYPE_CHECKING = False
if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable
    from pathlib import Path

OK, INTERNAL, INTERRUPTED = 0, 70, 130
ID_TOKEN_LIMIT = 8 * 1024
"""The gateway takes no longer one."""


def main(argv: list[str], program: list[str]) -> int:
    """Run with `argv`, the program's name left out; the exit code. `program` runs this client, by whole
    paths."""
    if argv[:1] == ["tunnel"]:
        from stagedoor.client.tunnel import main as tunnel

        return tunnel(argv[1:])
    folder = folder_in(argv)
    if folder is not None:  # by ssh, which waits
        return told(lambda: if_needed(folder, since_in(argv)))
    return told(lambda: run(argv, program))


def if_needed(folder: str, began: float) -> None:
    """A good certificate. Of many that run at once one sees to it, and the others import none of that.

    `began` is in seconds since the epoch. Raises TunnelError, OSError.
    """
    from stagedoor.client.turn import LoginLock

    turn = LoginLock(folder, began)
    try:
        if turn.wait() or not is_fresh(folder):
            from pathlib import Path

            from stagedoor.client.login import take_turn

            take_turn(Path(folder), turn)
    finally:
        turn.leave()


def run(argv: list[str], program: list[str]) -> int:
    """The exit code. Raises TunnelError, OSError; SystemExit for a usage that is wrong."""
    given = parser().parse_args(argv)
    if given.command == "login":
        log_in(given, program)
    elif given.command == "logout":
        log_out(given.gateway, forget=given.forget)
    elif given.command == "doctor":
        return walk_the_path(given)
    else:
        whoami(given.gateway, as_json=given.json)
    return OK


def parser() -> argparse.ArgumentParser:
    import argparse

    whole = argparse.ArgumentParser(
        "stagedoor", description="Log in to shells behind a Stagedoor gateway."
    )
    commands = whole.add_subparsers(dest="command", required=True)
    commands.add_parser("tunnel", help="the ProxyCommand for ssh", add_help=False)
    login = commands.add_parser("login", help="sign in once; afterwards ssh alone is enough")
    login.add_argument("gateway", nargs="?", help="https://HOST[:PORT][/PATH]")
    login.add_argument("host", nargs="?", help=argparse.SUPPRESS)
    login.add_argument(
        "--print", action="store_true", help="print what would be written; change nothing"
    )
    login.add_argument("--label", help="what the gateway calls this machine (NAME@HOST)")
    login.add_argument("--no-browser", action="store_true", help="print the address only")
    login.add_argument(
        "--id-token-env", metavar="NAME", help="the variable with a job's ID token: nobody is asked"
    )
    login.add_argument("--id-token-file", help="the file with one, as Kubernetes mounts it")
    login.add_argument("--ca-file", help="trust these CAs for https, not the system's")
    login.add_argument(
        "--if-needed", action="store_true", help="for ssh: only where there is no certificate"
    )
    login.add_argument("--folder", help=argparse.SUPPRESS)
    logout = commands.add_parser("logout", help="end the login")
    logout.add_argument("gateway", nargs="?", help="the one to log out of (all)")
    logout.add_argument(
        "--forget", action="store_true", help="remove the key and ssh's configuration as well"
    )
    who = commands.add_parser("whoami", help="who this machine is")
    who.add_argument("gateway", nargs="?", help="at this gateway (at all)")
    who.add_argument("--json", action="store_true", help="print one JSON document")
    _doctor_options(commands.add_parser("doctor", help="find what is wrong on the way to HOST"))
    return whole


def _doctor_options(doctor: argparse.ArgumentParser) -> None:
    doctor.add_argument("host", help="as you give it to ssh: app01.ssh; with --how web: app01")
    doctor.add_argument(
        "--how",
        choices=["connect", "jump", "direct", "web"],
        help="the access method (what your ssh is configured for)",
    )
    for option, value, about in (
        ("gateway", "ADDRESS", "HOST:PORT, http://… or https://…, as the access method needs"),
        ("user", "NAME", "who you are there ($STAGEDOOR_USER, else your login name)"),
        ("token-file", "FILE", "holds the token or password, mode 0600"),
        ("ca-file", "FILE", "trust these CAs for https, not the system's"),
        ("server-name", "NAME", "the name that the gateway's certificate must hold"),
        ("via", "URL", "corporate proxy on the way, or 'direct' for none"),
        ("ssh-config", "FILE", "use this configuration of ssh, not yours"),
    ):
        doctor.add_argument(f"--{option}", metavar=value, help=about)
    doctor.add_argument(
        "--idle",
        type=_idle_s,
        metavar="SECONDS",
        help="also measure how long a silence the path survives, up to this",
    )
    doctor.add_argument("--json", action="store_true", help="print one JSON document")


def _idle_s(text: str) -> float:
    import argparse

    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if not 1 <= seconds <= 86400:
        raise argparse.ArgumentTypeError(f"{text!r} is not 1 to 86400 seconds")
    return seconds


def walk_the_path(given: argparse.Namespace) -> int:
    """By the options of `parser`: 0 if all is well, 1 for something that needs attention, 2 for a failure."""
    from stagedoor.client.doctor.path import path_options, walk_to
    from stagedoor.wire.finding import exit_code, result_row, result_text

    named = ("gateway", "user", "token_file", "ca_file", "server_name", "via")
    reach = {f"--{name.replace('_', '-')}": getattr(given, name) for name in named}
    reach = {option: value for option, value in reach.items() if value}
    wish = path_options(given.host, given.how, reach, os.environ, given.ssh_config, given.idle)
    results = []
    for result in walk_to(wish):
        results.append(result)
        if not given.json:
            sys.stdout.write(result_text(result))
            sys.stdout.flush()
    if given.json:
        import json

        sys.stdout.write(json.dumps([result_row(each) for each in results], indent=2) + "\n")
    return exit_code(finding for _, finding in results)


def log_in(given: argparse.Namespace, program: list[str]) -> None:
    """By the options of `parser`. Raises TunnelError, OSError."""
    from stagedoor.client import login, tunnel

    if given.if_needed:
        import time

        for folder in _folders(None):
            if not is_fresh(str(folder)):
                if_needed(str(folder), time.time())
        return None
    if not given.gateway:
        raise tunnel.TunnelError(tunnel.USAGE, "name the gateway: stagedoor login https://HOST")
    if given.print:
        sys.stdout.write(login.print_only(given.gateway, ca_file=given.ca_file, program=program))
        return None
    return login.log_in(
        given.gateway,
        label=given.label,
        browser=not given.no_browser,
        ca_file=given.ca_file,
        id_token=id_token(given.id_token_env, given.id_token_file),
        program=program,
    )


def id_token(variable: str | None, file: str | None) -> str | None:
    """What the machine logs in by, of whichever is named; None: a person lets it in. Raises TunnelError,
    OSError."""
    from stagedoor.client import tunnel

    if variable is None and file is None:
        return None
    if variable is not None and file is not None:
        raise tunnel.TunnelError(tunnel.USAGE, "name --id-token-env or --id-token-file, not both")
    if variable is not None:
        found, where = os.environ.get(variable, ""), f"the variable {variable}"
    else:
        with open(str(file), encoding="utf-8", errors="replace") as lines:  # noqa: PTH123
            found, where = lines.read(ID_TOKEN_LIMIT), str(file)
    token = found.strip()
    if not token or not token.isascii() or not token.isprintable() or len(token) >= ID_TOKEN_LIMIT:
        raise tunnel.TunnelError(tunnel.USAGE, f"{where} has no ID token")
    return token


def log_out(gateway: str | None, *, forget: bool) -> None:
    """Of one gateway or of all. Raises TunnelError, OSError."""
    from stagedoor.client import login

    for folder in _folders(gateway):
        login.log_out(folder, forget=forget)
        sys.stderr.write(f"Logged out ({folder.name}).\n")


def whoami(gateway: str | None, *, as_json: bool) -> None:
    """Show each login that lasts. Raises TunnelError: NOT_LOGGED_IN where none does."""
    from stagedoor.client import login, tunnel
    from stagedoor.client.whoami import who

    found = [who(folder) for folder in _folders(gateway)]
    if as_json:
        import json

        sys.stdout.write(json.dumps(found, indent=1) + "\n")
    else:
        for one in found:
            if one["logged_in"]:
                sys.stdout.write(f"{one['user']} at {one['gateway']} until {login.clock(one)}\n")
            for name in ("why", "unasked"):
                if name in one:
                    tunnel.show(f"stagedoor: {tunnel.clean(str(one[name]))}\n")
    if not any(one["logged_in"] for one in found):
        line = "no login lasts on this machine; run: stagedoor login https://HOST"
        raise tunnel.TunnelError(login.NOT_LOGGED_IN, line)


def _folders(gateway: str | None) -> list[Path]:
    """Of the gateway, or all. Raises TunnelError where there is none."""
    from stagedoor.client import login, login_files, tunnel
    from stagedoor.client.login_web import Gateway

    if gateway is not None:
        return [login_files.folder_of(Gateway(gateway).place)]
    found = login_files.folders()
    if not found:
        line = "this machine has never logged in; run: stagedoor login https://HOST"
        raise tunnel.TunnelError(login.NOT_LOGGED_IN, line)
    return found


def told(call: Callable[[], int | None]) -> int:
    """The exit code; what went wrong is one line on stderr."""
    try:
        return call() or OK
    except (Exception, KeyboardInterrupt) as error:
        return _told(error)


def _told(error: BaseException) -> int:
    from stagedoor.client import tunnel

    if isinstance(error, tunnel.TunnelError):
        line, code = error.line, error.code
    elif isinstance(error, KeyboardInterrupt):
        line, code = "interrupted; nothing was changed", INTERRUPTED
    elif isinstance(error, OSError):
        where = f"{error.filename}: " if error.filename else ""
        line, code = f"{where}{error.strerror or error}", 1
    elif os.environ.get("STAGEDOOR_TRACEBACK"):
        raise error
    else:  # no traceback reaches a person who only wanted to log in
        line = f"a fault in stagedoor: {type(error).__name__}: {error}; please report it"
        code = INTERNAL
    tunnel.show(f"stagedoor: {tunnel.clean(line)}\n")
    return code
