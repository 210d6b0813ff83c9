"""`stagedoor run` and the API behind it, at a real gateway: streams, codes, input, and a line that breaks."""

import base64
import hashlib
import http.client
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from stagedoor.model.permission import Permission
from tests.docs.pages import ROOT
from tests.fixtures.gateway import Gateway, local, open_gateway
from tests.ports import free_port
from tests.waiting import BOUND_S, wait_until
from tests.web.relay import CuttingRelay

SETTINGS = '[web]\naddresses = ["127.0.0.1:{port}"]\n' + local("app01")
Done = subprocess.CompletedProcess[bytes]


class Developer:
    """A developer with a token, who may run tasks in app01 of a gateway with a web address."""

    def __init__(self, gateway: Gateway, port: int) -> None:
        self.gateway = gateway
        self.port = port
        gateway.permit("user:dev", "app01", Permission.RUN)
        self.token = gateway.token()
        self._file = gateway.folder / "token"
        self._file.touch(mode=0o600)
        self._file.write_text(self.token)

    def command(self, *words: str) -> list[str]:
        reach = ["--url", f"http://127.0.0.1:{self.port}", "--user", "dev", "--token-file"]
        return [sys.executable, "-m", "stagedoor", "run", *reach, str(self._file), *words]

    def run(self, *words: str, input: bytes | None = None) -> Done:
        given: dict[str, Any] = {"stdin": subprocess.DEVNULL} if input is None else {"input": input}
        return subprocess.run(self.command(*words), capture_output=True, timeout=BOUND_S, **given)

    def post(self, what: str, **body: object) -> tuple[int, dict[str, Any]]:
        with closing(
            http.client.HTTPConnection("127.0.0.1", self.port, timeout=BOUND_S)
        ) as connection:
            fields = {"Authorization": f"Bearer {self.token}", "Content-Type": "application/json"}
            connection.request("POST", f"/api/{what}", json.dumps(body), fields)
            answer = connection.getresponse()
            return answer.status, json.loads(answer.read())

    def ended(self, run_id: str) -> dict[str, Any]:
        return dict(json.loads(self.run("wait", run_id, "--json").stdout))


@pytest.fixture(scope="module")
def dev(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Developer]:
    port = free_port()
    folder = tmp_path_factory.mktemp("run")
    with open_gateway(folder, SETTINGS.format(port=port), "app01", workers=2) as gateway:
        yield Developer(gateway, port)


@pytest.mark.platform(1)
def test_streams_and_exit_code_are_those_of_the_task(dev: Developer) -> None:
    done = dev.run("app01", "--", "sh", "-c", "echo 'a  b'; echo err >&2; exit 7")
    assert (done.returncode, done.stdout) == (7, b"a  b\n")
    assert done.stderr.startswith(b"stagedoor: run ")
    assert done.stderr.endswith(b"\nerr\n")


def test_a_large_output_arrives_whole(dev: Developer) -> None:
    done = dev.run("app01", "--", "seq", "1000000")
    assert done.returncode == 0
    whole = b"".join(b"%d\n" % number for number in range(1, 1_000_001))
    assert hashlib.sha256(done.stdout).digest() == hashlib.sha256(whole).digest()


def test_piped_input_arrives_whole(dev: Developer) -> None:
    data = os.urandom(500_000)
    done = dev.run("app01", "--", "sha256sum", input=data)
    assert done.stdout.split()[0].decode() == hashlib.sha256(data).hexdigest()


def test_an_input_that_is_empty_is_whole(dev: Developer) -> None:
    assert dev.run("app01", "--", "sh", "-c", "cat; exit 3", input=b"").returncode == 3


def test_a_detached_run_is_listed_shown_and_waited_for(dev: Developer) -> None:
    run_id = (
        dev.run("--detach", "app01", "--", "sh", "-c", "echo it; exit 4").stdout.decode().strip()
    )
    done = dev.run("wait", run_id)
    assert done.returncode == 4
    assert f"run {run_id} exited with 4" in done.stderr.decode()
    assert dev.run("logs", run_id).stdout == b"it\n"
    assert dev.run("attach", run_id, "--from", "1").stdout == b"t\n"
    listed = json.loads(dev.run("list", "app01", "--json").stdout)
    assert (listed[0]["id"], listed[0]["code"], listed[0]["by"]) == (run_id, 4, "dev")
    assert run_id in dev.run("list").stdout.decode()


def test_a_log_does_no_more_than_draw_in_a_terminal(dev: Developer) -> None:
    """A colleague chose what is in it; a file or a pipe gets every byte."""
    evil = r"\033]52;c;cHduZWQ=\007\033[?u\033[31mred\033[0m\n"
    run_id = dev.run("--detach", "app01", "--", "printf", evil).stdout.decode().strip()
    dev.ended(run_id)
    assert b"\x1b]52" in dev.run("logs", run_id).stdout
    primary, secondary = os.openpty()
    try:
        subprocess.run(dev.command("logs", run_id), stdout=secondary, timeout=BOUND_S, check=True)
        shown = os.read(primary, 4096)
    finally:
        os.close(primary)
        os.close(secondary)
    assert shown == b"\x1b[31mred\x1b[0m\r\n"


def test_json_names_the_state(dev: Developer) -> None:
    done = dev.run("--json", "--timeout", "1s", "app01", "--", "sleep", "60")
    assert done.returncode == 124
    assert json.loads(done.stderr.splitlines()[-1])["state"] == "timed_out"


@pytest.mark.platform(6)
def test_a_lock_refuses_with_75_and_a_cancelled_run_is_143(dev: Developer) -> None:
    start = ("--lock", "x", "app01", "--", "sleep", "60")
    run_id = dev.run("--detach", *start).stdout.decode().strip()
    done = dev.run(*start)
    assert done.returncode == 75
    assert b"has the lock x" in done.stderr
    assert dev.run("cancel", run_id).returncode == 0
    assert dev.run("wait", run_id).returncode == 143


def test_a_repeated_request_starts_nothing_twice(dev: Developer, tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    body = {"id": os.urandom(6).hex(), "target": "app01", "command": f"echo x >>{mark}"}
    first, second = dev.post("runs/start", **body), dev.post("runs/start", **body)
    assert first[0] == second[0] == 200
    assert first[1]["run"]["id"] == second[1]["run"]["id"] == body["id"]
    assert dev.ended(str(body["id"]))["code"] == 0
    assert mark.read_text() == "x\n"


@pytest.mark.parametrize(
    ("what", "body"),
    [
        ("runs/start", {"command": "true"}),
        ("runs/start", {"target": "app01", "command": 3}),
        ("runs/start", {"target": "app01", "command": ""}),
        ("runs/start", {"target": "app01", "command": "x", "timeout_s": 1e9}),
        ("runs/start", {"target": "app01", "command": "x", "timeout_s": 10**9}),
        ("runs/start", {"target": "app01", "command": "x", "lock": "../x"}),
        ("runs/start", {"target": "app01", "command": "x", "id": "../../x"}),
        ("runs/start", {"target": "app01", "command": "\ud800"}),
        ("runs/log", {"id": "../x"}),
        ("runs/log", {"id": "3f2a", "from": -1}),
        ("runs/input", {"id": "3f2a", "data": "?"}),
        ("runs/cancel", {}),
    ],
)
def test_a_wrong_request_is_refused(dev: Developer, what: str, body: dict[str, object]) -> None:
    assert dev.post(what, **body)[0] == 400


def test_a_run_of_an_unknown_id_is_404(dev: Developer) -> None:
    assert dev.post("runs/log", id="abcdef")[0] == 404


def test_input_that_is_sent_again_counts_once(dev: Developer) -> None:
    status, answer = dev.post("runs/start", target="app01", command="cat", input=True)
    assert status == 200
    run_id = answer["run"]["id"]
    for at, text in ((0, b"abc"), (0, b"abc"), (1, b"bcde")):
        data = base64.b64encode(text).decode()
        assert dev.post("runs/input", id=run_id, at=at, data=data)[1]["at"] == at + len(text)
    assert dev.post("runs/input", id=run_id, at=5, end=True)[1]["ended"] is True
    assert dev.ended(run_id)["code"] == 0
    pieces = dev.post("runs/log", id=run_id)[1]["pieces"]
    assert b"".join(base64.b64decode(text) for _, _, text in pieces) == b"abcde"


@pytest.mark.platform(8)
def test_a_client_that_is_interrupted_while_it_pipes_ends_the_task(dev: Developer) -> None:
    command = dev.command("app01", "--", "sh", "-c", "cat; sleep 60")
    pipes = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE)
    with subprocess.Popen(command, **pipes) as client:  # type: ignore[call-overload]
        run_id = client.stderr.readline().split()[2].decode()
        client.stdin.write(b"half")
        client.stdin.flush()
        assert client.stdout.read(4) == b"half"
        client.send_signal(signal.SIGINT)
        assert client.wait(BOUND_S) == 130
    one = dev.ended(run_id)
    assert (one["state"], one["code"]) == ("input_lost", 74)


def test_an_interrupted_client_leaves_its_task(dev: Developer) -> None:
    command = dev.command("app01", "--", "sh", "-c", "echo begun; sleep 1; exit 6")
    pipes = dict.fromkeys(("stdout", "stderr"), subprocess.PIPE)
    with subprocess.Popen(command, stdin=subprocess.DEVNULL, **pipes) as client:  # type: ignore[call-overload]
        run_id = client.stderr.readline().split()[2].decode()
        assert client.stdout.readline() == b"begun\n"
        client.send_signal(signal.SIGINT)
        assert client.wait(BOUND_S) == 130
        assert f"stagedoor run cancel {run_id}" in client.stderr.read().decode()
    assert dev.ended(run_id)["code"] == 6


@pytest.mark.platform(2)
def test_a_client_goes_on_at_the_byte_after_the_gateway_was_killed(tmp_path: Path) -> None:
    port = free_port()
    with open_gateway(tmp_path, SETTINGS.format(port=port), "app01") as gateway:
        dev = Developer(gateway, port)
        go = tmp_path / "go"
        task = f"seq 50000; while [ ! -e {go} ]; do sleep 0.05; done; seq 50001 100000; exit 8"
        pipes = dict.fromkeys(("stdout", "stderr"), subprocess.PIPE)
        command = dev.command("app01", "--", "sh", "-c", task)
        # Without a buffer: `communicate` would not return what is in it.
        options = {"stdin": subprocess.DEVNULL, "bufsize": 0, **pipes}
        with subprocess.Popen(command, **options) as client:  # type: ignore[call-overload]
            before = client.stdout.read(100_000)
            assert gateway.process is not None
            for pid in (gateway.process.pid, *gateway.worker_pids()):
                os.kill(pid, signal.SIGKILL)
            gateway.process.wait(BOUND_S)
            go.touch()
            gateway.wait_for(lambda line: line["event"] == "end of log")
            gateway.lines.clear()
            gateway.start()
            out, err = client.communicate(timeout=BOUND_S)
    assert client.returncode == 8
    assert before + out == b"".join(b"%d\n" % number for number in range(1, 100_001))
    assert b"connection lost; reconnecting" in err
    assert b"reconnected" in err


SOON = (
    "from stagedoor.client.attach.web import TerminalConnection as it; it.answer_s = 2.0; "
    "from runpy import run_module; run_module('stagedoor', run_name='__main__')"
)
"""The program with two seconds instead of 25 for an answer."""


@pytest.mark.platform(2)
def test_a_client_goes_on_at_the_byte_after_a_line_fell_silent(
    dev: Developer, tmp_path: Path
) -> None:
    """The packets of its connection are dropped: neither end hears of it, and the task goes on."""
    go = tmp_path / "go"
    task = f"seq 50000; while [ ! -e {go} ]; do sleep 0.05; done; seq 50001 100000; exit 8"
    with CuttingRelay(dev.port, armed=False) as relay:
        words = dev.command(
            "--url", f"http://127.0.0.1:{relay.port}", "app01", "--", "sh", "-c", task
        )
        pipes = dict.fromkeys(("stdout", "stderr"), subprocess.PIPE)
        options = {"stdin": subprocess.DEVNULL, "bufsize": 0, **pipes}
        command = [sys.executable, "-c", SOON, *words[3:]]
        with subprocess.Popen(command, **options) as client:  # type: ignore[call-overload]
            before = client.stdout.read(100_000)
            relay.hold()
            go.touch()
            out, err = client.communicate(timeout=BOUND_S)
    assert client.returncode == 8
    assert before + out == b"".join(b"%d\n" % number for number in range(1, 100_001))
    assert b"connection lost; reconnecting" in err
    assert b"reconnected" in err


def test_wrong_usage_is_2(dev: Developer) -> None:
    for words in (("app01",), (), ("list", "a", "b"), ("wait", "x", "--", "y", "--lock")):
        done = dev.run(*words)
        assert done.returncode in (2, 255), words
    assert dev.run("cancel", "--detach", "3f2a").returncode == 2


def test_a_program_that_ends_without_a_terminal_names_the_shell_which_has_one(
    dev: Developer,
) -> None:
    """From a terminal a run has no input, so a shell ends at once, and says nothing."""
    ours, theirs = os.openpty()
    try:

        def run(*words: str) -> bytes:
            command = dev.command("app01", "--", *words)
            return subprocess.run(
                command, stdin=theirs, stderr=subprocess.PIPE, timeout=BOUND_S
            ).stderr

        hint = (
            b"a run has no terminal to type into; the app's shell has one: stagedoor attach app01"
        )
        assert hint in run("sh")
        assert hint not in run("sh", "-c", "echo here")
        assert hint not in dev.run("app01", "--", "true").stderr
    finally:
        os.close(ours)
        os.close(theirs)


def script_of_ci() -> str:
    """The lines of the how-to that start a task, cancel it on a signal, and wait for it."""
    page = (ROOT / "docs/how-to/run-in-ci.md").read_text()
    return page[page.index("id=$(") : page.index("wait $!")] + "wait $!\n"


def test_a_job_that_the_ci_cancels_cancels_its_task(dev: Developer, tmp_path: Path) -> None:
    token = tmp_path / ".config/stagedoor/token"
    token.parent.mkdir(parents=True)
    token.touch(mode=0o600)
    token.write_text(dev.token)
    program = tmp_path / "stagedoor"
    program.write_text(f'#!/bin/sh\nexec {sys.executable} -m stagedoor "$@"\n')
    program.chmod(0o755)
    env = os.environ | {
        "HOME": str(tmp_path),
        "PATH": f"{tmp_path}:{os.environ['PATH']}",
        "STAGEDOOR_URL": f"http://127.0.0.1:{dev.port}",
        "STAGEDOOR_USER": "dev",
    }
    script = script_of_ci().replace("app01.staging", "app01")
    for task, is_cancelled in (("sh -c 'echo here; sleep 300'", True), ("sh -c 'exit 7'", False)):
        job = subprocess.Popen(
            ["sh", "-ec", script.replace("./manage.py migrate", task)],
            env=env,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
        )
        assert job.stdout is not None
        if is_cancelled:
            assert job.stdout.readline() == b"here\n"
            job.send_signal(signal.SIGTERM)
            listed = partial(dev.run, "list", "app01", "--json")
            wait_until(lambda listed=listed: json.loads(listed().stdout)[0]["state"] == "cancelled")
        else:
            assert job.wait(BOUND_S) == 7
        job.stdout.close()
        job.kill()
        job.wait()
