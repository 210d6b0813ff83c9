"""Each option that a message names is one that the command has whose message it is."""

import ast
import inspect
import pwd
import re
import ssl
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import click
import pytest

import stagedoor
from stagedoor.cli.app import stagedoor as root
from stagedoor.laptop.login_web import GatewayWeb
from stagedoor.laptop.tunnel.errors import TunnelError
from stagedoor.laptop.tunnel.options import OPTIONS, find_login_name
from tests.laptop.scripted_gateway import ScriptedGateway, echoing, refusing
from tests.net.peers import write_certificate

SOURCES = Path(stagedoor.__file__).parent
FILES = sorted(
    str(file.relative_to(SOURCES))
    for kind in ("*.py", "*.html")
    for file in SOURCES.rglob(kind)
    if "static" not in file.parts and "chinese" not in file.parts  # texts of the other files
)
OPTION = re.compile(r"(?<![\w-])--[a-z][a-z0-9-]+")
OURS = re.compile(r"\bstagedoor((?: +(?!stagedoor )[^`|;>\n ]+)*)")
"""A command of ours with all that is behind it, in prose or in a line to be copied."""
FOREIGN = re.compile(
    r"(?:\bssh|script/\S+|kubectl|ncat|secret-tool|/entrypoint\.sh)(?: [^`|;\n]*)"
    r"|--service-account-issuer"
)

REACHING = ("tunnel", "attach", "session watch", "doctor")
SAID_BY = {
    "admin/access/": ("grant add",),
    "admin/account.py": ("ssh-config",),
    "api/requests.py": ("request list",),
    "admin/apply/": ("apply",),
    "admin/recordings.py": ("recording play",),
    "admin/requests/": ("request rule add",),
    "admin/service.py": ("grant add", "grant change"),
    "session/runs.py": ("run",),
    "signin/links.py": ("share create", "user invite", "web-link"),
    "signin/site.py": ("share create", "user invite", "web-link"),
    "admin/backup.py": ("store restore",),
    "admin/restore.py": ("store restore",),
    "authz/decide.py": ("grant add",),
    "cli/options.py": ("app stop", "session close", "sign-in end"),
    "client/attach/": ("attach", "session watch"),
    "laptop/doctor/": ("doctor",),
    "laptop/options.py": ("doctor",),
    "laptop/tunnel/": REACHING,
    "demo/": ("demo",),
    "keys/age.py": ("recording play",),
    "model/permission.py": ("grant add",),
    "model/run.py": ("run",),
    "settings/web.py": ("attach",),
    "store/grants.py": ("grant add",),
    "wire/run_command.py": ("run",),
}
"""The commands that say what is written there: an option is to be one of each of them. The commands of one
file in `cli/` say what is written in that file, and each says what is about its own."""
ASIDE = {
    "admin/requests/access_requests.py": {"--all"},  # of `request list`
    "cli/ask.py": {"--password-stdin", "--yes"},  # of those that ask
    "laptop/main.py": {"--how", "--id-token-env", "--id-token-file"},  # only of one who gave them
    "listeners/ssh/request_command.py": {"--allow", "--for", "--from"},  # of `ssh gw request`
    # So too, or under another name.
    "laptop/tunnel/fdpass.py": {"--fdpass"},
    "laptop/tunnel/options.py": {"--fdpass", "--gateway", "--timeout"},
}


@cache
def commands() -> dict[str, click.Command]:
    """Each by its words, groups as well; the program itself is the empty one."""
    by_path: dict[str, click.Command] = {}

    def walk(command: click.Command, path: tuple[str, ...]) -> None:
        by_path[" ".join(path)] = command
        if isinstance(command, click.Group):
            context = click.Context(command)
            for name in command.list_commands(context):
                child = command.get_command(context, name)
                assert child is not None
                walk(child, (*path, name))

    walk(root, ())
    return by_path


def options(path: str) -> set[str]:
    if path == "tunnel":
        return set(OPTIONS)
    named = {
        name for param in commands()[path].params for name in (*param.opts, *param.secondary_opts)
    }
    return {name for name in named if name.startswith("--")} | {"--help"}


def texts(file: str) -> Iterator[str]:
    """Yield the texts there for people; in an f-string `{}` stands for what is filled in."""
    source = (SOURCES / file).read_text()
    if file.endswith(".html"):
        yield re.sub(r"<[^>]*>", "", source)
        return
    tree = ast.parse(source)
    aside: set[ast.AST] = set()
    for node in ast.walk(tree):
        for statement in (
            getattr(node, "body", ()) if isinstance(getattr(node, "body", ()), list) else ()
        ):
            if isinstance(statement, ast.Expr):
                aside.add(statement.value)  # what is said about code
        if isinstance(node, ast.JoinedStr):
            aside.update(node.values)
    for node in ast.walk(tree):
        if node in aside:
            continue
        parts = node.values if isinstance(node, ast.JoinedStr) else [node]
        if isinstance(node, ast.JoinedStr | ast.Constant):
            text = "".join(
                str(part.value) if isinstance(part, ast.Constant) else "{}" for part in parts
            )
            if " " in text:  # one word alone is for a program
                yield text


def command_in(words: list[str]) -> tuple[str, list[str]] | None:
    """Which command a line calls, and what is behind it; None where it is prose about the program."""
    path = ""
    while words and (longer := f"{path} {words[0]}".strip()) in commands():
        path, words = longer, words[1:]
    if path or (words and words[0].startswith("--")):
        return path, words
    return None


def wrong(file: str) -> list[str]:
    """The options that `file` names and a command that says it does not have."""
    of_file = {
        path
        for path, command in commands().items()
        if command.callback
        and command.callback.__module__ == f"stagedoor.{file[:-3].replace('/', '.')}"
    }
    said_by = next((by for place, by in SAID_BY.items() if file.startswith(place)), ())
    missing = []
    for text in texts(file):
        rest = text
        for line in OURS.finditer(text):
            called = command_in(line[1].split())
            if called is not None:
                path, words = called
                named = OPTION.findall(FOREIGN.sub("", " ".join(words)))
                if path == "":
                    named = named[:1]  # what follows is of a command that is not named
                missing += [
                    f"stagedoor {path} {name}" for name in named if name not in options(path)
                ]
                rest = rest.replace(line[0], "", 1)
        for name in set(OPTION.findall(FOREIGN.sub("", rest))) - options(""):
            if text.startswith("Usage: stagedoor tunnel"):
                known = name in options("tunnel")
            elif of_file:
                known = any(name in options(path) for path in of_file)
            else:
                known = bool(said_by) and all(name in options(path) for path in said_by)
            if not known and name not in ASIDE.get(file, set()):
                missing.append(f"{name} in {text!r}, said by {said_by or of_file or 'nobody'}")
    return missing


@pytest.mark.parametrize("file", [file for file in FILES if "--" in (SOURCES / file).read_text()])
def test_an_option_that_a_message_names_is_there(file: str) -> None:
    assert wrong(file) == []


def test_a_command_that_asks_can_be_told_not_to() -> None:
    for path, command in commands().items():
        source = inspect.getsource(command.callback) if command.callback else ""
        for asks, name in (("sure(", "--yes"), ("new_password(", "--password-stdin")):
            assert asks not in source or name in options(path), path


# `login`, `logout` and `whoami` reach the gateway by the tunnel's client, and have hardly one of its options.


def said_at_login(url: str) -> str:
    with pytest.raises(TunnelError) as raised:
        GatewayWeb(url).get("/login/start")
    return raised.value.line


@pytest.fixture
def bare(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("LOGNAME", "USER", "STAGEDOOR_USER", "STAGEDOOR_VIA", "no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("LOGNAME", "anna")


@pytest.mark.usefixtures("bare")
def test_a_login_says_what_it_can_be_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*write_certificate(tmp_path))
    with ScriptedGateway([echoing], context) as gateway:
        untrusted = said_at_login(f"https://{gateway.address}")
    assert untrusted.endswith("stagedoor login --ca-file FILE GATEWAY")
    with ScriptedGateway([refusing(403, "not today")]) as corporate:
        monkeypatch.setenv("https_proxy", f"http://{corporate.address}")
        refused = said_at_login("https://gw.example")
    assert "not today" in refused
    assert refused.endswith("STAGEDOOR_VIA=direct goes without it")
    monkeypatch.setenv("https_proxy", "https://corporate.example")
    wrong = said_at_login("https://gw.example")
    assert wrong.endswith("STAGEDOOR_VIA=http://HOST:PORT, or STAGEDOOR_VIA=direct")


@pytest.mark.usefixtures("bare")
def test_one_without_a_name_on_the_machine_can_say_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """As in a container that runs under a number alone."""

    def raise_key_error(number: int) -> None:
        raise KeyError(number)

    monkeypatch.setattr(pwd, "getpwuid", raise_key_error)
    monkeypatch.delenv("LOGNAME")
    assert said_at_login("https://gw.example").endswith("set STAGEDOOR_USER=NAME")
    monkeypatch.setenv("STAGEDOOR_USER", "anna")
    assert GatewayWeb("https://gw.example").options.user == "anna"
    assert find_login_name({"STAGEDOOR_USER": "anna"}) == "anna"
