"""Each command works over a gateway's API, or is on a list with what it needs of the gateway's machine."""

from collections.abc import Iterator, Mapping
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from stagedoor.cli.app import stagedoor
from stagedoor.model.errors import SettingsError, StagedoorError

HERE = {
    "audit export": "the store, from which it makes a file",
    "audit key": "the gateway's private key",
    "audit sink list": "the state of the gateway's process",
    "audit sink test": "the network of the gateway's machine",
    "ca show": "the gateway's private key",
    "ca sign-host": "the gateway's private key",
    "sso test": "the network of the gateway's machine",
    "status": "the state of the gateway's process",
    "store backup": "the store",
    "store copy": "the store",
}
ASIDE = {
    *(
        "attach",
        "completion",
        "context",
        "demo",
        "doctor",
        "login",
        "logout",
        "run",
        "session watch",
    ),
    *("ssh-config", "tunnel", "whoami"),
    *("audit verify", "store restore"),  # they read a file first
    *(
        "controller",
        "serve",
        "upgrade",
    ),  # processes, which are of this machine whatever the context
}
"""The commands that do not administer a gateway."""
VALUES = {"subject": "user:alice", "role_": "auditor", "number": "1", "ids": "0123456789ab"}
OPTIONS = {
    "user add": ("--no-password",),
    "user password": ("--remove",),
    "grant change": ("--allow", "forward"),
    "request rule add": ("--approvals", "0"),
    "ca sign-host": ("--name", "a"),
}


def walk(command: click.Command, *path: str) -> Iterator[tuple[str, click.Command]]:
    if not isinstance(command, click.Group):
        yield " ".join(path), command
        return
    context = click.Context(command)
    for name in command.list_commands(context):
        inner = command.get_command(context, name)
        assert inner is not None, "a group has what it lists"
        yield from walk(inner, *path, name)


COMMANDS = {
    name: command
    for name, command in walk(stagedoor)
    if not any(f"{name} ".startswith(f"{other} ") for other in ASIDE)
}


def sample(command: click.Command, name: str, folder: Path) -> list[str]:
    """Return arguments that the command accepts."""
    given = [*name.split(), *OPTIONS.get(name, ())]
    for argument in command.params:
        if isinstance(argument, click.Argument):
            value = VALUES.get(argument.name or "", "alice")
            if isinstance(argument.type, click.Path | click.File):
                value = str(
                    folder if not getattr(argument.type, "file_okay", True) else folder / "id.pub"
                )
            if isinstance(argument.type, click.Choice):
                value = str(argument.type.choices[0])
            given.append(value)
    return given


@pytest.fixture
def home(tmp_path: Path) -> Mapping[str, str]:
    (tmp_path / "id.pub").write_text("ssh-ed25519 AAAA")
    (tmp_path / "a.toml").write_text('set = "a"')
    home = {"XDG_CONFIG_HOME": str(tmp_path / "config")}
    assert (
        not CliRunner()
        .invoke(stagedoor, ["context", "add", "x", "https://gw.example"], env=home)
        .exception
    )
    return home


@pytest.mark.parametrize("name", COMMANDS)
def test_a_command_works_over_the_api_or_says_that_it_does_not(
    tmp_path: Path, home: Mapping[str, str], name: str
) -> None:
    argv = sample(COMMANDS[name], name, tmp_path)
    result = CliRunner().invoke(stagedoor, argv, env=dict(home), standalone_mode=False)
    assert isinstance(result.exception, StagedoorError), (argv, result.exception, result.output)
    if name in HERE:
        assert isinstance(result.exception, SettingsError)
        assert "works on a gateway's own machine" in str(result.exception)
    else:
        assert "not logged in at https://gw.example" in str(result.exception), argv


def test_the_list_has_no_command_that_is_gone() -> None:
    assert set(HERE) <= set(COMMANDS)
