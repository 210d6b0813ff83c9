from collections.abc import Iterator
from pathlib import Path

import pytest

from stagedoor.model.shell import Shell
from stagedoor.shells.local import LocalShell
from tests.shells.world import Ssh, World, running, ssh_with


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path / "house")


@pytest.fixture(scope="module")
def shared_world(tmp_path_factory: pytest.TempPathFactory) -> World:
    """One for all tests of a file that only look."""
    return World(tmp_path_factory.mktemp("house"))


@pytest.fixture(scope="module")
def shell(shared_world: World) -> Iterator[Shell]:
    """app01, running."""
    env = {"DATABASE_URL": "postgres://secret", "LANG": "C.UTF-8"}
    with running(shared_world, LocalShell("app01", env=env, login_shell="/bin/bash")) as (_, shell):
        yield shell


@pytest.fixture(scope="module")
def config(shared_world: World, shell: Shell) -> Path:
    return shared_world.config(shell)


@pytest.fixture(scope="module")
def ssh(config: Path) -> Ssh:
    return ssh_with(config)
