"""The commands of the laptop: `tunnel`, `login`, `logout`, `whoami` and `doctor`."""

from __future__ import annotations

import os
import sys

from stagedoor.laptop.if_needed import is_fresh, parse_folder, parse_since
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
"""In bytes. The gateway refuses a longer token."""


def main(argv: list[str], program: list[str]) -> int:
    """Run with `argv`, without the program's name, and return the exit code.

    `program` is the command that runs this client, with absolute paths.
    """
    if argv[:1] == ["tunnel"]:
        from stagedoor.laptop.tunnel.main import main as tunnel

        return tunnel(argv[1:])
    folder = parse_folder(argv)
    if folder is not None:  # ssh runs this, and waits for it
        return report_errors(lambda: ensure_certificate(folder, parse_since(argv)))
    return report_errors(lambda: run(argv, program))


def ensure_certificate(folder: str, began: float) -> None:
    """Ensure that the folder has a valid certificate. Raises TunnelError, OSError.

    When several processes run at once, one logs in. The others wait for its result, and import no modules for
    a login. `began` is when ssh started to wait, in seconds since the epoch.
    """
    from stagedoor.laptop.login_lock import LoginLock

    lock = LoginLock(folder, began)
    try:
        if lock.wait() or not is_fresh(folder):
            from pathlib import Path

            from stagedoor.laptop.login_renew import renew_under_lock

            renew_under_lock(Path(folder), lock)
    finally:
        lock.release()


def run(argv: list[str], program: list[str]) -> int:
    """Run a command line, and return the exit code. Raises TunnelError, OSError, SystemExit."""
    values = vars(build_parser().parse_args(argv))
    return run_command(values.pop("command"), values, program)


def run_command(command: str, values: Mapping[str, Any], program: list[str]) -> int:
    """Run a command with the options in `values`, and return the exit code. Raises TunnelError, OSError."""
    if command == "login":
        log_in(values, program)
    elif command == "logout":
        return log_out(values["gateway"], forget=values["forget"])
    elif command == "doctor":
        return diagnose_path(values)
    else:
        print_whoami(values["gateway"], as_json=values["json"])
    return OK


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of the one-file client's command line."""
    import argparse

    from stagedoor.laptop.options import DOCTOR, LOGIN, LOGOUT, WHOAMI

    parser = argparse.ArgumentParser(
        "stagedoor", description="Log in to shells behind a Stagedoor gateway."
    )
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("tunnel", help="The ProxyCommand for ssh.", add_help=False)
    for name, about, options in (
        ("login", "Sign in once; afterwards ssh alone is enough.", LOGIN),
        ("logout", "End this machine's login.", LOGOUT),
        ("whoami", "Show the user that this machine is logged in as.", WHOAMI),
        ("doctor", "Find what is wrong on the path to HOST.", DOCTOR),
    ):
        command = commands.add_parser(name, help=about)
        for option in options:
            _add(command, option, required=name == "doctor")
    return parser


def _add(command: argparse.ArgumentParser, option: Option, *, required: bool) -> None:
    import argparse

    fields: dict[str, Any] = {"help": argparse.SUPPRESS if option.is_hidden else option.about}
    if option.is_argument:
        command.add_argument(option.dest, nargs=None if required else "?", **fields)
        return
    if option.is_flag:
        fields["action"] = "store_true"
    elif option.choices:
        fields["choices"] = option.choices
    else:
        fields["metavar"] = option.value
    if option.limits is not None:
        minimum, maximum = option.limits
        fields["type"] = lambda text: _parse_number(minimum, maximum, text)
    command.add_argument(option.name, **fields)


def _parse_number(minimum: float, maximum: float, text: str) -> float:
    import argparse

    try:
        number = float(text)
    except ValueError:
        number = minimum - 1
    if not minimum <= number <= maximum:
        raise argparse.ArgumentTypeError(f"{text!r} is not {minimum:g} to {maximum:g}")
    return number


def diagnose_path(values: Mapping[str, Any]) -> int:
    """Check the path to a shell, and return 0 if all is well, 1 after a warning, or 2 after a failure."""
    from stagedoor.laptop.doctor.judge import translate_finding
    from stagedoor.laptop.doctor.path import PathOptions, check_path, print_results
    from stagedoor.laptop.options import select_gateway_options
    from stagedoor.wire.finding import choose_exit_code, render_row

    options = select_gateway_options(values)
    host, how, idle_s = values["host"], values["how"], values["idle"]
    path = PathOptions(host, how, options, os.environ, values["ssh_config"], idle_s)
    results = print_results(check_path(path), silent=values["json"], translate=translate_finding)
    if values["json"]:
        import json

        sys.stdout.write(json.dumps([render_row(result) for result in results], indent=2) + "\n")
    return choose_exit_code(finding for _, finding in results)


def log_in(values: Mapping[str, Any], program: list[str]) -> None:
    """Log in with the options of `LOGIN` in `values`. Raises TunnelError, OSError."""
    from stagedoor.laptop import login

    if values["if_needed"]:
        import time

        for folder in _list_folders(None):
            if not is_fresh(str(folder)):
                ensure_certificate(str(folder), time.time())
        return None
    gateway = values["gateway"] or _find_only_gateway()
    ca_file = None if values["ca_file"] is None else str(values["ca_file"])
    if values["print"]:
        sys.stdout.write(login.render_files(gateway, ca_file=ca_file, program=program))
        return None
    return login.log_in(
        gateway,
        label=values["label"],
        browser=not values["no_browser"],
        ca_file=ca_file,
        id_token=read_id_token(values["id_token_env"], values["id_token_file"]),
        program=program,
    )


def read_id_token(variable: str | None, file: str | Path | None) -> str | None:
    """Return the ID token in the environment variable or the file, or None if both are None.

    Raises TunnelError, OSError.
    """
    if variable is None and file is None:
        return None
    if variable is not None and file is not None:
        raise TunnelError(USAGE, "name --id-token-env or --id-token-file, not both")
    if variable is not None:
        text, source = os.environ.get(variable, ""), f"the variable {variable}"
    else:
        with open(str(file), encoding="utf-8", errors="replace") as lines:  # noqa: PTH123
            text, source = lines.read(ID_TOKEN_LIMIT), str(file)
    token = text.strip()
    if not token or not token.isascii() or not token.isprintable() or len(token) >= ID_TOKEN_LIMIT:
        raise TunnelError(USAGE, f"{source} has no ID token")
    return token


def log_out(gateway: str | None, *, forget: bool) -> int:
    """End the login at `gateway`, or at all gateways if it is None, and return the first error's exit code.

    Raises TunnelError if there is no login.
    """
    from stagedoor.laptop import login

    codes = []
    for folder in _list_folders(gateway):
        try:
            login.log_out(folder, forget=forget)
            show(f"Logged out ({folder.name}).\n")
        except (TunnelError, OSError) as error:
            codes.append(_report_error(error))
        if INTERRUPTED in codes:
            break
    return codes[0] if codes else OK


def print_whoami(gateway: str | None, *, as_json: bool) -> None:
    """Print the login at `gateway`, or all logins if it is None. Raises TunnelError if none is valid."""
    from stagedoor.laptop.login import describe_login
    from stagedoor.laptop.login_result import NOT_LOGGED_IN, format_end

    logins = [describe_login(folder) for folder in _list_folders(gateway)]
    if as_json:
        import json

        sys.stdout.write(json.dumps(logins, indent=1) + "\n")
    else:
        for row in logins:
            if row["logged_in"]:
                line = f"{row['user']} at {row['gateway']} until {format_end(row)}\n"
                sys.stdout.write(translate(line))
            for name in ("why", "unverified"):
                if name in row:
                    show(f"stagedoor: {clean(str(row[name]))}\n")
    if not any(row["logged_in"] for row in logins):
        line = "this machine has no valid login; run: stagedoor login https://HOST"
        raise TunnelError(NOT_LOGGED_IN, line)


def _find_only_gateway() -> str:
    """Return the gateway of this machine's login, if there is one login. Raises TunnelError."""
    from stagedoor.laptop import login_files

    folders = login_files.list_folders()
    if len(folders) != 1:
        line = "name the gateway: stagedoor login https://HOST"
        if folders:
            line += "; `stagedoor whoami` lists this machine's gateways"
        raise TunnelError(USAGE, line)
    return str(login_files.read_state(folders[0])["gateway"])


def _list_folders(gateway: str | None) -> list[Path]:
    """Return the folder of `gateway`, or all folders if it is None. Raises TunnelError if there is none."""
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
    """Run `call`, and return the exit code. Report an error as one line on stderr."""
    try:
        return call() or OK
    except (Exception, KeyboardInterrupt) as error:
        return _report_error(error)


def _report_error(error: BaseException) -> int:
    if isinstance(error, TunnelError):
        line, code = error.line, error.code
    elif isinstance(error, KeyboardInterrupt):
        line, code = "interrupted", INTERRUPTED
    elif isinstance(error, OSError):
        prefix = f"{error.filename}: " if error.filename else ""
        line, code = f"{prefix}{error.strerror or error}", 1
    elif os.environ.get("STAGEDOOR_TRACEBACK"):
        raise error
    else:
        line = f"a fault in stagedoor: {type(error).__name__}: {error}; please report it"
        code = INTERNAL
    show(f"stagedoor: {clean(line)}\n")
    return code
