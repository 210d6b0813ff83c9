"""What all tests share. `tests.run` decides what makes a run red."""

import gc
import os
import signal
from collections.abc import Generator, Iterator

import pytest
from hypothesis import HealthCheck, settings

from tests import forks, hashing, stores
from tests.kube.api.lone import lone
from tests.pace import pytest_collection_modifyitems
from tests.store.server import PostgresqlHere
from tests.stuck import stuck

__all__ = ["lone", "pytest_collection_modifyitems"]

# Programs are started thousands of times here; each would compile the same modules again.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
# A local shell is not handed it on, and so would differ from what `tests.forks` makes.
os.environ.pop("PYTHONUNBUFFERED", None)

# How fast this machine is says nothing of what is tested: not even where no CI tells so by a variable.
# Half of hypothesis' own number of examples. With CI=true it takes the same ones in each run.
settings.register_profile(
    "here", max_examples=50, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("here")

forks.install()
hashing.install()
stores.install()


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """What is collected stays: the garbage collector need not look through it, now or in any test."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.freeze()
        gc.enable()


def pytest_configure() -> None:
    """Let SIGTERM end a run as Ctrl-C does: what tests have made is cleared away."""
    if signal.getsignal(signal.SIGTERM) is signal.SIG_DFL:
        signal.signal(signal.SIGTERM, signal.default_int_handler)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_teardown(
    item: pytest.Item, nextitem: pytest.Item | None
) -> Generator[None, object, object]:
    """What a file has made is cleared away with its last test."""
    done = yield
    goes_on = nextitem is not None and item.getparent(pytest.Module) in nextitem.listchain()
    if not goes_on and (left := stuck()):
        pytest.fail(f"a shutdown(2) is missing before a close(2): {', '.join(left)}", pytrace=False)
    return done


@pytest.fixture(scope="session")
def postgresql() -> Iterator[PostgresqlHere]:
    """One server for all tests of this process that want one; each takes a database of its own."""
    made = PostgresqlHere()
    try:
        yield made.make()
    finally:
        made.destroy()
