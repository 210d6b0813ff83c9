"""`stagedoor demo` as a newcomer meets it: what it prints works when copied, and nothing stays behind."""

import contextlib
import html
import os
import re
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from acceptance.prompted import Prompted, run
from stagedoor.demo.clients import find
from tests.fixtures.people import Browser
from tests.oidc.idp import ROOT, Idp
from tests.waiting import BOUND_S, wait_until

DEMO = [sys.executable, "-m", "stagedoor", "demo"]
MORE = [*DEMO, "--more"]
TOO_LATE = """
import sys
from stagedoor.cli.main import main
from stagedoor.demo import gateway
gateway.free_port = lambda: gateway.PORT
sys.argv[1:] = ["demo"]
main()
"""
"""The message of a demo that found its port free, just before another process took it."""


class Demo:
    """A demo that runs with its output in a pipe, in a temporary folder of its own."""

    def __init__(
        self, folder: Path, argv: list[str] = DEMO, environment: dict[str, str] | None = None
    ) -> None:
        self.folder = folder
        self.lines: list[str] = []
        self._news = threading.Condition()
        self._silent = False
        self.process = subprocess.Popen(
            argv,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env=environment or {**os.environ, "TMPDIR": str(folder)},
            start_new_session=True,
        )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        with self.process.stdout as stdout:
            for line in stdout:
                with self._news:
                    self.lines.append(line.rstrip("\n"))
                    self._news.notify_all()
        with self._news:
            self._silent = True
            self._news.notify_all()

    def line(self, *words: str, within_s: float = BOUND_S) -> str:
        """The first line with all of `words`, past or to come."""

        def found() -> list[str]:
            return [line for line in self.lines if all(word in line for word in words)]

        with self._news:
            self._news.wait_for(lambda: found() or self._silent, within_s)
            assert found(), (words, self.lines)
            return found()[0]

    def command(self, *words: str) -> str:
        """One of the commands to try, as it would be copied."""
        return self.line(*words, "ssh_config").strip()

    def ends(self, number: signal.Signals, times: int = 1) -> None:
        for _ in range(times):
            os.kill(self.process.pid, number)
        assert self.process.wait(BOUND_S) == 0, self.lines
        self._reader.join(BOUND_S)
        assert_nothing_is_left(self.folder)

    def __enter__(self) -> "Demo":
        return self

    def __exit__(self, *_: object) -> None:
        if self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()
        self._reader.join(BOUND_S)


@pytest.fixture
def demo(tmp_path: Path) -> Iterator[Demo]:
    with started(tmp_path, DEMO) as demo:
        yield demo


@pytest.fixture
def demo_with_more(tmp_path: Path) -> Iterator[Demo]:
    with started(tmp_path, MORE) as demo:
        yield demo


@contextlib.contextmanager
def started(folder: Path, argv: list[str]) -> Iterator[Demo]:
    with Demo(folder, argv) as demo:
        demo.line("Ctrl-C ends the demo")
        yield demo


def assert_nothing_is_left(folder: Path) -> None:
    assert list(folder.iterdir()) == []
    # A developer who was inside leaves on hearing that it is over: a moment after the demo itself, perhaps.
    wait_until(lambda: not holders(str(folder)), what="nobody names the folder")


def holders(path: str) -> list[int]:
    """Processes that name `path` in their command line or have something below it open."""
    holding = []
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            links = [str(fd.readlink()) for fd in (process / "fd").iterdir()]
            cmdline = (process / "cmdline").read_text()
            if any(link.startswith(path) for link in links) or path in cmdline:
                holding.append(int(process.name))
    return holding


def test_two_commands_come_first_and_each_login_is_shown_as_it_happens(demo: Demo) -> None:
    shown = [line for line in demo.lines if line.startswith("  ")]
    assert len(shown) == 2
    assert shown[0].endswith("app01.ssh")
    assert "/link#" in shown[1]
    demo.line("--more")
    login = demo.command("app01.ssh")
    with Prompted(["sh", "-c", f"exec {login} 'cat'"], stdin=None) as inside:
        demo.line("dev → app01.ssh", "open, from 127.0.0.1:")
        assert not [line for line in demo.lines if "closed" in line]
        inside.wait()
    demo.line("dev → app01.ssh", "closed after", "up", "down")
    refused = run(["sh", "-c", login.replace("app01.ssh", "app09.ssh")])
    assert refused.code == 255
    demo.line("dev → app09.ssh", "refused: no grant for 'dev'")
    demo.ends(signal.SIGTERM)


def test_the_printed_commands_work_when_copied_into_a_shell(demo_with_more: Demo) -> None:
    demo = demo_with_more
    login = demo.command("app01.ssh")
    done = run(["sh", "-c", f"{login} 'echo $APP_NAME; exit 7'"])
    assert (done.code, done.stdout) == (7, b"app01\n"), done.stderr
    copy = demo.command("  scp")
    try:
        done = run(["sh", "-c", copy])
        assert done.code == 0, done.stderr
        assert Path("/tmp/stagedoor-demo.txt").read_bytes() == Path("/etc/hostname").read_bytes()
    finally:
        Path("/tmp/stagedoor-demo.txt").unlink(missing_ok=True)
    stock = demo.command("ProxyCommand=")
    assert ("nc" if find("nc") else "tun.py") in stock
    password = (
        demo.line("asks for the password").split("which is ")[1].split(")")[0] if find("nc") else ""
    )
    done = run(["sh", "-c", f"{stock} 'echo $APP_NAME; exit 7'"], password=password)
    assert (done.code, done.stdout) == (7, b"app01\n"), done.stderr
    # No secret is in any command line meanwhile, and a terminal that is closed ends the demo.
    [token] = demo.folder.glob("*/dev/token")
    secrets = [secret for secret in (token.read_text().strip(), password) if secret]
    login = login.replace("app01", "app02").replace("ssh ", "ssh -o ProxyUseFdpass=no ", 1)
    with Prompted(["sh", "-c", f"exec {login} 'cat'"], stdin=None):
        demo.line("dev → app02.ssh", "open")
        for process in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                cmdline = (process / "cmdline").read_text()
                assert not [secret for secret in secrets if secret in cmdline]
    demo.ends(signal.SIGHUP)
    assert demo.lines[-1] == "Stopped; nothing is left behind."


def test_without_nc_the_third_command_needs_nothing_but_python(tmp_path: Path) -> None:
    programs = tmp_path / "bin"
    programs.mkdir()
    for name in ("ssh", "python3", "sh"):
        (programs / name).symlink_to(
            run(["sh", "-c", f"command -v {name}"]).stdout.decode().strip()
        )
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PATH", str(programs))
        demo = Demo(temporary, MORE)
    with demo:
        demo.line("Ctrl-C ends the demo")
        done = run(["sh", "-c", f"{demo.command('tun.py')} 'exit 7'"])
        assert done.code == 7, done.stderr
        demo.ends(signal.SIGINT)


def test_who_signs_in_at_the_provider_enters_by_ssh_alone(tmp_path: Path) -> None:
    """npm fetches the provider; a browser by HTTP signs in there, as any person."""
    programs, home = tmp_path / "bin", tmp_path / "home"
    for made in (programs, home, tmp_path / "demo"):
        made.mkdir()
    for name, call in (("node", 'exec node "$@"'), ("npm", 'npm "$@"')):
        program = programs / name
        program.write_text(f'#!/bin/bash\nroot={ROOT}; . "$root/script/node.sh"; {call}\n')
        program.chmod(0o755)
    path = f"{programs}:{os.environ['PATH']}"
    around = {**os.environ, "TMPDIR": str(tmp_path / "demo"), "PATH": path}
    with Demo(tmp_path / "demo", [*DEMO, "--sso"], around) as demo:
        command = demo.line(" login http://", within_s=4 * BOUND_S).split()
        base = command[-1]
        env = {"HOME": str(home), "PATH": os.environ["PATH"], "LOGNAME": "somebody"}
        login = subprocess.Popen(
            [*command, "--no-browser"], env=env, stderr=subprocess.PIPE, text=True
        )
        assert login.stderr is not None
        id_ = login.stderr.readline().strip().rpartition("/login/")[2]
        browser, idp = Browser(base), Idp("", f"{base}/sign-in/sso")
        browser.get(idp.sign_in(browser.begin(f"/login/{id_}", "Demo"), "alice"))
        status, page = browser.post(f"/login/{id_}/approve")
        assert status == 200, page
        [back, *_] = re.findall(r'href="(http://127\.0\.0\.1:\d+/[^"]+)"', page)
        browser.get(html.unescape(back))
        assert "logged in as alice" in login.communicate(timeout=BOUND_S)[1]
        ssh = ["ssh", "-F", str(home / ".ssh/config"), "app01.ssh", "echo $APP_NAME"]
        done = subprocess.run(ssh, env=env, stdin=subprocess.DEVNULL, capture_output=True)
        assert (done.returncode, done.stdout) == (0, b"app01\n"), done.stderr
        demo.line("alice → app01.ssh", "open")
        demo.ends(signal.SIGINT)


def test_without_node_the_provider_is_named_and_passwords_are_advised(tmp_path: Path) -> None:
    around = {**os.environ, "TMPDIR": str(tmp_path), "PATH": "/nowhere"}
    with Demo(tmp_path, [*DEMO, "--sso"], around) as demo:
        demo.line("needs Node 20 and npm, which are not on PATH; without --sso")
        assert demo.process.wait(BOUND_S) == 1
        assert_nothing_is_left(tmp_path)


@pytest.mark.parametrize("times", [1, 2])
def test_ctrl_c_with_somebody_inside_leaves_no_process_and_no_folder(
    demo: Demo, times: int
) -> None:
    login = demo.command("app01.ssh")
    with Prompted(
        ["sh", "-c", f"exec {login} 'echo inside; exec sleep 300'"], stdin=None
    ) as inside:
        demo.line("dev → app01.ssh", "open")
        inside.expect("inside")
        demo.ends(signal.SIGINT, times)
        assert inside.wait().code == 255
    assert demo.lines[-1] == "Stopped; nothing is left behind."
    assert any("closed by an administrator" in line for line in demo.lines), demo.lines[-4:]


def test_a_reader_who_leaves_ends_it(tmp_path: Path) -> None:
    """As in `stagedoor demo | head`."""
    environment = {**os.environ, "TMPDIR": str(tmp_path)}
    with subprocess.Popen(
        DEMO, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment
    ) as demo:
        assert demo.stdout is not None
        login = next(line for line in demo.stdout if "ssh_config app01.ssh" in line)
        demo.stdout.close()
        # The next line that it has to print.
        with contextlib.suppress(subprocess.TimeoutExpired):
            run(["sh", "-c", f"{login.strip()} true"])
        assert demo.wait(BOUND_S) == 0
        assert demo.stderr is not None
        assert demo.stderr.read() == ""
    assert_nothing_is_left(tmp_path)


def has_folder(demo: Demo) -> bool:
    return any(demo.folder.iterdir())


def has_worker(demo: Demo) -> bool:
    children = Path(f"/proc/{demo.process.pid}/task/{demo.process.pid}/children")
    for pid in children.read_text().split():
        with contextlib.suppress(OSError):  # it has ended since
            if "stagedoor.serve.worker" in Path(f"/proc/{pid}/cmdline").read_text():
                return True
    return False


@pytest.mark.parametrize(
    ("has_begun", "number"), [(has_folder, signal.SIGTERM), (has_worker, signal.SIGINT)]
)
def test_a_signal_while_it_starts_leaves_nothing_behind(
    tmp_path: Path, has_begun: Callable[[Demo], bool], number: signal.Signals
) -> None:
    with Demo(tmp_path) as demo:
        wait_until(lambda: has_begun(demo))
        demo.ends(number)


@pytest.mark.parametrize(
    "argv", [DEMO, [sys.executable, "-c", TOO_LATE]], ids=["before", "meanwhile"]
)
def test_a_port_that_somebody_has_is_said_and_another_taken(
    tmp_path: Path, argv: list[str]
) -> None:
    with socket.socket() as holder:
        holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        with contextlib.suppress(OSError):  # then another test's demo has it
            holder.bind(("127.0.0.1", 8022))
            holder.listen()
        with Demo(tmp_path, argv) as demo:
            shown = demo.line("is open at", "another program has port 8022")
            assert "127.0.0.1:8022" not in shown
            assert run(["sh", "-c", f"{demo.command('app01.ssh')} 'exit 7'"]).code == 7
            demo.ends(signal.SIGINT)


@pytest.mark.continuity(20)
def test_on_a_terminal_those_inside_are_shown_and_keys_cut_upgrade_and_end_it(
    tmp_path: Path,
) -> None:
    env = {"TMPDIR": str(tmp_path), "TERM": "xterm"}
    with Prompted(DEMO, env=env, stdin=None, on_terminal=True, timeout_s=BOUND_S) as demo:
        demo.expect("no open sessions", BOUND_S)
        [config] = tmp_path.glob("*/ssh_config")
        ssh = ["ssh", "-tt", "-F", config, "app02.ssh", "echo in''side; cat"]
        with Prompted(ssh, stdin=None, on_terminal=True) as session:
            demo.expect("dev in app02.ssh", BOUND_S)
            session.expect("inside", BOUND_S)
            demo.type("c")
            demo.expect("the network is cut for 5 s")
            session.type("typed meanwhile\r")
            demo.expect("the network is back")
            session.expect("typed meanwhile\r\ntyped meanwhile\r\n")
            demo.type("u")
            demo.expect("serves after")
            session.type("typed afterwards\r")
            session.expect("typed afterwards\r\ntyped afterwards\r\n")
        demo.type("\x03")
        done = demo.wait()
    assert done.code == 0
    assert done.stdout.endswith(b"Stopped; nothing is left behind.\r\n")
    assert_nothing_is_left(tmp_path)
