"""Known failure 3: sessions live out the grace period; and what else the first process answers for."""

import contextlib
import os
import signal
import socket
import subprocess
import time
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from stagedoor.upstream.shell_endpoint import SOCKET
from tests.fixtures.laptop import far_socket
from tests.kit.conftest import Make
from tests.kit.container import Container
from tests.kit.terminal import Terminal
from tests.waiting import BOUND_S, wait_until

pytestmark = pytest.mark.timeout(600)  # the first makes the images, and others wait for them


def children(container: Container) -> dict[int, str]:
    """Return the children of the first process that it has not reaped yet: pid to name."""
    task = Path(f"/proc/{container.pid}/task/{container.pid}/children")
    names = {}
    for pid in task.read_text().split():
        with contextlib.suppress(OSError):  # it has ended since
            names[int(pid)] = Path(f"/proc/{pid}/comm").read_text().strip()
    return names


def listener(container: Container) -> int:
    """Return the pid of the sshd that takes connections."""
    [pid] = [pid for pid, name in children(container).items() if name == "sshd"]
    return pid


def find_hooks(container: Container) -> list[int]:
    """Return the processes for whose end the container waits: the hooks that hold the lock."""
    return [
        pid
        for pid in container.processes()
        if any(str(file).endswith("/stagedoor/hook") for file in open_files(pid))
    ]


def open_files(pid: int) -> list[Path]:
    try:
        return [Path(entry).readlink() for entry in Path(f"/proc/{pid}/fd").iterdir()]
    except FileNotFoundError:  # it has ended, or has just closed one
        return []


def test_a_session_outlives_sigterm_and_shows_a_notice(make: Make) -> None:
    container = make(settings={"STAGEDOOR_GRACE_S": "600"}).start()
    with Terminal(container) as terminal:
        terminal.type("echo rea''dy")
        terminal.expect("ready")
        container.terminate()
        terminal.expect("stagedoor: this shell is being stopped and ends in 10 min.")
        wait_until(lambda: "sshd" not in children(container).values())
        assert container.ssh("true").returncode == 255
        terminal.type("echo still he''re")
        terminal.expect("still here")
        assert container.exit_status() is None
        terminal.type("exit")
        assert terminal.wait() == 0
    assert container.wait() == 0


@pytest.mark.parametrize(
    "number", [signal.SIGQUIT, signal.SIGINT, signal.SIGWINCH, signal.SIGUSR1, signal.SIGRTMIN + 3]
)
def test_the_images_own_stop_signal_means_the_same(make: Make, number: int) -> None:
    container = make(settings={"STAGEDOOR_GRACE_S": "600"}).start()
    with Terminal(container) as terminal:
        terminal.type("echo rea''dy")
        terminal.expect("ready")
        os.kill(container.pid, number)
        terminal.expect("this shell is being stopped")
        terminal.type("exit")
        assert terminal.wait() == 0
    assert container.wait() == 0


def test_the_pods_hook_gives_even_sigkill_its_grace_period(make: Make) -> None:
    """As the kubelet has it: the hook, and the image's STOPSIGNAL once that has ended."""
    container = make(settings={"STAGEDOOR_GRACE_S": "600"}).start()
    hook = [*container.runc, "exec", container.name, "/kit/bin/start", "stop"]
    with Terminal(container) as terminal:
        terminal.type("echo rea''dy")
        terminal.expect("ready")
        with subprocess.Popen(hook) as first:
            terminal.expect("stagedoor: this shell is being stopped and ends in 10 min.")
            # The kubelet was started again meanwhile, and does not know what it had begun.
            first.kill()
        with subprocess.Popen(hook) as second:
            wait_until(lambda: len(find_hooks(container)) == 2, what="the second hook", costly=True)
            terminal.type("echo still he''re")
            terminal.expect("still here")
            assert (second.poll(), container.exit_status()) == (None, None)
            terminal.type("exit")
            assert terminal.wait() == 0
            assert second.wait(60) == 0
    assert container.wait() == 0


def test_a_slow_hook_returns_before_the_container_ends(make: Make) -> None:
    """The kubelet reports a hook that was killed as failed."""
    container = make(settings={"STAGEDOOR_GRACE_S": "600"}).start()
    with Terminal(container) as terminal:
        terminal.type("echo rea''dy")
        terminal.expect("ready")
        hook = subprocess.Popen([*container.runc, "exec", container.name, "/kit/bin/start", "stop"])
        terminal.expect("this shell is being stopped")
        [inside] = find_hooks(container)
        os.kill(inside, signal.SIGSTOP)
        terminal.type("exit")
        assert terminal.wait() == 0
    wait_until(container.file("/run/stagedoor/over").exists, what="the shell is over")
    with pytest.raises(subprocess.TimeoutExpired):
        container.wait(0.4)  # while the hook cannot go on
    os.kill(inside, signal.SIGCONT)
    assert hook.wait(BOUND_S) == 0
    assert container.wait() == 0


def test_without_a_session_it_ends_at_once(make: Make) -> None:
    container = make(settings={"STAGEDOOR_GRACE_S": "600"}).start()
    container.terminate()
    assert container.wait() == 0


def test_a_session_that_stays_is_ended_before_the_kubelet_would(make: Make) -> None:
    container = make("debian-12", settings={"STAGEDOOR_GRACE_S": "5"}).start()
    with Terminal(container) as terminal:
        # A shell that is hung up, not killed, can still write something down.
        terminal.type("trap 'echo hung up >/dev/shm/last' HUP; echo rea''dy")
        terminal.expect("ready")
        started = time.time()
        container.terminate()
        terminal.expect("ends in 5 s")
        assert container.wait() == 0
    assert "the grace period is over: ending 1 sessions" in container.log
    # By the time of its last line: runc and we may hear late of the end.
    assert 2 < container.last_said() - started < 5


def test_the_terminal_shows_the_notice_again_towards_the_end(make: Make) -> None:
    container = make(settings={"STAGEDOOR_GRACE_S": "12"}).start()
    with Terminal(container) as terminal:
        terminal.type("echo rea''dy")
        terminal.expect("ready")
        container.terminate()
        terminal.expect("ends in 12 s")
        terminal.expect("ends in 10 s")


def test_a_terminal_that_takes_nothing_holds_nothing_up(make: Make) -> None:
    container = make(settings={"STAGEDOOR_GRACE_S": "3"}).start()
    with Terminal(container, "yes") as stalled, Terminal(container) as terminal:
        stalled.expect("y")  # and from here on nothing is read of it
        terminal.type("echo rea''dy")
        terminal.expect("ready")
        container.terminate()
        terminal.expect("ends in 3 s")
        assert container.wait() == 0


def test_a_second_sigterm_ends_it_at_once(make: Make) -> None:
    container = make(settings={"STAGEDOOR_GRACE_S": "600"}).start()
    with Terminal(container) as terminal:
        terminal.type("echo rea''dy")
        terminal.expect("ready")
        container.terminate()
        terminal.expect("stopped")
        container.terminate()
        assert container.wait() == 143


def test_sshd_ends_and_so_does_the_container(make: Make) -> None:
    container = make().start()
    os.kill(listener(container), signal.SIGKILL)
    assert container.wait() == 1
    assert "stagedoor: sshd was ended by signal 9" in container.log


def test_sshd_ends_and_open_sessions_may_finish(make: Make) -> None:
    container = make(settings={"STAGEDOOR_GRACE_S": "600"}).start()
    with Terminal(container) as terminal:
        terminal.type("echo rea''dy")
        terminal.expect("ready")
        os.kill(listener(container), signal.SIGKILL)
        terminal.expect("stagedoor: this shell is being stopped")
        terminal.type("exit")
        terminal.wait()
    assert container.wait() == 1


def test_sshd_that_cannot_start_says_why(make: Make) -> None:
    container = make()
    container.launch_with(
        lambda: container.file("/etc/stagedoor/host/ssh_host_ed25519_key").write_text("no key\n")
    )
    assert container.wait() == 1
    assert "sshd: " in container.log
    assert "stagedoor: sshd ended with status" in container.log


def test_orphans_are_buried(make: Make) -> None:
    container = make().start()
    assert container.ssh("(sleep 0.2 &) ; (true &) ; exit 0").returncode == 0
    wait_until(
        lambda: sorted(children(container).values()) == ["sshd", "tunnels"],
        what="only the kit is left",
    )


HELLO = b"stagedoor-resume 1\n"


def control(container: Container) -> AbstractContextManager[socket.socket]:
    """Connect to the endpoint's private socket, as a gateway does."""
    ssh = ["ssh", *container.ssh_options(), "app01.ssh"]
    return far_socket(ssh, SOCKET)


def test_logins_need_no_endpoint_of_tunnels(make: Make) -> None:
    container = make().start()
    [endpoint] = [pid for pid, name in children(container).items() if name == "tunnels"]
    with control(container) as sock:
        assert sock.recv(100) == HELLO
    os.kill(endpoint, signal.SIGKILL)
    wait_until(lambda: "tunnels" not in children(container).values(), what="it has ended")
    with control(container) as sock:
        assert sock.recv(100) == b""
    assert container.ssh("true").returncode == 0
    assert "the endpoint of tunnels has ended" in container.log


def test_a_gateway_s_way_to_the_endpoint_is_no_session(make: Make) -> None:
    container = make().start()
    with control(container) as sock:
        assert sock.recv(100) == HELLO
        with Terminal(container) as one:
            one.type("echo rea''dy")
            one.expect("ready")
            wait_until(lambda: container.states[-1] == "stagedoor: busy sessions=1 tmux=0")
        wait_until(lambda: container.states[-1] == "stagedoor: idle")
        sock.sendall(HELLO + b"back 1 x 1 dev\n")
        assert sock.recv(100) == b"gone 1 the session has ended\n"


def test_the_state_is_said_whenever_it_changes(make: Make) -> None:
    container = make().start()
    said = ["stagedoor: idle"]
    assert container.states == said
    with Terminal(container) as one:
        one.type("echo rea''dy")
        one.expect("ready")
        said.append("stagedoor: busy sessions=1 tmux=0")
        wait_until(lambda: container.states == said)
        with Terminal(container, person="bob") as two:
            two.type("echo rea''dy")
            two.expect("ready")
            said.append("stagedoor: busy sessions=2 tmux=0")
            wait_until(lambda: container.states == said)
        said.append("stagedoor: busy sessions=1 tmux=0")
        wait_until(lambda: container.states == said)
    said.append("stagedoor: idle")
    wait_until(lambda: container.states == said)


def test_a_session_cannot_pretend_that_there_is_none(make: Make) -> None:
    """It runs under the same uid as the first process, and yet has no hand in what that says."""
    container = make().start()
    attack = "echo 'stagedoor: idle' >/proc/1/fd/1; cat /proc/1/environ; cat"
    command = ["ssh", *container.ssh_options(), "app01.ssh", attack]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe) as session:
        # A session shorter than the time between two looks is not seen at all: this one stays.
        wait_until(lambda: container.states[-1] == "stagedoor: busy sessions=1 tmux=0")
        _, stderr = session.communicate()
    assert stderr.count(b"Permission denied") == 2
    wait_until(lambda: container.states[-1] == "stagedoor: idle")
    assert container.states == [
        "stagedoor: idle",
        "stagedoor: busy sessions=1 tmux=0",
        "stagedoor: idle",
    ]


def test_a_connection_alone_is_no_session(make: Make) -> None:
    container = make().start()
    inside = ["nsenter", f"--net=/proc/{container.pid}/ns/net", "nc", "127.0.0.1", "2222"]
    with subprocess.Popen(inside, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as knocking:
        assert knocking.stdout is not None
        assert knocking.stdout.readline().startswith(b"SSH-2.0-")
        assert container.ssh("true", person="mallory").returncode == 255
        wait_until(lambda: "[preauth]" in container.log)
        assert container.states == ["stagedoor: idle"]
        knocking.kill()


def test_a_session_without_a_shell_counts(make: Make) -> None:
    container = make().start()
    command = ["ssh", *container.ssh_options(), "-N", "app01.ssh"]
    with subprocess.Popen(command) as forwarding:
        wait_until(lambda: container.states[-1] == "stagedoor: busy sessions=1 tmux=0")
        forwarding.kill()
    wait_until(lambda: container.states[-1] == "stagedoor: idle")


def test_memory_runs_out_and_sshd_stays(make: Make) -> None:
    if not Path("/sys/fs/cgroup/memory").exists() and not _kills_one():
        pytest.skip("needs a memory cgroup")
    container = make(memory=96 * 1024 * 1024).start()
    with Terminal(container) as terminal:
        terminal.type("cat /proc/self/oom_score_adj")
        terminal.expect("1000")
        greedy = container.ssh("tail /dev/zero")
        assert greedy.returncode != 0
        terminal.type("echo still he''re")
        terminal.expect("still here")
        assert container.ssh("true").returncode == 0
    assert container.exit_status() is None


def _kills_one() -> bool:
    """cgroup v2, where runc leaves memory.oom.group at 0."""
    controllers = Path("/sys/fs/cgroup/cgroup.controllers")
    return controllers.exists() and "memory" in controllers.read_text().split()
