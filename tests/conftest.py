"""What all tests share: nothing is skipped silently, and with CI=true nothing is skipped at all."""

import os
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, settings

from tests.store.server import PostgresqlHere

# Programs are started thousands of times here; each would compile the same modules anew.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)

# How fast this machine is says nothing of what is tested: not even where no CI tells so by a variable.
settings.register_profile(
    "here", settings(), deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("here")


@pytest.fixture(scope="session")
def postgresql() -> Iterator[PostgresqlHere]:
    """One server for all tests of this process that want one; each takes a database of its own."""
    made = PostgresqlHere()
    try:
        yield made.make()
    finally:
        made.destroy()


def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    """With CI=true a skipped test fails the run."""
    if os.environ.get("CI") != "true" or hasattr(session.config, "workerinput"):
        return
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    skipped = reporter.stats.get("skipped", []) if reporter else []
    if skipped and exitstatus == 0:
        reporter.write_line(f"CI=true: {len(skipped)} skipped tests fail the run", red=True)
        session.exitstatus = pytest.ExitCode.TESTS_FAILED
