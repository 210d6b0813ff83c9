"""The words of the command `run`, the same by `ssh GATEWAY run …` and by `stagedoor run …`.

    run [--detach] [--timeout TIME] [--lock NAME] [--size NAME] [--json] APP -- COMMAND LINE
    run list [APP] [--json]
    run logs ID [--follow] [--from BYTE]
    run attach ID [--from BYTE]
    run wait ID [--json]
    run cancel ID

By ssh the words are one line of text (RFC 4254 §6.5). What follows the first `--` is a line for the app's
shell and is passed on as it is, so it is never split here.
"""

import re
import shlex
from dataclasses import dataclass

from stagedoor.model.run import DEFAULT_TIMEOUT_S, RunOrder, is_run_id
from stagedoor.model.target import Target
from stagedoor.wire.duration import parse_duration
from stagedoor.wire.target import parse_login

MAX_LINE_CHARS = 16 * 1024
_SEPARATOR = re.compile(r"(?:^|\s)--(?:\s|\Z)")
USAGE = (
    "run [--detach] [--timeout TIME] [--lock NAME] [--size NAME] APP -- COMMAND, "
    "or run list|logs|wait|attach|cancel"
)


class RunCommandError(ValueError):
    """Words that are no command `run`; the text is one line for the developer."""


@dataclass(frozen=True, slots=True)
class StartRun:
    """`run APP -- COMMAND`. With `detach` the client does not wait for the end."""

    order: RunOrder
    detach: bool = False
    json: bool = False


@dataclass(frozen=True, slots=True)
class ListRuns:
    """`run list`: the runs of one app, or of all apps if `target` is None."""

    target: Target | None = None
    json: bool = False


@dataclass(frozen=True, slots=True)
class ReadRun:
    """`run logs` and `run attach`: the output from byte `start` on.

    With `follow` until the run's end; with `is_attached` the exit code is the task's as well.
    """

    id: str
    start: int = 0
    follow: bool = False
    is_attached: bool = False


@dataclass(frozen=True, slots=True)
class WaitRun:
    """`run wait`: wait for the end; the exit code is the task's."""

    id: str
    json: bool = False


@dataclass(frozen=True, slots=True)
class CancelRun:
    """`run cancel`."""

    id: str


RunCommand = StartRun | ListRuns | ReadRun | WaitRun | CancelRun


def parse_run_line(line: str) -> RunCommand | None:
    """Parse a command line as ssh sends it. Return None if it is not the command `run`.

    Raises RunCommandError if it is, with wrong words.
    """
    line = line.lstrip()
    if not re.match(r"run(?:\s|\Z)", line):
        return None
    if len(line) > MAX_LINE_CHARS:
        raise RunCommandError(
            f"the line has {len(line)} characters, and the limit is {MAX_LINE_CHARS}"
        )
    separator = _SEPARATOR.search(line)
    head = line if separator is None else line[: separator.start()]
    try:
        words = shlex.split(head)[1:]
    except ValueError as error:
        raise RunCommandError(f"{error}; write: {USAGE}") from None
    return parse_run_words(words, None if separator is None else line[separator.end() :])


def parse_run_words(words: list[str], command: str | None) -> RunCommand:
    """Parse the words after `run`. `command` is what follows `--`, or None without one.

    With a command the words name an app, so an app may be called `list`. Raises RunCommandError.
    """
    parser = _WordParser(list(words))
    if command is not None:
        return _parse_start(parser, command)
    verb = parser.take_name("what to do")
    match verb:
        case "list":
            as_json = parser.take_flag("--json")
            name = parser.take_rest()
            return ListRuns(None if name is None else _target(name), as_json)
        case "logs" | "attach":
            is_attached = verb == "attach"
            follow = is_attached or parser.take_flag("--follow") or parser.take_flag("-f")
            start = _number(parser.take_value("--from") or "0")
            return ReadRun(parser.take_id(), start, follow, is_attached)
        case "wait":
            as_json = parser.take_flag("--json")
            return WaitRun(parser.take_id(), as_json)
        case "cancel":
            return CancelRun(parser.take_id())
    raise RunCommandError(f"{_quote(verb)} is not a known word; write: {USAGE}")


def _parse_start(parser: "_WordParser", command: str) -> StartRun:
    detach = parser.take_flag("--detach") or parser.take_flag("-d")
    as_json = parser.take_flag("--json")
    timeout = parser.take_value("--timeout")
    lock = parser.take_value("--lock")
    size = parser.take_value("--size")
    timeout_s = DEFAULT_TIMEOUT_S if timeout is None else parse_time(timeout)
    target = _target(parser.take_name("an app"))
    parser.check_empty()
    order = RunOrder(target, command.strip(), timeout_s, lock, size=size)
    return StartRun(order, detach, as_json)


class _WordParser:
    """A parser of the words. Options may stand before and after the names."""

    def __init__(self, words: list[str]) -> None:
        self._words = words

    def take_flag(self, name: str) -> bool:
        """Take an option without a value, and return whether it is there."""
        if name not in self._words:
            return False
        self._words.remove(name)
        return True

    def take_value(self, name: str) -> str | None:
        """Take `--name VALUE` or `--name=VALUE`, and return the value, or None without it."""
        for at, word in enumerate(self._words):
            if word.startswith(f"{name}="):
                del self._words[at]
                return word.partition("=")[2]
            if word == name:
                if at + 1 == len(self._words):
                    raise RunCommandError(f"{name} needs a value")
                value = self._words[at + 1]
                del self._words[at : at + 2]
                return value
        return None

    def take_name(self, what: str) -> str:
        """Take the next word, which is no option."""
        if not self._words:
            raise RunCommandError(f"name {what}; write: {USAGE}")
        if self._words[0].startswith("-"):
            raise RunCommandError(f"there is no option {_quote(self._words[0])}; write: {USAGE}")
        return self._words.pop(0)

    def take_id(self) -> str:
        """Take the id of a run, which is the last word."""
        name = self.take_name("a run, as `run list` shows it")
        self.check_empty()
        if not is_run_id(name):
            raise RunCommandError(f"{_quote(name)} is not the id of a run; `run list` shows them")
        return name

    def take_rest(self) -> str | None:
        """Take the last word, if there is one."""
        if not self._words:
            return None
        name = self.take_name("an app")
        self.check_empty()
        return name

    def check_empty(self) -> None:
        """Raise RunCommandError if a word is left."""
        if self._words:
            raise RunCommandError(f"{_quote(self._words[0])} is an unexpected word; write: {USAGE}")


def parse_time(text: str) -> int:
    """Return the seconds in a text such as `90s`, as `parse_duration`. Raises RunCommandError."""
    duration = parse_duration(text)
    if duration is None:
        raise RunCommandError(f"{_quote(text)} is not a duration; write one such as 90s, 15m or 6h")
    return duration


def _target(name: str) -> Target:
    target = parse_login(name)
    if target is None:
        raise RunCommandError(f"{_quote(name)} is not the name of an app")
    return target


def _number(text: str) -> int:
    if not re.fullmatch(r"\d{1,18}", text, re.ASCII):
        raise RunCommandError(f"{_quote(text)} is not a number of bytes")
    return int(text)


def _quote(word: str) -> str:
    return repr("".join(c if c.isprintable() else "?" for c in word[:60]))
