"""The words of `run`, and runs as JSON: examples, and whatever a client may send."""

import shlex

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stagedoor.model.run import Run, RunOrder, RunState, check_order
from stagedoor.model.target import Target
from stagedoor.wire.run_command import (
    CancelRun,
    ListRuns,
    ReadRun,
    RunCommandError,
    StartRun,
    WaitRun,
    parse_run_line,
    parse_run_words,
    parse_time,
)
from stagedoor.wire.run_text import describe_run, format_runs, parse_run

APP = Target("app01")


@pytest.mark.parametrize(
    ("line", "command"),
    [
        ("run app01 -- ./manage.py migrate", StartRun(RunOrder(APP, "./manage.py migrate"))),
        ("run app01 -- echo 'a b' -- c", StartRun(RunOrder(APP, "echo 'a b' -- c"))),
        ("run -d --timeout=90s --lock x app01 -- y", StartRun(RunOrder(APP, "y", 90, "x"), True)),
        ("run list -- y", StartRun(RunOrder(Target("list"), "y"))),
        ("  run list", ListRuns()),
        ("run list app01.staging --json", ListRuns(Target("app01", "staging"), True)),
        ("run logs 3f2a", ReadRun("3f2a")),
        ("run logs -f 3f2a --from 10", ReadRun("3f2a", 10, True)),
        ("run attach 3f2a", ReadRun("3f2a", 0, True, True)),
        ("run wait 3f2a", WaitRun("3f2a")),
        ("run cancel 3f2a", CancelRun("3f2a")),
        ("ls", None),
        ("runner", None),
    ],
)
def test_a_line_says_what_to_do(line: str, command: object) -> None:
    assert parse_run_line(line) == command


@pytest.mark.parametrize(
    "line",
    ["run", "run app01", "run -- x", "run a b -- x", "run --x app01 -- y", "run list a b", "run logs",
     "run logs ../x", "run logs 3f2a --json", "run cancel 3F2A", "run wait 3f2a 3f2b", "run 'a -- x",
     "run --timeout app01 -- x", "run app01 --timeout 1y -- x", "run logs 3f2a --from -1",
     "run app01 --lock"],
)  # fmt: skip
def test_wrong_words_are_refused(line: str) -> None:
    with pytest.raises(RunCommandError):
        parse_run_line(line)


@given(st.text())
def test_any_line_is_parsed_or_refused(text: str) -> None:
    for line in (text, f"run {text}", f"run app01 {text} -- {text}"):
        try:
            parse_run_line(line)
        except RunCommandError as error:
            assert str(error).isprintable()  # noqa: PT017


@given(st.lists(st.text(min_size=1), max_size=5))
def test_the_words_of_a_task_reach_its_shell_as_they_are(words: list[str]) -> None:
    line = shlex.join(words)
    command = parse_run_words(["app01"], line)
    assert isinstance(command, StartRun)
    assert shlex.split(command.order.command) == words


@given(st.text())
def test_any_time_is_parsed_or_refused(text: str) -> None:
    try:
        assert parse_time(text) >= 0
    except RunCommandError:
        return


RUNS = st.builds(
    Run,
    id=st.text(),
    target=st.just(Target("app01", "staging")),
    starter=st.text(),
    command=st.text(),
    state=st.sampled_from(RunState),
    started_at=st.floats(0, 4e9),
    timeout_s=st.integers(1, 86400),
    lock=st.none() | st.text(),
    ended_at=st.none() | st.floats(0, 4e9),
    code=st.none() | st.integers(0, 255),
    detail=st.text(),
    size=st.integers(0, 2**50),
)


@given(RUNS)
def test_a_run_survives_json(run: Run) -> None:
    assert parse_run(describe_run(run)) == run


@given(st.lists(RUNS, min_size=1, max_size=3))
def test_a_list_has_a_line_for_each_run(runs: list[Run]) -> None:
    assert len(format_runs(runs).splitlines()) == len(runs) + 1


NAMES = (
    "id",
    "app",
    "by",
    "command",
    "state",
    "code",
    "started_at",
    "ended_at",
    "timeout_s",
    "size",
)
JSON = st.none() | st.booleans() | st.floats() | st.integers() | st.text() | st.lists(st.none())


@given(JSON | st.fixed_dictionaries(dict.fromkeys(NAMES, JSON)))
def test_any_json_is_a_run_or_refused(value: object) -> None:
    try:
        parse_run(value)
    except ValueError:
        return


@pytest.mark.parametrize(
    ("order", "why"),
    [
        (RunOrder(APP, " "), "there is no command"),
        (RunOrder(APP, "x" * 8193), "8193 bytes"),
        (RunOrder(APP, "\0"), "NUL"),
        (RunOrder(APP, "\ud800"), "not UTF-8"),
        (RunOrder(APP, "x", 0), "--timeout"),
        (RunOrder(APP, "x", 86401), "--timeout"),
        (RunOrder(APP, "x", 1, "../x"), "a lock's name"),
        (RunOrder(APP, "x", 1, ""), "a lock's name"),
        (RunOrder(APP, "x", size="../x"), "--size does not name a size: "),
        (RunOrder(APP, "x", size="a" * 41), "at most 40 characters"),
    ],
)
def test_an_order_that_cannot_be_carried_out_is_refused(order: RunOrder, why: str) -> None:
    assert why in (check_order(order) or "")
    assert check_order(RunOrder(APP, "x", 86400, "a.b_c-1")) is None
