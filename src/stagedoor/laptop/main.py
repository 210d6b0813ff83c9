"""The commands of the laptop: `tunnel`, `login`, `logout`, `whoami` and `doctor`."""

from __future__ import annotations

import os
import sys

from stagedoor.laptop.needed import is_fresh, parse_folder, parse_since
from stagedoor.laptop.tunnel.errors import (
    INTERNAL,
    INTERRUPTED,
    OK,
    USAGE,
    TunnelError,
    clean,
    show,
    translate,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable, Mapping
    from pathlib import Path
    from typing import Any

    from stagedoor.laptop.options import Option

ID_TOKEN_LIMIT = 8 * 1024
"""The gateway refuses a longer one."""


def main(argv: list[str], program: list[str]) -> int:
    """Run with `argv`, without the program's name, and return the exit code.

    `program` is the command that runs this client, with absolute paths.
    """
    if argv[:1] == ["tunnel"]:
        from stagedoor.laptop.tunnel.main import main as tunnel

        return tunnel(argv[1:])
    folder = parse_folder(argv)
    if folder is not None:  # run by ssh, which waits for it
        return report_errors(lambda: ensure_certificate(folder, parse_since(argv)))
    return report_errors(lambda: run(argv, program))


def ensure_certificate(folder: str, began: float) -> None:
    """Make sure that the folder has a valid certificate.

    When several processes run at once, one logs in; the others wait for it and import nothing for a login.
    `began` is in seconds since the epoch. Raises TunnelError, OSError.
    """
    from stagedoor.laptop.turn import LoginLock

    turn = LoginLock(folder, began)
    try:
        if turn.wait() or not is_fresh(folder):
            from pathlib import Path

            from stagedoor.laptop.login_renew import take_turn

            take_turn(Path(folder), turn)
    finally:
        turn.release()


def run(argv: list[str], program: list[str]) -> int:
    """Run a command line; return the exit code.

    Raises TunnelError, OSError; SystemExit for wrong usage.
    """
    given = vars(build_parser().parse_args(argv))
    return run_command(given.pop("command"), given, program)


def run_command(command: str, given: Mapping[str, Any], program: list[str]) -> int:
    """Run a command with the options of `laptop.options`; return the exit code.

    Raises TunnelError, OSError.
    """
    if command == "login":
        log_in(given, program)
    elif command == "logout":
        log_out(given["gateway"], forget=given["forget"])
    elif command == "doctor":
        return walk_the_path(given)
    else:
        print_whoami(given["gateway"], as_json=given["json"])
    return OK


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of this file's command line."""
    import argparse

    from stagedoor.laptop.options import DOCTOR, LOGIN, LOGOUT, WHOAMI

    whole = argparse.ArgumentParser(
        "stagedoor", description="Log in to shells behind a Stagedoor gateway."
    )
    commands = whole.add_subparsers(dest="command", required=True)
    commands.add_parser("tunnel", help="The ProxyCommand for ssh.", add_help=False)
    for name, about, options in (
        ("login", "Sign in once; afterwards ssh alone is enough.", LOGIN),
        ("logout", "End this machine's login.", LOGOUT),
        ("whoami", "Show who this machine is logged in as.", WHOAMI),
        ("doctor", "Find what is wrong on the way to HOST.", DOCTOR),
    ):
        command = commands.add_parser(name, help=about)
        for option in options:
            _add(command, option, required=name == "doctor")
    return whole


def _add(command: argparse.ArgumentParser, option: Option, *, required: bool) -> None:
    import argparse

    more: dict[str, Any] = {"help": argparse.SUPPRESS if option.hidden else option.about}
    if option.is_argument:
        command.add_argument(option.dest, nargs=None if required else "?", **more)
        return
    if option.is_flag:
        more["action"] = "store_true"
    elif option.choices:
        more["choices"] = option.choices
    else:
        more["metavar"] = option.value
    if option.within is not None:
        least, most = option.within
        more["type"] = lambda text: _number(least, most, text)
    command.add_argument(option.name, **more)


def _number(least: float, most: float, text: str) -> float:
    import argparse

    try:
        number = float(text)
    except ValueError:
        number = least - 1
    if not least <= number <= most:
        raise argparse.ArgumentTypeError(f"{text!r} is not {least:g} to {most:g}")
    return number


def walk_the_path(given: Mapping[str, Any]) -> int:
    """Walk to a shell; return 0 if all is well, 1 for something that needs attention, 2 for a failure."""
    from stagedoor.laptop.doctor.judge import translate_finding
    from stagedoor.laptop.doctor.path import PathOptions, print_results, walk_to
    from stagedoor.laptop.options import reach_options
    from stagedoor.wire.finding import choose_exit_code, render_row

    reach = reach_options(given)
    wish = PathOptions(
        given["host"], given["how"], reach, os.environ, given["ssh_config"], given["idle"]
    )
    results = print_results(walk_to(wish), silent=given["json"], translate=translate_finding)
    if given["json"]:
        import json

        sys.stdout.write(json.dumps([render_row(result) for result in results], indent=2) + "\n")
    return choose_exit_code(finding for _, finding in results)


def log_in(given: Mapping[str, Any], program: list[str]) -> None:
    """Log in with the options of `LOGIN`. Raises TunnelError, OSError."""
    from stagedoor.laptop import login

    if given["if_needed"]:
        import time

        for folder in _folders(None):
            if not is_fresh(str(folder)):
                ensure_certificate(str(folder), time.time())
        return None
    gateway = given["gateway"]
    if not gateway:
        raise TunnelError(USAGE, "name the gateway: stagedoor login https://HOST")
    ca_file = None if given["ca_file"] is None else str(given["ca_file"])
    if given["print"]:
        sys.stdout.write(login.print_only(gateway, ca_file=ca_file, program=program))
        return None
    return login.log_in(
        gateway,
        label=given["label"],
        browser=not given["no_browser"],
        ca_file=ca_file,
        id_token=read_id_token(given["id_token_env"], given["id_token_file"]),
        program=program,
    )


def read_id_token(variable: str | None, file: str | Path | None) -> str | None:
    """Return the ID token in the environment variable or the file; None if neither is named.

    Without a token, a person has to approve the login. Raises TunnelError, OSError.
    """
    if variable is None and file is None:
        return None
    if variable is not None and file is not None:
        raise TunnelError(USAGE, "name --id-token-env or --id-token-file, not both")
    if variable is not None:
        text, where = os.environ.get(variable, ""), f"the variable {variable}"
    else:
        with open(str(file), encoding="utf-8", errors="replace") as lines:  # noqa: PTH123
            text, where = lines.read(ID_TOKEN_LIMIT), str(file)
    token = text.strip()
    if not token or not token.isascii() or not token.isprintable() or len(token) >= ID_TOKEN_LIMIT:
        raise TunnelError(USAGE, f"{where} has no ID token")
    return token


def log_out(gateway: str | None, *, forget: bool) -> None:
    """End the login at one gateway, or at all if `gateway` is None. Raises TunnelError, OSError."""
    from stagedoor.laptop import login

    for folder in _folders(gateway):
        login.log_out(folder, forget=forget)
        show(f"Logged out ({folder.name}).\n")


def print_whoami(gateway: str | None, *, as_json: bool) -> None:
    """Print the logins of this machine. Raises TunnelError (NOT_LOGGED_IN) if none is valid."""
    from stagedoor.laptop.login import ask_whoami
    from stagedoor.laptop.login_result import NOT_LOGGED_IN, format_end

    logins = [ask_whoami(folder) for folder in _folders(gateway)]
    if as_json:
        import json

        sys.stdout.write(json.dumps(logins, indent=1) + "\n")
    else:
        for row in logins:
            if row["logged_in"]:
                line = f"{row['user']} at {row['gateway']} until {format_end(row)}\n"
                sys.stdout.write(translate(line))
            for name in ("why", "unasked"):
                if name in row:
                    show(f"stagedoor: {clean(str(row[name]))}\n")
    if not any(row["logged_in"] for row in logins):
        line = "this machine has no valid login; run: stagedoor login https://HOST"
        raise TunnelError(NOT_LOGGED_IN, line)


def _folders(gateway: str | None) -> list[Path]:
    """Return the folder of the gateway, or all folders if it is None. Raises TunnelError if there is none."""
    from stagedoor.laptop import login_files
    from stagedoor.laptop.login_result import NOT_LOGGED_IN
    from stagedoor.laptop.login_web import GatewayWeb

    if gateway is not None:
        return [login_files.find_folder(GatewayWeb(gateway).place)]
    folders = login_files.list_folders()
    if not folders:
        line = "this machine has never logged in; run: stagedoor login https://HOST"
        raise TunnelError(NOT_LOGGED_IN, line)
    return folders


def report_errors(call: Callable[[], int | None]) -> int:
    """Run `call` and return the exit code. An error is reported as one line on stderr."""
    try:
        return call() or OK
    except (Exception, KeyboardInterrupt) as error:
        return _report(error)


def _report(error: BaseException) -> int:
    if isinstance(error, TunnelError):
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
    show(f"stagedoor: {clean(line)}\n")
    return code
