from collections.abc import Iterator

import click
import pytest
from click.shell_completion import ShellComplete

from stagedoor.cli.app import run, stagedoor
from tests.cli.conftest import Desk


def leaves(command: click.Command, path: tuple[str, ...]) -> Iterator[tuple[str, ...]]:
    if isinstance(command, click.Group):
        context = click.Context(command)
        for name in command.list_commands(context):
            child = command.get_command(context, name)
            assert child is not None
            yield from leaves(child, (*path, name))
    else:
        yield path


COMMANDS = [path for path in leaves(stagedoor, ()) if path != ("tunnel",)]


@pytest.mark.parametrize("path", COMMANDS, ids=" ".join)
def test_every_command_shows_examples_and_exit_codes(desk: Desk, path: tuple[str, ...]) -> None:
    text = desk.run(*path, "--help").stdout
    assert f"stagedoor {' '.join(path)}" in text
    assert "Examples:" in text
    assert "Exit codes:" in text
    assert not desk.data_dir.exists(), "help needs no store"


def summaries(command: click.Group, path: str) -> Iterator[tuple[str, str]]:
    context = click.Context(command)
    for name in command.list_commands(context):
        child = command.get_command(context, name)
        assert child is not None
        yield f"{path} {name}", child.get_short_help_str(1000)
        if isinstance(child, click.Group):
            yield from summaries(child, f"{path} {name}")


def test_every_summary_fits_its_line_and_begins_with_a_verb() -> None:
    nouns = {"A", "An", "The", "See", "Have"}
    for path, text in summaries(stagedoor, "stagedoor"):
        assert len(text) <= 60, (path, text)
        assert text.endswith("."), (path, text)
        assert text.split()[0] not in nouns, (path, text)


@pytest.mark.parametrize(
    ("argv", "line"),
    [
        (["usr"], "stagedoor: no such command 'usr'. Did you mean 'user'?\n"),
        (["grant", "ad"], "stagedoor: no such command 'ad'. Did you mean 'add'?\n"),
        (["xyzzy"], "stagedoor: no such command 'xyzzy'; try 'stagedoor --help'\n"),
        (["user", "list", "--jsn"], "stagedoor: no such option '--jsn'. Did you mean '--json'?\n"),
        (["user", "add"], "stagedoor: missing argument 'NAME'; try 'stagedoor user add --help'\n"),
    ],
)
def test_what_is_typed_wrong_is_told_in_one_line(
    argv: list[str], line: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.argv", ["stagedoor", *argv])
    with pytest.raises(SystemExit) as ending:
        run()
    assert (ending.value.code, capsys.readouterr().err) == (2, line)


@pytest.mark.parametrize(
    ("words", "incomplete", "offered"),
    [
        (["user", "remove"], "al", ["alice"]),
        (["grant", "add"], "user:", ["user:alice"]),
        (["grant", "remove"], "", ["1"]),
        (["grant", "change"], "", ["1"]),
        (["grant", "add"], "ev", ["everybody"]),
        (["grant", "add", "--allow"], "re", ["record", "replay"]),
        (["grant", "add", "--allow"], "record,forward,re", ["record,forward,replay"]),
        (["grant", "change", "--without"], "f", ["files", "forward"]),
        (["token", "create"], "b", []),
    ],
)
def test_names_are_completed_from_the_store(
    alice: Desk, words: list[str], incomplete: str, offered: list[str]
) -> None:
    alice.out("grant", "add", "user:alice", "app01")
    completion = ShellComplete(stagedoor, {}, "stagedoor", "_STAGEDOOR_COMPLETE")
    argv = ["--config", str(alice.settings_file), *words]
    assert [item.value for item in completion.get_completions(argv, incomplete)] == offered


def test_completion_is_silent_where_there_is_no_store(desk: Desk) -> None:
    completion = ShellComplete(stagedoor, {}, "stagedoor", "_STAGEDOOR_COMPLETE")
    argv = ["--config", str(desk.settings_file), "user", "remove"]
    assert completion.get_completions(argv, "") == []
