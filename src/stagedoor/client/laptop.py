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
    from collections.abc import Callable, Mapping
    from pathlib import Path
    from typing import Any

    from stagedoor.client.options import Option

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
    """Run a command line; return the exit code.

    Raises TunnelError, OSError; SystemExit for a usage that is wrong.
    """
    given = vars(parser().parse_args(argv))
    return run_command(given.pop("command"), given, program)


def run_command(command: str, given: Mapping[str, Any], program: list[str]) -> int:
    """Run a command with the options of `client.options`; return the exit code.

    Raises TunnelError, OSError.
    """
    if command == "login":
        log_in(given, program)
    elif command == "logout":
        log_out(given["gateway"], forget=given["forget"])
    elif command == "doctor":
        return walk_the_path(given)
    else:
        whoami(given["gateway"], as_json=given["json"])
    return OK


def parser() -> argparse.ArgumentParser:
    """Return the parser of this file's command line."""
    import argparse

    from stagedoor.client.options import DOCTOR, LOGIN, LOGOUT, WHOAMI

    whole = argparse.ArgumentParser(
        "stagedoor", description="Log in to shells behind a Stagedoor gateway."
    )
    commands = whole.add_subparsers(dest="command", required=True)
    commands.add_parser("tunnel", help="The ProxyCommand for ssh.", add_help=False)
    for name, about, options in (
        ("login", "Sign in once; afterwards ssh alone is enough.", LOGIN),
        ("logout", "End the login.", LOGOUT),
        ("whoami", "Show who this machine is.", WHOAMI),
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
    from stagedoor.client.doctor.path import path_options, walk_to
    from stagedoor.wire.finding import exit_code, result_row, result_text

    named = ("gateway", "user", "token_file", "ca_file", "server_name", "via")
    reach = {f"--{name.replace('_', '-')}": given[name] for name in named}
    reach = {option: value for option, value in reach.items() if value}
    wish = path_options(
        given["host"], given["how"], reach, os.environ, given["ssh_config"], given["idle"]
    )
    results = []
    for result in walk_to(wish):
        results.append(result)
        if not given["json"]:
            sys.stdout.write(result_text(result))
            sys.stdout.flush()
    if given["json"]:
        import json

        sys.stdout.write(json.dumps([result_row(each) for each in results], indent=2) + "\n")
    return exit_code(finding for _, finding in results)


def log_in(given: Mapping[str, Any], program: list[str]) -> None:
    """Log in by the options `LOGIN`. Raises TunnelError, OSError."""
    from stagedoor.client import login, tunnel

    if given["if_needed"]:
        import time

        for folder in _folders(None):
            if not is_fresh(str(folder)):
                if_needed(str(folder), time.time())
        return None
    gateway = given["gateway"]
    if not gateway:
        raise tunnel.TunnelError(tunnel.USAGE, "name the gateway: stagedoor login https://HOST")
    ca_file = None if given["ca_file"] is None else str(given["ca_file"])
    if given["print"]:
        sys.stdout.write(login.print_only(gateway, ca_file=ca_file, program=program))
        return None
    return login.log_in(
        gateway,
        label=given["label"],
        browser=not given["no_browser"],
        ca_file=ca_file,
        id_token=id_token(given["id_token_env"], given["id_token_file"]),
        program=program,
    )


def id_token(variable: str | None, file: str | Path | None) -> str | None:
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
