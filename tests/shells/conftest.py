from collections.abc import Iterator
from pathlib import Path

import pytest

from stagedoor.model.shell import Shell
from stagedoor.shells.local.settings import LocalShell
from tests.fixtures.laptop import Ssh
from tests.shells.host import ShellHost, running, ssh_with


@pytest.fixture
def host(tmp_path: Path) -> ShellHost:
    return ShellHost(tmp_path / "host")


@pytest.fixture(scope="module")
def shared_host(tmp_path_factory: pytest.TempPathFactory) -> ShellHost:
    """One for all tests of a file that only look."""
    return ShellHost(tmp_path_factory.mktemp("host"))


@pytest.fixture(scope="module")
def shell(shared_host: ShellHost) -> Iterator[Shell]:
    """app01, running."""
    env = {"DATABASE_URL": "postgres://secret", "LANG": "C.UTF-8"}
    with running(shared_host, LocalShell("app01", env=env, login_shell="/bin/bash")) as (_, shell):
        yield shell


@pytest.fixture(scope="module")
def config(shared_host: ShellHost, shell: Shell) -> Path:
    return shared_host.config(shell)


@pytest.fixture(scope="module")
def ssh(config: Path) -> Ssh:
    return ssh_with(config)
