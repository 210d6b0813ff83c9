from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path

import pytest

from stagedoor.settings.store_location import StoreLocation, StoreServer
from stagedoor.store.database import Database, open_database
from tests import stores
from tests.store.server import PostgresqlHere, name_of
from tests.waiting import BOUND_S

Outage = Callable[[], AbstractContextManager[None]]


@pytest.fixture(autouse=True)
def step_by_step(request: pytest.FixtureRequest) -> Iterator[None]:
    """A store that a test opens itself is made as the program makes it; that of `database` is a copy."""
    with nullcontext() if "database" in request.fixturenames else stores.made_step_by_step():
        yield


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Return the place of a SQLite store that does not exist yet."""
    return tmp_path / "data" / "stagedoor.db"


@pytest.fixture
def server(postgresql: PostgresqlHere) -> Iterator[StoreServer]:
    """A store in a PostgreSQL server."""
    made = postgresql.filled()
    yield made
    postgresql.drop(made)


@pytest.fixture
def empty(postgresql: PostgresqlHere) -> Iterator[StoreServer]:
    """An empty database of a PostgreSQL server."""
    made = postgresql.database()
    yield made
    postgresql.drop(made)


@pytest.fixture(params=["sqlite", "postgresql"])
def place(request: pytest.FixtureRequest) -> StoreLocation:
    """Return the place of a store, once of each kind: a test with it holds for all of them.

    There is no store yet, unless the test asks for `database` as well.
    """
    server = "server" if "database" in request.fixturenames else "empty"
    store_place: StoreLocation = request.getfixturevalue(
        "path" if request.param == "sqlite" else server
    )
    return store_place


@pytest.fixture
def database(place: StoreLocation) -> Iterator[Database]:
    # Those who write at once wait for each other, on a busy disk for longer than a login would.
    opened = open_database(place, busy_timeout_s=BOUND_S)
    yield opened
    opened.close()


@pytest.fixture
def outage(place: StoreLocation, request: pytest.FixtureRequest) -> Outage:
    """The store is out of reach for as long as this lasts, and comes back as it was."""

    @contextmanager
    def file() -> Iterator[None]:
        assert isinstance(place, Path)
        aside = place.rename(place.with_suffix(".aside"))
        yield
        aside.rename(place)

    @contextmanager
    def server() -> Iterator[None]:
        assert isinstance(place, StoreServer)
        here: PostgresqlHere = request.getfixturevalue("postgresql")
        name = name_of(place)
        here.admin(f"ALTER DATABASE {name} ALLOW_CONNECTIONS false")
        here.admin(
            f"SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity WHERE datname = '{name}'"
        )
        yield
        here.admin(f"ALTER DATABASE {name} ALLOW_CONNECTIONS true")

    return server if isinstance(place, StoreServer) else file
