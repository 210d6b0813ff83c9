"""`stagedoor attach`: open a terminal of the WebShell in this terminal."""

import os
import secrets
import shlex
import sys
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from stagedoor.cli import show
from stagedoor.cli.ask import confirm
from stagedoor.model.errors import StagedoorError

if TYPE_CHECKING:
    from stagedoor.laptop.tunnel.options import Options
    from stagedoor.wire.terminal.frames import Mode

URL = "STAGEDOOR_URL"
EXIT_CODES = (
    "\b\nExit codes:\n  N    the program's own; 0 if you detach\n  1    --list or --end failed\n"
    "  2    wrong usage\n  22   access must be requested, and there is no terminal to type a reason\n"
    "  255  this command itself failed: the line on stderr says why"
)


def add_gateway_options(command: Callable[..., None]) -> Callable[..., None]:
    """Add the options of the connection to a gateway's web."""
    for option in reversed((
        click.option("--url", envvar=URL, metavar="URL", help=f"The gateway's web address (${URL})."),
        click.option("--user", metavar="NAME",
                     help="Your user name there ($STAGEDOOR_USER, else your login name)."),
        click.option("--token-file", metavar="FILE", help="File with your token or password, mode 0600."),
        click.option("--ca-file", metavar="FILE", help="Trust these CAs for https, not the system's."),
        click.option("--server-name", metavar="NAME",
                     help="The name that the gateway's certificate must have."),
        click.option("--via", metavar="URL", help="Corporate proxy to use, or `direct` for none."),
    )):  # fmt: skip
        command = option(command)
    return command


@click.command(
    context_settings={"ignore_unknown_options": False},
    epilog=show.make_epilog(
        "stagedoor attach --url https://shell.example.com app01",
        "stagedoor attach app01.staging --name build",
        "stagedoor attach app01 -- ./manage.py shell",
        "stagedoor attach app01 --watch",
        "stagedoor attach app01 --list --json | jq -r '.[].name'",
        "stagedoor attach app01 --name build --end",
        codes=EXIT_CODES,
    ),
)
@add_gateway_options
@click.option(
    "--name",
    metavar="NAME",
    help="The terminal's name. Default: `main`, unless a command is given or piped in.",
)
@click.option(
    "--shell", "login_shell", is_flag=True, help="Start the login shell, even if tmux is available."
)
@click.option("--watch", is_flag=True, help="Watch only; your keys are not sent.")
@click.option("--take-over", is_flag=True, help="Detach all other clients of the terminal.")
@click.option(
    "--list", "list_", is_flag=True, help="List the open terminals, and who is attached to each."
)
@click.option("--json", "json_", is_flag=True, help="With --list: print one JSON document.")
@click.option("--end", is_flag=True, help="End the terminal and every program in it.")
@click.option("--yes", is_flag=True, help="With --end: do not ask.")
@click.option("--record", "record_file", metavar="FILE", type=click.Path(path_type=Path),
              help="Write what the terminal shows to an asciicast file.")  # fmt: skip
@click.option("--log", "log_file", metavar="FILE", type=click.Path(path_type=Path),
              help="Log to FILE when the connection is lost and restored.")  # fmt: skip
@click.argument("app", metavar="APP")
@click.argument("command", nargs=-1, metavar="[-- COMMAND…]")
def attach(
    name: str | None,
    login_shell: bool,
    watch: bool,
    take_over: bool,
    list_: bool,
    json_: bool,
    end: bool,
    yes: bool,
    record_file: Path | None,
    log_file: Path | None,
    app: str,
    command: tuple[str, ...],
    **reach: str | None,
) -> None:
    """Open a terminal in APP that survives a lost connection.

    It stays open when the connection is lost or you detach. To return to it, run the same command again.

    `~?` after Enter lists the keys for this command, such as `~.` to detach.
    """
    # Imported here to keep completion fast.
    from stagedoor.holder import tmux
    from stagedoor.holder.folder import FolderError, check_name
    from stagedoor.wire.terminal.frames import Mode

    if watch + take_over + list_ + end > 1:
        raise click.UsageError("give only one of --watch, --take-over, --list and --end")
    if json_ and not list_:
        raise click.UsageError("--json is only for --list")
    # By default, piped input goes to a new shell, which ends with the input.
    is_piped = not (os.isatty(0) or name or command or watch or take_over or end)
    terminal = name or ("run-" + secrets.token_hex(4) if command or is_piped else "main")
    try:
        check_name(terminal)
    except FolderError as error:
        raise click.UsageError(str(error)) from None
    if list_:
        return _list(app, reach, json_=json_)
    if end:
        return _end(app, terminal, reach, yes=yes)
    mode = Mode.WATCH if watch else Mode.TAKE_OVER if take_over else Mode.MIRROR
    line = (
        _join_command(command) if command else "" if login_shell or is_piped else tmux.COMMANDS[0]
    )
    is_shared = not (command or is_piped)
    is_anonymous = not (name or is_shared)
    return run(
        app, reach, terminal, mode, line, log_file, record_file,
        is_shared=is_shared, is_anonymous=is_anonymous,
    )  # fmt: skip


def run(
    app: str,
    reach: Mapping[str, str | None],
    terminal: str,
    mode: "Mode",
    command: str,
    log_file: Path | None = None,
    record_file: Path | None = None,
    session: str = "",
    *,
    is_shared: bool = False,
    is_anonymous: bool = False,
) -> None:
    """Attach to a terminal until it ends or the developer detaches, and exit.

    With a `session`, watch its terminal. A terminal that `is_shared` does not end with piped input. One that
    `is_anonymous` has a random name, and ends when the reader of the output exits.
    """
    from stagedoor.client.attach.attachment import Attachment
    from stagedoor.client.attach.locale_name import find_locale, is_utf8, read_variable
    from stagedoor.client.attach.output_files import open_log, open_recording
    from stagedoor.client.attach.program import Attach
    from stagedoor.client.attach.request import FAILED, AttachRequest
    from stagedoor.client.attach.screen import Screen
    from stagedoor.client.attach.secret_prompt import AttachError, UnreadError
    from stagedoor.laptop.tunnel.errors import ON_REQUEST, TunnelError, translate
    from stagedoor.wire.terminal.frames import Mode

    screen = Screen(watches=mode is Mode.WATCH)
    size, locale = screen.read_size(), find_locale()
    attachment = Attachment(terminal, size, mode, read_variable("TERM"), locale, command)
    try:
        options, path = resolve_gateway(app, reach)
        record, log = open_recording(record_file, size), open_log(log_file)
        request = AttachRequest(
            app, options, path, log, record, session, is_utf8(locale), is_shared
        )
        sys.exit(Attach(request, attachment, screen).run())
    except (TunnelError, AttachError) as error:
        screen.leave()
        print(translate(f"stagedoor: {error}"), file=sys.stderr)
        if is_anonymous and isinstance(error, UnreadError):
            # SIGPIPE would end a local program, too.
            with suppress(StagedoorError):
                _request(app, reach, "terminals/end", {"target": app, "terminal": terminal})
        is_on_request = isinstance(error, TunnelError) and error.code == ON_REQUEST
        sys.exit(ON_REQUEST if is_on_request else FAILED)


def resolve_gateway(app: str, reach: Mapping[str, str | None]) -> "tuple[Options, str]":
    """Return the options of the connection to the gateway's web, and the prefix of its paths.

    Raises click.UsageError, TunnelError.
    """
    from stagedoor.laptop.login_files import find_login_options
    from stagedoor.laptop.options import select_gateway_options
    from stagedoor.laptop.tunnel.options import Options

    url = reach["url"]
    if not url:
        raise click.UsageError(f"no gateway is named: give --url URL, or set {URL}")
    gateway, path = _split_url(url)
    values = select_gateway_options({**reach, "gateway": gateway})
    values |= find_login_options(values, os.environ)
    return Options(values, [app], dict(os.environ), "--url"), path


def _request(
    app: str, reach: Mapping[str, str | None], what: str, parameters: Mapping[str, object]
) -> dict[str, Any]:
    from stagedoor.client.attach.secret_prompt import AttachError, request_once
    from stagedoor.laptop.tunnel.errors import TunnelError

    try:
        options, path = resolve_gateway(app, reach)
        about = f"{app} is not open to {options.user}"
        return request_once(options, path, what, parameters, about)
    except (TunnelError, AttachError) as error:
        raise StagedoorError(str(error)) from None


def _list(app: str, reach: Mapping[str, str | None], *, json_: bool) -> None:
    """Print the terminals of the app, without starting its shell."""
    from stagedoor.laptop.tunnel.errors import clean

    answer = _request(app, reach, "terminals", {"target": app})
    terminals: list[dict[str, Any]] = [
        {
            "name": clean(str(terminal["name"])),
            "locked": bool(terminal["locked"]),
            "attached": [
                {
                    "name": clean(str(person["name"])),
                    "from": clean(str(person["from"])),
                    "watches": bool(person["looks"]),
                    "since": show.format_iso(float(person["since"])),
                }
                for person in terminal["attached"]
            ],
        }
        for terminal in answer["terminals"]
    ]
    if json_:
        return show.print_json(terminals)
    return show.print_table(
        [
            {
                "name": str(terminal["name"]) + (" (locked)" if terminal["locked"] else ""),
                "attached": ", ".join(
                    person["name"] + (" (watches)" if person["watches"] else "")
                    for person in terminal["attached"]
                )
                or "-",
            }
            for terminal in terminals
        ],
        show.explain_empty("terminals", None, f"open one: stagedoor attach {app}"),
    )


def _end(app: str, terminal: str, reach: Mapping[str, str | None], *, yes: bool) -> None:
    confirm(f"End the terminal {terminal} of {app} and all programs in it?", yes=yes)
    _request(app, reach, "terminals/end", {"target": app, "terminal": terminal})
    show.note(f"Ended {terminal} of {app}.")


def _split_url(url: str) -> tuple[str, str]:
    """Split a URL into the gateway, as `https://HOST[:PORT]`, and the prefix of its paths, "" for none.

    Raises click.UsageError.
    """
    scheme, slashes, rest = url.partition("://")
    if not slashes:
        raise click.UsageError(f"{url!r} is not a web address; write https://{url}")
    if scheme.lower() not in ("http", "https", "ws", "wss"):
        raise click.UsageError(f"{url!r} is not a web address: write https:// or http://")
    place, _, path = rest.partition("/")
    path = path.rstrip("/")
    if not (path.isascii() and path.isprintable()) or set(path) & set(" ?#"):
        raise click.UsageError(
            f"{url!r} is not a web address: its path has a space, `?`, `#` or a character beyond ASCII"
        )
    web = {"ws": "http", "wss": "https"}.get(scheme.lower(), scheme)
    return f"{web}://{place}", f"/{path}" if path else ""


def _join_command(words: tuple[str, ...]) -> str:
    from stagedoor.wire.terminal.frames import MAX_TEXT_BYTES

    line = shlex.join(words)
    try:
        size = len(line.encode())
    except UnicodeEncodeError:
        raise click.UsageError("the command is not UTF-8") from None
    if size > MAX_TEXT_BYTES:
        raise click.UsageError(
            f"the command has {size} bytes, more than {MAX_TEXT_BYTES}; pipe a longer script in: "
            "stagedoor attach APP -- sh <FILE"
        )
    return line
