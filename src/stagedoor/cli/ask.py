"""Prompts for a password and for a confirmation."""

import sys

import click


def ask_new_password(name: str, *, from_stdin: bool) -> str:
    """Ask for a new password for `name`, twice without echo, or read the first line of stdin.

    Raises click.UsageError if there is no terminal to ask at, or no password on stdin.
    """
    if from_stdin:
        return _first_line()
    if not sys.stdin.isatty():
        raise click.UsageError("there is no terminal to ask for a password; use --password-stdin")
    return str(
        click.prompt(f"Password for {name}", hide_input=True, confirmation_prompt=True, err=True)
    )


def _first_line() -> str:
    try:
        line = sys.stdin.buffer.readline(8192).decode()
    except UnicodeDecodeError:
        raise click.UsageError("the password on stdin is not UTF-8") from None
    password = line.removesuffix("\n").removesuffix("\r")
    if not password:
        raise click.UsageError("there is no password on stdin")
    return password


def confirm(question: str, *, yes: bool) -> None:
    """Ask `question` unless `yes` is set. Raises click.Abort after a no, UsageError without a terminal."""
    if yes:
        return
    if not sys.stdin.isatty():
        raise click.UsageError(f"{question} There is no terminal to answer at; use --yes")
    click.confirm(question, abort=True, err=True)
