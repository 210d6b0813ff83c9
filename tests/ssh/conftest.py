import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.fixtures.gateway import SSH_TABLE, EchoServer, local, static
from tests.fixtures.laptop import Laptop, open_laptop
from tests.ports import free_port
from tests.ssh import newest


@pytest.fixture(scope="module")
def echo() -> Iterator[EchoServer]:
    server = EchoServer()
    yield server
    server.close()


@pytest.fixture(scope="module")
def laptop(tmp_path_factory: pytest.TempPathFactory, echo: EchoServer) -> Iterator[Laptop]:
    """One gateway for all tests of a file: app01 is a shell, echo a server of the test's own,
    closed one at which no server answers, app02 an app that `dev` may not enter."""
    closed = free_port()
    settings = SSH_TABLE + local("app01") + local("app02") + static("echo", echo.port)
    settings += static("closed", closed)
    folder: Path = tmp_path_factory.mktemp("ssh")
    with open_laptop(folder, settings, ("app01", "echo", "closed")) as one:
        yield one


@pytest.fixture
def sockets() -> Iterator[Path]:
    """A folder for control sockets, whose paths must be short (unix(7): 108 bytes)."""
    with tempfile.TemporaryDirectory(prefix="sd-") as folder:
        yield Path(folder)


@pytest.fixture(scope="module", params=["machine's ssh", f"{newest.SUITE}'s ssh"])
def openssh(request: pytest.FixtureRequest) -> Iterator[None]:
    """The OpenSSH client: the machine's own, and that of Debian's newest release."""
    with pytest.MonkeyPatch.context() as patch:
        if request.param != "machine's ssh":
            try:
                place = newest.folder()
            except newest.MissingError as error:
                pytest.skip(f"no newer OpenSSH: {error}")
            patch.setenv("PATH", str(place), prepend=os.pathsep)
        yield
