"""The API over a store of its own."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from stagedoor.admin.service import open_service
from tests.api.world import World, add_people


@pytest.fixture(scope="session")
def peopled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of a store with users, of which each test has a copy."""
    folder = tmp_path_factory.mktemp("people") / "data"
    with open_service(folder) as service:
        add_people(service)
    return folder


@pytest.fixture
def world(peopled: Path, tmp_path: Path) -> Iterator[World]:
    folder = tmp_path / "data"
    shutil.copytree(peopled, folder)
    with open_service(folder) as service:
        yield World(service)
