"""A gateway that answers the web, with one developer and two apps."""

from collections.abc import Iterator

import pytest

from tests.fixtures.gateway import Gateway, open_gateway

SETTINGS = """
[web]
addresses = ["127.0.0.1:0"]
tmux = false

[[shells.local]]
app = "app01"
env = { APP_NAME = "app01" }
login_shell = "/bin/sh"

[[shells.local]]
app = "app02"

[[shells.local]]
app = "secret"
"""


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    with open_gateway(tmp_path_factory.mktemp("web"), SETTINGS, "app01", "app02") as gateway:
        yield gateway


@pytest.fixture
def port(gateway: Gateway) -> int:
    return gateway.port("web")
