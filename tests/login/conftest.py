"""A gateway that answers the web, CONNECT and SSH, and a machine that would log in."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.fixtures.gateway import Gateway, open_gateway
from tests.login.laptop import BareLaptop, new_laptop
from tests.login.machine import Person
from tests.ports import free_port

SETTINGS = """
[tunnel]
addresses = ["127.0.0.1:{tunnel}"]

[ssh]
addresses = ["127.0.0.1:{ssh}"]
host_names = ["127.0.0.1"]

[web]
addresses = ["127.0.0.1:{web}"]
tmux = false

[[shells.local]]
app = "app01"
env = {{ APP_NAME = "app01" }}
login_shell = "/bin/sh"
"""


def settings() -> str:
    """With ports that the well-known document can name."""
    return SETTINGS.format(tunnel=free_port(), ssh=free_port(), web=free_port())


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    with open_gateway(tmp_path_factory.mktemp("login"), settings(), "app01") as gateway:
        yield gateway


@pytest.fixture
def base(gateway: Gateway) -> str:
    return f"http://127.0.0.1:{gateway.port('web')}"


@pytest.fixture
def laptop(tmp_path: Path, base: str) -> BareLaptop:
    return new_laptop(tmp_path, base)


@pytest.fixture
def person(base: str) -> Person:
    return Person(base).sign_in()


@pytest.fixture
def ended(gateway: Gateway) -> Iterator[None]:
    yield
    gateway.command("sign-in", "end", "--user", "dev", "--yes")
