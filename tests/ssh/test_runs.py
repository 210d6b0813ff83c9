"""Runs by stock ssh: exit codes, logs, limits, and what is lost on the way. Gateway and holder are real."""

import hashlib
import json
import os
import re
import signal
import subprocess
from collections.abc import Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pytest

from stagedoor.admin import service as admin
from stagedoor.model.permission import Permission
from stagedoor.model.run import PER_APP
from tests.fixtures.gateway import SSH_TABLE, local, static
from tests.fixtures.laptop import Done, Laptop, new_key, open_laptop, public
from tests.stopped import killed
from tests.waiting import BOUND_S, wait_until

RUN = frozenset({Permission.RUN})
ENVIRONMENT = '[shells.local.env]\nOF_APP = "of app01"\n'
GONE = local("gone", 'directory = "/srv/gone"\n')
SETTINGS = SSH_TABLE + local("app01", ENVIRONMENT) + local("app02") + GONE + static("old", 1)


@pytest.fixture(scope="module")
def laptop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Laptop]:
    apps = ("app01", "app02", "gone", "old")
    permits = [("user:dev", app, (Permission.RUN,)) for app in apps]
    with open_laptop(tmp_path_factory.mktemp("runs"), SETTINGS, apps, permits) as one:  # type: ignore[arg-type]
        yield one


@pytest.fixture
def own(tmp_path: Path) -> Iterator[Laptop]:
    """A laptop with a gateway that the test may kill."""
    permits = [("user:dev", "app01", (Permission.RUN,))]
    with open_laptop(tmp_path, SETTINGS, ("app01",), permits) as one:  # type: ignore[arg-type]
        yield one


def run(laptop: Laptop, *words: str, input: bytes = b"", config: Path | None = None) -> Done:
    return laptop.ssh("gw", "run", *words, input=input, config=config)


def detach(laptop: Laptop, command: str, *options: str, app: str = "app01") -> str:
    """Start a run, and return its id."""
    done = run(laptop, "--detach", *options, app, "--", command)
    assert done.returncode == 0, done.stderr
    return done.stdout.decode().strip()


def shown(laptop: Laptop, run_id: str) -> dict[str, Any]:
    listed = json.loads(run(laptop, "list", "--json").stdout)
    return next(shown for shown in listed if shown["id"] == run_id)


def ended(laptop: Laptop, run_id: str) -> dict[str, Any]:
    """Wait for the end of a run, and return it."""
    done = run(laptop, "wait", run_id, "--json")
    return dict(json.loads(done.stdout))


def attached(laptop: Laptop, *words: str) -> AbstractContextManager["subprocess.Popen[bytes]"]:
    """A client with pipes, which is killed at the end if it still runs."""
    command = ["ssh", "-F", str(laptop.config()), "gw", "run", *words]
    pipe = subprocess.PIPE
    return killed(subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe))


def id_in(process: "subprocess.Popen[bytes]") -> str:
    """Return the id of the run that a client has started."""
    assert process.stderr is not None
    match = re.search(rb"run ([0-9a-f]{12}) of", process.stderr.readline())
    assert match is not None
    return match[1].decode()


def holder_of(laptop: Laptop, run_id: str) -> int:
    status = laptop.gateway.data_dir / "runs" / run_id / "status.json"
    return int(json.loads(status.read_text())["pid"])


@pytest.mark.platform(1)
@pytest.mark.parametrize(
    ("command", "code"), [("true", 0), ("exit 7", 7), ("exit 255", 255), ("kill -KILL $$", 137)]
)
def test_the_exit_code_is_that_of_the_task(laptop: Laptop, command: str, code: int) -> None:
    assert run(laptop, "app01", "--", f"{command}").returncode == code


def test_both_outputs_arrive_apart_and_whole(laptop: Laptop) -> None:
    done = run(laptop, "app01", "--", "seq 20000; seq 20001 40000 >&2")
    whole = "".join(f"{number}\n" for number in range(1, 40001))
    err = done.stderr.decode().partition("\n")[2]
    assert done.stdout.decode() + err == whole


def test_output_does_no_more_than_draw_in_a_terminal(laptop: Laptop) -> None:
    run_id = detach(laptop, r"printf '\033]52;c;eA==\007\033[1mbold\n'")
    ended(laptop, run_id)
    assert run(laptop, "logs", run_id).stdout == b"\x1b]52;c;eA==\x07\x1b[1mbold\n"
    assert laptop.ssh("-tt", "gw", "run", "logs", run_id).stdout == b"\x1b[1mbold\r\n"


def test_a_run_at_a_terminal_names_the_shell_which_has_one(laptop: Laptop) -> None:
    hint = b"a run has no terminal; the app's shell has one: ssh app01@GATEWAY"
    assert hint in laptop.ssh("-tt", "gw", "run", "app01", "--", "true").stderr
    assert hint not in run(laptop, "app01", "--", "true").stderr


def test_the_line_after_the_dashes_is_one_for_the_shell(laptop: Laptop) -> None:
    done = run(laptop, "app01", "--", 'echo "a  b" && echo $((1 + 1))')
    assert done.stdout == b"a  b\n2\n"


@pytest.mark.platform(11)
def test_its_environment_is_that_of_a_login(laptop: Laptop) -> None:
    def variables(text: bytes) -> dict[str, str]:
        lines = dict(line.split("=", 1) for line in text.decode().splitlines() if "=" in line)
        own = re.compile(r"SSH_|STAGEDOOR_|TMUX|SHLVL|_$|PWD|LC_|LANG")
        return {name: value for name, value in lines.items() if not own.match(name)}

    login = laptop.ssh("app01@gw", "env", config=laptop.config(user="app01"), check=True)
    task = run(laptop, "app01", "--", "env")
    assert variables(task.stdout) == variables(login.stdout)
    assert variables(task.stdout)["OF_APP"] == "of app01"


def test_a_detached_run_can_be_listed_followed_and_waited_for(laptop: Laptop) -> None:
    run_id = detach(laptop, "echo begins; while [ ! -e $0.go ]; do sleep 0.05; done; exit 3")
    one = shown(laptop, run_id)
    assert (one["app"], one["by"], one["state"], one["code"]) == ("app01", "dev", "running", None)
    assert run(laptop, "logs", run_id).stdout == b"begins\n"
    assert run(laptop, "logs", run_id[:6]).stdout == b"begins\n", "a part of the id will do"
    run(laptop, "cancel", run_id)
    assert ended(laptop, run_id)["state"] == "cancelled"


@pytest.mark.platform(3)
def test_a_client_attaches_at_any_byte(laptop: Laptop) -> None:
    run_id = detach(laptop, "seq 100000; sleep 0.2; exit 4")
    whole = b"".join(b"%d\n" % number for number in range(1, 100001))
    for start in (0, 1, 65535, 65536, len(whole) - 1, len(whole)):
        done = run(laptop, "attach", run_id, "--from", str(start))
        assert (done.returncode, done.stdout) == (4, whole[start:]), start


@pytest.mark.platform(4)
def test_a_timeout_is_124_and_keeps_the_whole_log(laptop: Laptop) -> None:
    done = run(
        laptop, "--timeout", "1s", "app01", "--", "seq 1000; trap : TERM; sleep 60; echo late"
    )
    run_id = re.search(rb"run ([0-9a-f]{12})", done.stderr)
    assert run_id is not None
    assert done.returncode == 124
    log = run(laptop, "logs", run_id[1].decode())
    assert log.stdout == done.stdout
    assert log.stdout.startswith(b"1\n2\n")
    assert b"1000\n" in log.stdout


@pytest.mark.platform(6)
def test_of_two_runs_with_one_lock_the_second_is_refused(laptop: Laptop) -> None:
    first = detach(laptop, "sleep 60", "--lock", "migrate")
    done = run(laptop, "--lock", "migrate", "app01", "--", "true")
    assert done.returncode == 75
    assert f"run wait {first}" in done.stderr.decode()
    other = run(laptop, "--lock", "migrate", "app02", "--", "true")
    assert other.returncode == 0, "a lock is one of its app"
    run(laptop, "cancel", first)
    ended(laptop, first)
    assert run(laptop, "--lock", "migrate", "app01", "--", "true").returncode == 0


@pytest.mark.platform(7)
def test_one_run_more_than_an_app_may_have_is_refused(laptop: Laptop) -> None:
    ids = [detach(laptop, "sleep 60", app="app02") for _ in range(PER_APP)]
    done = run(laptop, "app02", "--", "true")
    assert done.returncode == 75
    assert b"app02 has 5 runs, and the limit is 5" in done.stderr
    for run_id in ids:
        run(laptop, "cancel", run_id)
    assert {ended(laptop, run_id)["state"] for run_id in ids} == {"cancelled"}
    assert run(laptop, "app02", "--", "true").returncode == 0


def test_piped_input_arrives_whole(laptop: Laptop) -> None:
    data = os.urandom(3_000_000)
    done = run(laptop, "app01", "--", "sha256sum", input=data)
    assert done.stdout.split()[0].decode() == hashlib.sha256(data).hexdigest()


@pytest.mark.platform(8)
def test_a_task_whose_input_breaks_off_is_ended(laptop: Laptop, tmp_path: Path) -> None:
    mark = tmp_path / "whole"
    with attached(laptop, "app01", "--", f"cat >/dev/null; touch {mark}; sleep 60") as client:
        run_id = id_in(client)
        assert client.stdin is not None
        client.stdin.write(b"half of a dump")
        client.stdin.flush()
        wait_until(lambda: f"{run_id}" in run(laptop, "list").stdout.decode())
        client.kill()
    one = ended(laptop, run_id)
    assert (one["state"], one["code"]) == ("input_lost", 74)
    assert not mark.exists()


@pytest.mark.platform(2)
def test_a_client_that_sent_no_input_may_go_and_the_task_goes_on(laptop: Laptop) -> None:
    with attached(laptop, "app01", "--", "sleep 1; cat; seq 1000; exit 5") as client:
        run_id = id_in(client)
        client.kill()
    one = ended(laptop, run_id)
    assert (one["state"], one["code"]) == ("exited", 5)
    expected = b"".join(b"%d\n" % number for number in range(1, 1001))
    assert run(laptop, "logs", run_id).stdout == expected


@pytest.mark.platform(9)
def test_a_stopped_viewer_does_not_slow_the_task(laptop: Laptop) -> None:
    run_id = detach(laptop, "sleep 1; seq 10000000")
    with attached(laptop, "attach", run_id) as viewer:
        os.kill(viewer.pid, signal.SIGSTOP)
        one = ended(laptop, run_id)
        assert (one["state"], one["code"], one["size"]) == ("exited", 0, 78_888_897)
        os.kill(viewer.pid, signal.SIGCONT)
        out, err = viewer.communicate(timeout=BOUND_S)
    assert out.endswith(b"9999999\n10000000\n")
    # 64 MiB are kept, so it lacks a part, and its exit code says so.
    assert viewer.returncode == 74
    match = re.search(rb"(\d+) bytes of output are left out", err)
    assert match is not None
    assert len(out) + int(match[1]) == 78_888_897


def test_a_run_needs_its_permission(laptop: Laptop, tmp_path: Path) -> None:
    key = new_key(tmp_path / "other")
    with laptop.gateway.changed() as service:
        admin.add_user(service, "other")
        admin.add_keys(service, "other", [public(key)])
        admin.add_grant(service, "user:other", "app01")
    config = laptop.config(key=key, user="other")
    done = run(laptop, "app01", "--", "true", config=config)
    assert done.returncode == 255
    assert b"running a task in app01.ssh is not granted to 'other'" in done.stderr
    run_id = detach(laptop, "sleep 60")
    for words in (("logs", run_id), ("attach", run_id), ("wait", run_id), ("cancel", run_id)):
        done = run(laptop, *words, config=config)
        assert done.returncode == 255
        assert f"there is no run {run_id}, or you may not see it" in done.stderr.decode()
    assert run(laptop, "list", "--json", config=config).stdout.strip() == b"[]"
    laptop.gateway.permit("user:other", "app01", Permission.RUN)
    assert run(laptop, "cancel", run_id, config=config).returncode == 0
    assert ended(laptop, run_id)["state"] == "cancelled"
    events = [event for event in laptop.gateway.audit() if event["fields"].get("run") == run_id]
    kinds = [(event["kind"], event["identity"]) for event in events]
    assert kinds == [("run.started", "dev"), ("run.cancelled", "other"), ("run.ended", "dev")]


def test_a_log_ends_with_the_permission(own: Laptop) -> None:
    run_id = detach(own, "echo begun; sleep 600")
    with attached(own, "attach", run_id) as viewer:
        assert viewer.stdout is not None
        assert viewer.stdout.readline() == b"begun\n"
        with own.gateway.changed() as service:
            (number,) = [
                g.id for g in admin.read_policy(service).grants if Permission.RUN in g.permissions
            ]
            admin.remove_grant(service, number)
        _, err = viewer.communicate(timeout=BOUND_S)
    assert viewer.returncode == 255
    assert b"there is no run" in err
    os.kill(holder_of(own, run_id), 0)


def test_a_certificate_for_one_command_starts_no_run(laptop: Laptop, tmp_path: Path) -> None:
    key = new_key(tmp_path / "forced")
    ca = laptop.gateway.data_dir / "keys" / "user_ca"
    options = ["-n", "dev", "-O", "force-command=uptime", "-V", "+1h"]
    command = ["ssh-keygen", "-q", "-s", ca, "-I", "dev", *options, f"{key}.pub"]
    subprocess.run(command, check=True)
    config = laptop.config(f"CertificateFile {key}-cert.pub", key=key)
    done = run(laptop, "app01", "--", "true", config=config)
    assert done.returncode == 255
    assert b"your certificate permits its own command only" in done.stderr


def test_an_ssh_server_has_no_runs(laptop: Laptop) -> None:
    done = run(laptop, "old", "--", "true")
    assert done.returncode == 255
    assert b"old has no runs" in done.stderr
    assert b"ssh old@GATEWAY COMMAND" in done.stderr


def test_a_task_that_cannot_be_started_is_126_and_says_why(laptop: Laptop) -> None:
    done = run(laptop, "gone", "--", "true")
    assert done.returncode == 126
    assert b"not started with 126 (/srv/gone: No such file or directory)" in done.stderr
    assert run(laptop, "--detach", "gone", "--", "true").returncode == 126


def test_what_is_left_behind_ends_with_the_task(laptop: Laptop, tmp_path: Path) -> None:
    mark = tmp_path / "pid"
    done = run(
        laptop, "app01", "--", f'(setsid sh -c "echo \\$\\$ >{mark}; sleep 600" &) ; sleep 1'
    )
    assert done.returncode == 0
    wait_until(lambda: not Path(f"/proc/{mark.read_text().strip()}").exists())


@pytest.mark.platform(5)
def test_a_killed_holder_is_76_and_nothing_starts_again(laptop: Laptop, tmp_path: Path) -> None:
    mark = tmp_path / "started"
    run_id = detach(laptop, f"echo x >>{mark}; sleep 600; true")
    wait_until(mark.exists)
    os.kill(holder_of(laptop, run_id), signal.SIGKILL)
    one = ended(laptop, run_id)
    assert (one["state"], one["code"]) == ("lost", 76)
    assert mark.read_text() == "x\n"
    text = f"STAGEDOOR_RUN={run_id}".encode()

    def is_gone() -> bool:
        for file in Path("/proc").glob("[0-9]*/environ"):
            try:
                if text in file.read_bytes():
                    return False
            except OSError:
                continue
        return True

    wait_until(is_gone)


def test_wrong_words_are_explained(laptop: Laptop) -> None:
    for words in (("app01",), ("app01", "--"), ("--timeout", "soon", "app01", "--", "true"), ()):
        done = run(laptop, *words)
        assert done.returncode in (2, 255), words
        assert b"stagedoor: " in done.stderr
        assert b"Traceback" not in done.stderr


@pytest.mark.platform(2)
def test_a_killed_worker_ends_no_run(own: Laptop) -> None:
    command = "seq 50000; while [ ! -e go ]; do sleep 0.05; done; seq 50001 100000; exit 3"
    go = own.folder / "go"
    run_id = detach(own, command.replace("-e go", f"-e {go}"))
    (worker,) = own.gateway.worker_pids()
    os.kill(worker, signal.SIGKILL)
    wait_until(lambda: own.gateway.worker_pids() not in ([], [worker]))
    go.touch()
    one = ended(own, run_id)
    assert (one["state"], one["code"]) == ("exited", 3)
    whole = b"".join(b"%d\n" % number for number in range(1, 100001))
    assert run(own, "logs", run_id).stdout == whole


@pytest.mark.platform(2)
def test_a_killed_gateway_ends_no_run_and_finds_its_end(own: Laptop) -> None:
    go = own.folder / "go"
    run_id = detach(own, f"seq 50000; while [ ! -e {go} ]; do sleep 0.05; done; exit 9")
    holder = holder_of(own, run_id)
    gateway = own.gateway
    assert gateway.process is not None
    pids = [gateway.process.pid, *gateway.worker_pids()]
    for pid in pids:
        os.kill(pid, signal.SIGKILL)
    gateway.process.wait(BOUND_S)
    go.touch()
    wait_until(lambda: not Path(f"/proc/{holder}").exists())
    gateway.wait_for(lambda line: line["event"] == "end of log")
    gateway.lines.clear()
    gateway.start()
    one = ended(own, run_id)
    assert (one["state"], one["code"]) == ("exited", 9)
    log = run(own, "logs", run_id).stdout
    whole = b"".join(b"%d\n" % number for number in range(1, 50001))
    assert hashlib.sha256(log).digest() == hashlib.sha256(whole).digest()
    kinds = [event["kind"] for event in gateway.audit() if event["kind"].startswith("run.")]
    assert kinds == ["run.started", "run.ended"]
