"""The API over a store of its own."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from stagedoor.admin.service import open_service
from tests.api.world import World


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    with open_service(tmp_path / "data") as service:
        yield World(service)
