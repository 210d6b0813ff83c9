"""The endpoint as a service of its own, beside the gateway's."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from stagedoor.resume.control import EndpointControl, stop_endpoint
from stagedoor.resume.messages import connect_control
from tests.waiting import wait_until


@contextmanager
def service(folder: Path) -> Iterator["subprocess.Popen[str]"]:
    """Run the endpoint as a service manager does, with `folder` as the `data_dir`."""
    settings = folder / "stagedoor.toml"
    settings.write_text(f'data_dir = "{folder}"\n')
    with subprocess.Popen(
        [sys.executable, "-P", "-m", "stagedoor.resume", "--config", settings],
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def answers(folder: Path) -> bool:
    try:
        connect_control(folder, 10.0).close()
    except OSError:
        return False
    return True


@pytest.mark.continuity(6)
async def test_workers_use_the_endpoint_that_the_service_manager_started(tmp_path: Path) -> None:
    folder = tmp_path / "resume"
    with service(tmp_path) as process:
        wait_until(lambda: answers(folder), what="it does not listen")
        assert folder.stat().st_mode & 0o777 == 0o700
        control = EndpointControl(folder, 60.0)
        assert await control.adopt("s1", None) is None  # type: ignore[arg-type]  # it answers
        control._hang_up()
        assert not (folder / "faults").exists(), "no worker started another one"
        assert process.poll() is None
        os.kill(process.pid, signal.SIGTERM)
        assert process.wait(60) == -signal.SIGTERM


def test_two_endpoints_never_share_a_folder(tmp_path: Path) -> None:
    folder = tmp_path / "resume"
    with service(tmp_path) as first:
        wait_until(lambda: answers(folder), what="it does not listen")
        with service(tmp_path) as second:
            assert second.wait(60) == 1
            assert second.stderr is not None
            assert "serves here" in second.stderr.read()
        assert first.poll() is None
        assert answers(folder)
        stop_endpoint(folder)
        assert first.wait(60) == 0
