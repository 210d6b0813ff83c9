"""Runs as JSON and as text, the same by ssh, on the web and by `stagedoor run`. Pure."""

from collections.abc import Mapping, Sequence
from math import isfinite

from stagedoor.model.run import Run, RunState
from stagedoor.model.units import format_size
from stagedoor.wire.oneline import to_one_line
from stagedoor.wire.rfc3339 import show_time
from stagedoor.wire.target import parse_login

_COMMAND_CHARS = 60
_NAME_CHARS = 64


def describe_run(run: Run, command_chars: int | None = None) -> dict[str, object]:
    """Return a run as JSON; times are seconds since the epoch, and None while it has not ended.

    With `command_chars` the command is cut to one line of so many characters.
    """
    command = run.command if command_chars is None else to_one_line(run.command, command_chars)
    return {
        "id": run.id,
        "app": run.target.login_name,
        "by": run.starter,
        "command": command,
        "state": run.state.value,
        "code": run.code,
        "started_at": run.started_at,
        "ended_at": run.ended_at,
        "timeout_s": run.timeout_s,
        "lock": run.lock,
        "size": run.size,
        "detail": run.detail,
    }


def parse_run(value: object) -> Run:
    """Return the run that `describe_run` made JSON of. Raises ValueError for anything else."""
    if not isinstance(value, dict):
        raise ValueError("a run is a JSON object")
    target = parse_login(_text(value, "app"))
    ended_at, code = value.get("ended_at"), value.get("code")
    if target is None or not (code is None or isinstance(code, int)):
        raise ValueError("the run has no app, or a wrong code")
    return Run(
        _text(value, "id"),
        target,
        _text(value, "by"),
        _text(value, "command"),
        RunState(_text(value, "state")),
        _number(value, "started_at"),
        int(_number(value, "timeout_s")),
        None if value.get("lock") is None else _text(value, "lock"),
        None if ended_at is None else _number(value, "ended_at"),
        code,
        _text(value, "detail"),
        int(_number(value, "size")),
    )


def _text(fields: Mapping[str, object], name: str) -> str:
    text = fields.get(name)
    if not isinstance(text, str):
        raise ValueError(f"{name} of a run is not a string")
    return text


def _number(fields: Mapping[str, object], name: str) -> float:
    number = fields.get(name)
    if isinstance(number, bool) or not isinstance(number, int | float) or not isfinite(number):
        raise ValueError(f"{name} of a run is not a number")
    return number


def format_runs(runs: Sequence[Run]) -> str:
    """Return a table of runs with a line for each."""
    if not runs:
        return "There is no run that you may see.\n"
    rows = [("ID", "APP", "BY", "STARTED", "STATE", "COMMAND")]
    rows += [
        (
            to_one_line(run.id, _NAME_CHARS),
            run.target.login_name,
            to_one_line(run.starter, _NAME_CHARS),
            show_time(run.started_at),
            _state(run),
            to_one_line(run.command, _COMMAND_CHARS),
        )
        for run in runs
    ]
    widths = [max(len(row[at]) for row in rows) for at in range(len(rows[0]) - 1)]
    return "".join(
        "  ".join([*(cell.ljust(width) for cell, width in zip(row, widths, strict=False)), row[-1]])
        + "\n"
        for row in rows
    )


def format_run_end(run: Run) -> str:
    """Return one line about the end of a run."""
    detail = f" ({to_one_line(run.detail, 200)})" if run.detail else ""
    return f"run {to_one_line(run.id, _NAME_CHARS)} {_state(run)}{detail}, {format_size(run.size)} of output"


def format_gap(count: int) -> str:
    """Return one line about output that is not kept any more."""
    return f"stagedoor: {count} bytes of output are left out here; the log no longer has them"


def _state(run: Run) -> str:
    word = run.state.value.replace("_", " ")
    return f"{word} with {run.code}" if run.is_over else word
