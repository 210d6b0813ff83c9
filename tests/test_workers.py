"""`tests.workers`: tests in several processes, on small test suites of its own."""

import os
import signal
import subprocess
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.run import ROOT
from tests.waiting import wait_until

QUIET = ("-p", "no:cacheprovider", "-p", "tests.run")


def command(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "pytest", *QUIET, *arguments]


def start(folder: Path, files: dict[str, str], *arguments: str) -> "subprocess.Popen[str]":
    (folder / "pytest.ini").write_text("[pytest]\n")
    for name, text in files.items():
        (folder / f"{name}.py").write_text(textwrap.dedent(text))
    outside = {name: value for name, value in os.environ.items() if "PYTEST" not in name}
    return subprocess.Popen(
        command(*arguments),
        cwd=folder,
        env={**outside, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1", "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )


def run(folder: Path, files: dict[str, str], *arguments: str) -> tuple[int, str]:
    process = start(folder, files, *arguments)
    said, _ = process.communicate(timeout=60)
    return process.returncode, said


def lines(folder: Path, name: str) -> list[str]:
    return (folder / name).read_text().splitlines()


SHARED = """
    import os, pytest
    def note(name, text):
        with open(name, "a") as file: file.write(f"{text}\\n")
    @pytest.fixture(scope="session")
    def everywhere():
        note("sessions", f"made {os.getpid()}")
        yield
        note("sessions", f"ended {os.getpid()}")
    @pytest.fixture(scope="module")
    def here(request):
        note("modules", f"made {request.module.__name__}")
        yield
        note("modules", f"ended {request.module.__name__}")
"""
USES = """
    import os, pytest
    @pytest.mark.parametrize("number", range(3))
    def test_it(everywhere, here, number, tmp_path):
        tmp_path.joinpath("mine").touch()
        with open("ran", "a") as file: file.write(f"{__name__} {os.getpid()}\\n")
"""


def test_a_file_is_run_by_one_worker_and_what_is_shared_is_made_once(tmp_path: Path) -> None:
    files = {"conftest": SHARED, **{f"test_{number}": USES for number in range(5)}}
    status, said = run(tmp_path, files, "--workers=2")
    assert status == 0, said
    assert "15 passed" in said
    ran = [line.split() for line in lines(tmp_path, "ran")]
    assert len({(module, pid) for module, pid in ran}) == 5
    modules, sessions = lines(tmp_path, "modules"), lines(tmp_path, "sessions")
    assert sorted(modules) == sorted(set(modules))
    assert len(modules) == 10
    pids = {pid for _, pid in ran}
    assert sorted(sessions) == sorted(f"{what} {pid}" for what in ("made", "ended") for pid in pids)


def test_what_a_process_registers_for_its_end_is_done(tmp_path: Path) -> None:
    registers = """
        import atexit, pathlib
        def at_import(): pathlib.Path("imported").open("a").write("once\\n")
        atexit.register(at_import)
        def test_it(): atexit.register(pathlib.Path("ended").touch)
    """
    status, said = run(tmp_path, {"test_1": registers}, "--workers=1")
    assert status == 0, said
    assert (tmp_path / "ended").exists()
    assert lines(tmp_path, "imported") == ["once"]


MEETS = """
    import os, pathlib, time
    def test_meets():
        came = pathlib.Path("came")
        with came.open("a") as file: file.write(f"{os.getpid()}\\n")
        deadline = time.monotonic() + 60
        while len(came.read_text().splitlines()) < 2:
            assert time.monotonic() < deadline, "the other file does not run"
            time.sleep(0.01)
"""


def test_files_run_at_the_same_time(tmp_path: Path) -> None:
    status, said = run(tmp_path, {"test_1": MEETS, "test_2": MEETS}, "--workers=2")
    assert status == 0, said


CREWS = """
    from pathlib import Path
    from tests.workers import Workers
    def crews(files):
        return [(count, [file for file in sorted(files) if file.stem in names]) for count, names in {crews}]
    def pytest_configure(config):
        config.pluginmanager.register(Workers(crews, lambda: None))
"""
NOTES = "import os, pathlib\ndef test_it(): pathlib.Path(__name__).write_text(str(os.getpid()))"


@pytest.mark.parametrize("through", ["test_0", "test_9"])
def test_a_crew_that_is_through_helps_another(tmp_path: Path, through: str) -> None:
    """Whichever of them was first."""
    meet = ["test_1", "test_2", "test_3"]
    meets = MEETS.replace("< 2", "< 3")
    crews = sorted([(2, [through]), (2, meet)], key=lambda crew: crew[1])
    files = {"conftest": CREWS.format(crews=crews), through: NOTES, **dict.fromkeys(meet, meets)}
    status, said = run(tmp_path, files)
    assert status == 0, said
    assert (tmp_path / through).read_text() in lines(tmp_path, "came")


def test_what_a_crew_of_one_does_it_does_alone(tmp_path: Path) -> None:
    """Its first file lasts until the other crew's process has ended, for want of work."""
    crews = CREWS.format(crews=[(1, ["test_1", "test_2", "test_3"]), (2, ["test_4"])])
    waits = """
        import os, pathlib, time
        def test_it():
            pathlib.Path(__name__).write_text(str(os.getpid()))
            other, deadline = pathlib.Path("test_4"), time.monotonic() + 60
            while not other.exists() or pathlib.Path("/proc", other.read_text(), "cwd").exists():
                assert time.monotonic() < deadline, "the other crew's process goes on"
                time.sleep(0.01)
    """
    files = {
        "conftest": crews,
        "test_1": waits,
        **dict.fromkeys(("test_2", "test_3", "test_4"), NOTES),
    }
    status, said = run(tmp_path, files)
    assert status == 0, said
    own = {(tmp_path / f"test_{number}").read_text() for number in (1, 2, 3)}
    assert own != {(tmp_path / "test_4").read_text()}
    assert len(own) == 1


def test_what_a_test_prints_and_why_it_failed_is_shown(tmp_path: Path) -> None:
    wrong = (
        "def test_wrong():\n    print('seen', 'by it')\n    assert 1 == 2\ndef test_right(): pass\n"
    )
    status, said = run(tmp_path, {"test_1": wrong}, "--workers=2")
    assert status == 1
    assert "1 failed, 1 passed" in said
    assert said.count("seen by it") == 1
    assert "assert 1 == 2" in said


def test_a_worker_that_breaks_fails_its_test_and_another_goes_on(tmp_path: Path) -> None:
    breaks = """
        import os
        def test_before(): pass
        def test_breaks(): os._exit(11)
        def test_after(): pass
    """
    status, said = run(tmp_path, {"test_1": breaks, "test_2": "def test_it(): pass"}, "--workers=1")
    assert status == 1
    assert "1 failed, 3 passed" in said
    assert "the process that ran it crashed, with status 11" in said


def test_what_cannot_be_cleared_away_fails_the_last_test(tmp_path: Path) -> None:
    stays = """
        import pytest
        @pytest.fixture(scope="session")
        def thing():
            yield
            raise OSError("still busy")
        def test_it(thing): pass
    """
    status, said = run(tmp_path, {"test_1": stays}, "--workers=2")
    assert status == 1
    assert "still busy" in said


def test_at_the_first_failure_all_stop_if_that_is_asked_for(tmp_path: Path) -> None:
    waits = """
        import pathlib, time
        def test_waits():
            pathlib.Path("waits").touch()
            time.sleep(50)
    """
    fails = """
        import pathlib, time
        def test_fails():
            while not pathlib.Path("waits").exists(): time.sleep(0.01)
            assert False
        def test_later(): pathlib.Path("later").touch()
    """
    status, said = run(tmp_path, {"test_1": waits, "test_2": fails}, "--workers=2", "-x")
    assert status == 1
    assert "stopping after 1 failures" in said
    assert not (tmp_path / "later").exists()


WAITS = """
    import pathlib, time
    def test_waits(everywhere):
        pathlib.Path("waits").touch()
        time.sleep(50)
"""
WAITS_AND_IS_TOLD_AGAIN = """
    import os, pathlib, signal, time
    real = signal.signal
    def again(*what):
        signal.signal = real
        os.kill(os.getpid(), signal.SIGINT)
        return real(*what)
    def test_waits(everywhere):
        signal.signal = again
        pathlib.Path("waits").touch()
        time.sleep(50)
"""
"""Ctrl-C comes by the terminal and by the first process, here when the worker minds the first of them."""


@pytest.mark.parametrize(
    ("whom", "waits"),
    [
        pytest.param(os.killpg, WAITS, id="all"),
        pytest.param(os.kill, WAITS, id="first"),
        pytest.param(os.kill, WAITS_AND_IS_TOLD_AGAIN, id="again"),
    ],
)
def test_an_interrupt_clears_away_what_is_shared(
    tmp_path: Path, whom: Callable[[int, int], None], waits: str
) -> None:
    """Ctrl-C reaches all of them; a signal from elsewhere the first."""
    process = start(tmp_path, {"conftest": SHARED, "test_1": waits}, "--workers=2")
    wait_until((tmp_path / "waits").exists)
    whom(process.pid, signal.SIGINT)
    said, _ = process.communicate(timeout=60)
    assert process.returncode == 2, said
    assert [line.split()[0] for line in lines(tmp_path, "sessions")] == ["made", "ended"]


def test_a_worker_whose_first_process_is_killed_ends_and_clears_away(tmp_path: Path) -> None:
    waits = """
        import os, pathlib, time
        def test_waits(everywhere):
            pathlib.Path("waits").write_text(str(os.getpid()))
            deadline = time.monotonic() + 50
            while os.getppid() == first and time.monotonic() < deadline: time.sleep(0.01)
        def test_never(): pathlib.Path("never").touch()
        first = os.getpid()
    """
    process = start(tmp_path, {"conftest": SHARED, "test_1": waits}, "--workers=2")
    wait_until(lambda: (tmp_path / "waits").exists() and (tmp_path / "waits").read_text())
    process.kill()
    process.communicate(timeout=60)
    worker = Path("/proc") / (tmp_path / "waits").read_text()
    wait_until(lambda: not worker.exists())
    assert [line.split()[0] for line in lines(tmp_path, "sessions")] == ["made", "ended"]
    assert not (tmp_path / "never").exists()


def test_a_test_that_takes_too_long_fails(tmp_path: Path) -> None:
    slow = "import time\ndef test_slow(): time.sleep(50)\ndef test_next(): pass\n"
    arguments = ("-p", "pytest_timeout", "--timeout=0.2", "--workers=1")
    status, said = run(tmp_path, {"test_1": slow}, *arguments)
    assert status == 1
    assert "1 failed, 1 passed" in said
    assert "Timeout" in said


def test_nothing_runs_if_something_cannot_be_collected(tmp_path: Path) -> None:
    files = {"test_1": "import nothing_of_that_name", "test_2": "def test_it(): pass"}
    status, said = run(tmp_path, files, "--workers=2")
    assert status == 2
    assert "1 error" in said
    assert "passed" not in said
