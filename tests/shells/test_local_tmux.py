"""Real tmux in local shells: each has one of its own, which a login finds and which ends with all else."""

import os
import shutil
import tempfile
from pathlib import Path

import pytest

from stagedoor.shells.local.settings import LocalShell
from tests.shells.host import ShellHost, running, ssh_with
from tests.waiting import wait_until

pytestmark = pytest.mark.skipif(
    shutil.which("tmux") is None, reason="as root: apt-get install tmux"
)
START = (
    "tmux -f /dev/null new -d -s kept 'exec sleep 600';"
    " tmux display -p -t kept '#{socket_path} #{pane_pid}'"
)
LONG = "long" * 50
"""No socket is below a folder of such a name."""


@pytest.mark.parametrize("name", ["short", LONG])
def test_it_is_found_again_by_the_same_app_only_and_ends_with_the_shells(
    tmp_path: Path, name: str
) -> None:
    if name != LONG:
        # Not in `tmp_path`, whose length depends on the run.
        tmp_path = Path(tempfile.mkdtemp(prefix="sd-"))
    host = ShellHost(tmp_path / name)
    apps = LocalShell("app01"), LocalShell("app02")
    with running(host, *apps) as (shells, shell):
        first = ssh_with(host.config(shell))
        socket, pid = first(START).stdout.decode().split()
        folder = Path(socket).parent.parent
        assert folder.stat().st_mode & 0o777 == 0o700
        assert first("tmux ls -F '#S'").stdout == b"kept\n"
        other = ssh_with(host.config(host.started(shells, apps[1].target)))
        assert other("tmux ls -F '#S'").stdout == b""
    wait_until(lambda: not Path(f"/proc/{pid}").exists())
    if name == LONG:
        assert not folder.exists()
    else:
        assert folder == host.folder / "shells" / "app01"
        shutil.rmtree(tmp_path)


def test_a_socket_of_any_usual_name_fits_into_its_path(tmp_path: Path) -> None:
    """The longest path has room for `default` only."""
    room = 107 - len(f"{tmp_path}//shells/app01/tmux-{os.getuid()}/default")
    host = ShellHost(tmp_path / ("x" * max(room, 1)))
    with running(host) as (_, shell):
        begun = ssh_with(host.config(shell))(f"tmux -L {'name' * 8} -f /dev/null new -d true")
    assert (begun.returncode, begun.stderr) == (0, b"")


def test_a_folder_in_tmp_that_others_made_first_is_refused(tmp_path: Path) -> None:
    host = ShellHost(tmp_path / LONG)
    with running(host) as (_, shell):
        socket, _ = ssh_with(host.config(shell))(START).stdout.decode().split()
    folder = Path(socket).parent.parent
    folder.symlink_to(tmp_path)
    try:
        shells = host.shells()
        with pytest.raises(AssertionError, match="not private"):
            host.started(shells)
        assert not (tmp_path / f"tmux-{os.getuid()}").exists()
    finally:
        folder.unlink()
