"""Both implementations of an end."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.tunnel.ends import End, KitEnd, PythonEnd, compiled_endpoint, compiled_stream


@pytest.fixture(scope="session")
def driver(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The program that drives the end in C."""
    return compiled_stream(tmp_path_factory.mktemp("tunnel"))


@pytest.fixture(scope="session")
def endpoint_program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The kit's endpoint."""
    return compiled_endpoint(tmp_path_factory.mktemp("endpoint"))


@pytest.fixture(scope="module")
def kit_end(driver: Path) -> Iterator[KitEnd]:
    """The end in C. Call `new` on it first."""
    end = KitEnd(driver)
    yield end
    end.stop()


@pytest.fixture(params=["python", "kit"])
def end(request: pytest.FixtureRequest) -> End:
    """Each implementation of an end, for tests that both must pass."""
    if request.param == "python":
        return PythonEnd()
    kit_end: KitEnd = request.getfixturevalue("kit_end")
    return kit_end
