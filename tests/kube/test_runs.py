"""Runs on a real cluster: `stagedoor serve`, the controller, the kit's `task`, Jobs and their pods."""

import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from stagedoor.model.permission import Permission
from stagedoor.shells.kubernetes.derive.run import build_run_lease
from tests.fixtures.cluster import WITHIN_S, Cluster, KubeGateway, shared_kube, until
from tests.ports import free_port
from tests.stopped import killed

pytestmark = pytest.mark.timeout(400)  # real clocks, on a machine that does other things too

GO = "/dev/shm/go"
"""The file that a task waits for."""
RUNS = int(os.environ.get("STAGEDOOR_RUNS", "12"))
"""How many runs one test makes. `STAGEDOOR_RUNS=100` takes some minutes."""


@pytest.fixture(scope="module")
def kube(
    cluster: Cluster, kit: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[KubeGateway]:
    """One whose dev may run tasks in app01, and which answers the web."""
    web = f'[web]\naddresses = ["127.0.0.1:{free_port()}"]\n'
    with shared_kube(cluster, kit, tmp_path_factory.mktemp("runs"), web) as kube:
        kube.gateway.permit("user:dev", "app01", Permission.RUN)
        kube.app(env={"GREETING": 'it\'s "quoted" $HOME ü'})
        yield kube


def run(
    kube: KubeGateway, *words: str, tty: bool = False, text: str | None = None
) -> "subprocess.CompletedProcess[str]":
    """`ssh gw run WORDS`; without `text` its input is empty."""
    port = str(kube.gateway.port("ssh"))
    options = ("-tt",) if tty else ()
    command = kube.ssh_command(
        "-p", port, *options, "dev@localhost", "run", *words, access_method="direct"
    )
    given: dict[str, Any] = {"stdin": subprocess.DEVNULL} if text is None else {"input": text}
    return subprocess.run(command, capture_output=True, text=True, timeout=WITHIN_S, **given)


def run_by_web(
    kube: KubeGateway, *words: str, input: bytes = b""
) -> "subprocess.CompletedProcess[bytes]":
    """`stagedoor run WORDS`, which uses the API of runs on the web."""
    url = f"http://127.0.0.1:{kube.gateway.port('web')}"
    reach = ["--url", url, "--user", "dev", "--token-file", str(kube.token_file)]
    command = [sys.executable, "-m", "stagedoor", "run", *reach, *words]
    given: dict[str, Any] = {"input": input} if input else {"stdin": subprocess.DEVNULL}
    return subprocess.run(command, capture_output=True, timeout=WITHIN_S, **given)


def start(kube: KubeGateway, command: str, *options: str) -> str:
    """Start a run, and return its id."""
    done = run(kube, "app01", "--detach", *options, "--", command)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def find(kube: KubeGateway, run_id: str) -> dict[str, Any]:
    done = run(kube, "wait", run_id, "--json")
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def named(kube: KubeGateway, kinds: str, run_id: str) -> list[dict[str, Any]]:
    """Return the objects that are named after a run."""
    objects = kube.objects(kinds, "stagedoor.dev/run-of")
    return [resource for resource in objects if resource["metadata"]["name"] == f"run-{run_id}"]


@pytest.mark.platform(1, 11)
def test_a_run_has_the_app_s_environment_its_streams_and_its_exit_code(kube: KubeGateway) -> None:
    done = run(kube, "app01", "--", 'echo "$GREETING"; echo error >&2; exit 7')
    assert done.returncode == 7, done.stderr
    assert done.stdout == 'it\'s "quoted" $HOME ü\n'
    assert "error\n" in done.stderr
    kinds = [event["kind"] for event in kube.gateway.audit()]
    assert {"run_started", "run_ended"} <= {kind.replace(".", "_") for kind in kinds}


@pytest.mark.platform(1, 8)
def test_the_api_starts_follows_and_ends_runs(kube: KubeGateway) -> None:
    done = run_by_web(kube, "app01", "--", "sh", "-c", "echo out; echo err >&2; exit 7")
    assert (done.returncode, done.stdout) == (7, b"out\n"), done.stderr
    assert b"err\n" in done.stderr
    data = os.urandom(300_000)
    done = run_by_web(kube, "app01", "--", "sha256sum", input=data)
    assert done.stdout.split()[0].decode() == hashlib.sha256(data).hexdigest(), done.stderr

    command = ("sh", "-c", "echo here; sleep 300")
    run_id = run_by_web(kube, "app01", "--detach", "--", *command).stdout.decode().strip()
    assert run_id in run_by_web(kube, "list", "app01").stdout.decode()
    until(lambda: run_by_web(kube, "logs", run_id).stdout == b"here\n", "it has begun")
    assert run_by_web(kube, "cancel", run_id).returncode == 0
    assert run_by_web(kube, "wait", run_id).returncode == 143
    attached = run_by_web(kube, "attach", run_id, "--from", "1")
    assert (attached.returncode, attached.stdout) == (143, b"ere\n")


@pytest.mark.platform(2, 3)
def test_a_run_survives_its_gateway_and_its_log_is_whole(kube: KubeGateway) -> None:
    run_id = start(kube, "for i in 1 2 3 4 5 6; do seq 1 20000; sleep 1; done")
    kube.gateway.signal(signal.SIGKILL)
    kube.gateway.stop()
    kube.gateway.lines.clear()  # its ports are others from now on
    kube.start()
    assert find(kube, run_id)["code"] == 0
    port = str(kube.gateway.port("ssh"))
    command = kube.ssh_command(
        "-p", port, "dev@localhost", f"run logs {run_id}", access_method="direct"
    )
    log = subprocess.run(command, capture_output=True, timeout=WITHIN_S).stdout
    wanted = "".join(f"{number}\n" for number in range(1, 20001)).encode() * 6
    assert hashlib.sha256(log).digest() == hashlib.sha256(wanted).digest()
    later = run(kube, "logs", run_id, "--from", "600000")
    assert later.stdout.encode() == wanted[600000:]


@pytest.mark.platform(4, 6)
def test_a_time_limit_ends_a_run_with_its_log_and_a_lock_keeps_others_out(
    kube: KubeGateway,
) -> None:
    run_id = start(kube, "echo before; sleep 60", "--timeout", "4s", "--lock", "one")
    second = run(kube, "app01", "--lock", "one", "--", "true")
    assert second.returncode == 75, second.stderr
    done = run(kube, "attach", run_id)
    assert done.returncode == 124, done.stderr
    assert done.stdout == "before\n"


def test_a_run_is_cancelled_and_its_processes_are_ended(kube: KubeGateway) -> None:
    run_id = start(kube, 'trap "echo ended; exit" TERM; echo here; while :; do sleep 0.1; done')
    until(lambda: run(kube, "logs", run_id).stdout == "here\n", "it has begun")
    assert run(kube, "cancel", run_id).returncode == 0
    ended = find(kube, run_id)
    assert (ended["state"], ended["code"]) == ("cancelled", 143)
    assert run(kube, "logs", run_id).stdout == "here\nended\n"


@pytest.mark.platform(5)
def test_a_run_whose_pod_goes_is_lost_and_is_not_started_again(kube: KubeGateway) -> None:
    run_id = start(kube, "echo here; sleep 60")
    of_run = f"job-name=run-{run_id}"
    (pod,) = kube.objects("pods", of_run)
    kube.kubectl("delete", "pod", str(pod["metadata"]["name"]), "--wait=false")
    ended = find(kube, run_id)
    assert (ended["state"], ended["code"]) == ("lost", 76)
    until(lambda: not named(kube, "leases", run_id), "its lease is deleted")
    uids = {item["metadata"]["uid"] for item in kube.objects("pods", of_run)}
    assert uids <= {pod["metadata"]["uid"]}


@pytest.mark.platform(8)
def test_a_task_begins_with_its_whole_input_or_not_at_all(kube: KubeGateway) -> None:
    dump = "".join(f"insert {number};\n" for number in range(10_000))
    done = run(kube, "app01", "--", "wc -c; cat", text=dump)
    assert done.returncode == 0, done.stderr
    assert done.stdout.partition("\n")[0].strip() == str(len(dump))
    run_id = done.stderr.partition("run ")[2].split()[0]
    secret = json.loads(kube.kubectl("get", "secret", f"run-{run_id}", "-o", "json"))
    assert secret["metadata"]["ownerReferences"][0]["kind"] == "Job", "it goes with the Job"
    assert run(kube, "app01", "--", "cat", tty=True).returncode == 0, "a terminal sends none"

    port = str(kube.gateway.port("ssh"))
    command = kube.ssh_command(
        "-p", port, "dev@localhost", "run app01 -- cat", access_method="direct"
    )
    cut = subprocess.Popen(command, stdin=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert cut.stdin is not None
    assert cut.stderr is not None
    cut.stdin.write("half a dump")
    cut.stdin.flush()
    run_id = cut.stderr.readline().partition("run ")[2].split()[0]
    cut.kill()
    cut.communicate()
    ended = find(kube, run_id)
    assert (ended["state"], ended["code"]) == ("input_lost", 74)
    assert not named(kube, "jobs,leases", run_id)


def test_more_input_than_a_secret_has_is_refused(kube: KubeGateway) -> None:
    done = run(kube, "app01", "--", "cat", text="x" * (2**20 + 1))
    assert done.returncode == 74, done.stderr
    assert "more than 1 MiB" in done.stderr
    assert run(kube, "app01", "--", "wc -c", text="x" * 2**20).stdout.strip() == str(2**20)


@pytest.mark.platform(9)
def test_a_stopped_viewer_does_not_slow_a_task_and_the_log_outlives_rotation(
    kube: KubeGateway,
) -> None:
    """The node keeps 10 MiB of a container's log; the gateway has copied all of it.

    The output stops a few lines after 10 MiB until the node has rotated the log, since what is written at
    that moment may be lost. The rest is smaller, so the log is rotated once, however slow the machine is.
    """
    pause = f"until [ -e {GO} ]; do sleep 0.1; done; rm {GO}"
    numbers = "n=1000; for many in 1310 1000; do i=0; while [ $i -lt $many ]; do "
    numbers += 'seq -s " " ${n}000 ${n}999; n=$((n+1)); i=$((i+1)); done; '
    run_id = start(kube, f"echo begun; {pause}; {numbers} [ $many = 1000 ] || {{ {pause}; }}; done")
    (pod,) = kube.objects("pods", f"job-name=run-{run_id}")
    go = ("exec", str(pod["metadata"]["name"]), "-c", "shell", "--", "touch", GO)
    port = str(kube.gateway.port("ssh"))
    attach = kube.ssh_command(
        "-p", port, "dev@localhost", f"run attach {run_id}", access_method="direct"
    )
    viewer = subprocess.Popen(attach, stdout=subprocess.PIPE, stdin=subprocess.DEVNULL)
    with killed(viewer):
        assert viewer.stdout is not None
        assert viewer.stdout.readline() == b"begun\n"
        viewer.send_signal(signal.SIGSTOP)
        kube.kubectl(*go)
        rotated = f"pods/*run-{run_id}*/shell/0.log.2*"
        until(lambda: list(kube.cluster.place.state.glob(rotated)), "the node rotates the log")
        kube.kubectl(*go)
        lines = (" ".join(f"{n}{i:03}" for i in range(1000)) for n in range(1000, 3310))
        wanted = "".join(f"{line}\n" for line in lines).encode()
        assert find(kube, run_id)["size"] == len(b"begun\n" + wanted)
        viewer.send_signal(signal.SIGCONT)
        log, _ = viewer.communicate(timeout=WITHIN_S)
    assert hashlib.sha256(log).digest() == hashlib.sha256(wanted).digest()


def test_an_image_that_is_not_there_is_reported(kube: KubeGateway, tmp_path: Path) -> None:
    kube.gateway.permit("user:dev", "broken", Permission.RUN)
    kube.app("broken", "localhost/Nothing:1")
    done = run(kube, "broken", "--", "true")
    assert done.returncode == 126, done.stderr
    assert "localhost/Nothing:1" in done.stderr


@pytest.mark.platform(12)
def test_many_runs_six_at_a_time_end_right_and_leave_nothing_behind(
    make_kube: Callable[..., KubeGateway],
) -> None:
    kube = make_kube()
    apps = ("app01", "app02")
    for app in apps:
        kube.gateway.permit("user:dev", app, Permission.RUN, Permission.RECORD)
        kube.app(app)

    def check(app: str, code: int) -> str:
        """Start a run that ends with a code, and return its id."""
        command = f"echo first; sleep 1; seq {1000 * code}; cat; exit {code}"
        done = run(kube, app, "--", command, text=f"input {code}" if code % 3 else None)
        assert done.returncode == code, done.stderr
        numbers = "".join(f"{number}\n" for number in range(1, 1000 * code + 1))
        assert done.stdout == f"first\n{numbers}" + (f"input {code}" if code % 3 else "")
        return done.stderr.partition("run ")[2].split()[0]

    with ExitStack() as stack:
        # An app has five at a time at most.
        pools = [(app, stack.enter_context(ThreadPoolExecutor(3))) for app in apps]
        # The last end with 0; the logs of earlier ones may be gone.
        codes = [number % 6 for number in reversed(range(RUNS // 2))]
        ending = [pool.submit(check, app, code) for code in codes for app, pool in pools]
        ids = [end.result() for end in ending]
    # The hour for which an ended Job is kept.
    patch = '{"spec": {"ttlSecondsAfterFinished": 0}}'
    jobs = [f"job/run-{run_id}" for run_id in ids]
    kube.kubectl("patch", *jobs, "--type=merge", "-p", patch)

    of_runs = partial(kube.objects, "jobs,leases,pods,secrets", "stagedoor.dev/run-of")
    until(lambda: not of_runs(), "nothing is left in the cluster")
    assert run(kube, "logs", ids[-1]).stdout == "first\n", "the log is the gateway's"
    recordings = json.loads(kube.gateway.command("recording", "list", "--json").stdout)
    assert len(recordings) == len(ids), "and so are the recordings"
    export = kube.gateway.command("recording", "export", str(recordings[-1]["id"])).stdout
    _, first, *_, end = map(json.loads, export.splitlines())
    assert first[2].startswith("first")
    assert 0 <= first[0] < end[0] - 0.5, "with their timing"


def test_a_size_gives_a_run_its_resources(make_kube: Callable[..., KubeGateway]) -> None:
    kube = make_kube(run_sizes='{ large = { requests = { memory = "21Mi" } } }')
    kube.gateway.permit("user:dev", "app01", Permission.RUN)
    kube.app()
    refused = run(kube, "app01", "--size", "huge", "--", "true")
    assert refused.returncode == 255
    assert "give --size one of: large" in refused.stderr
    done = run(kube, "app01", "--size", "large", "--", "true")
    assert done.returncode == 0, done.stderr
    (pod,) = kube.objects("pods", "stagedoor.dev/run-of")
    assert pod["spec"]["containers"][0]["resources"]["requests"]["memory"] == "21Mi"


@pytest.mark.platform(10)
def test_a_lease_alone_makes_no_job(kube: KubeGateway) -> None:
    app = json.loads(kube.kubectl("get", "deployment", "app01", "-o", "json"))
    lease = build_run_lease(app, "aaaabbbbcccc", "mallory", time.time())
    kube.kubectl("create", "-f", "-", text=json.dumps(lease))

    def is_refused() -> bool:
        return "the store has no such run" in str(named(kube, "leases", "aaaabbbbcccc"))

    until(is_refused, "the controller refuses it")
    assert not named(kube, "jobs", "aaaabbbbcccc")
    kube.kubectl("delete", "lease", "run-aaaabbbbcccc")
