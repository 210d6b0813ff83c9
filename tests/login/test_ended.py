"""A sign-in that an administrator has ended while its certificate is good: what ssh and `whoami` say."""

import json
import time
from collections.abc import Iterator

import pytest

from stagedoor.laptop.login_result import NOT_LOGGED_IN
from tests.fixtures.gateway import Gateway, open_gateway, sso
from tests.login.conftest import settings
from tests.login.laptop import BareLaptop
from tests.login.machine import Person
from tests.waiting import BOUND_S


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    """With single sign-on, so that keys wait for their person; no test gets as far as the provider."""
    folder = tmp_path_factory.mktemp("ended")
    with open_gateway(folder, settings() + sso(folder), "app01") as gateway:
        yield gateway


@pytest.mark.parametrize("options", [("-oBatchMode=yes",), ()], ids=["BatchMode", "by hand"])
def test_ssh_ends_at_once_and_names_the_login(
    laptop: BareLaptop, person: Person, gateway: Gateway, options: tuple[str, ...]
) -> None:
    """The jump waited for three minutes. Its person is asked by `Match exec` before it, or not at all."""
    laptop.log_in(person)
    assert laptop.ssh(*options, "app01.ssh", "true").returncode == 0
    gateway.command("sign-in", "end", "--user", "dev", "--yes")
    gateway.wait_for_policy()
    began = time.monotonic()
    done = laptop.ssh(*options, "app01.ssh", "true")
    assert done.returncode == 255
    assert time.monotonic() - began < BOUND_S
    [line] = [line for line in done.stderr.splitlines() if line.startswith("stagedoor:")]
    assert "the sign-in of this key is over" in line
    assert "stagedoor login" in line


def test_whoami_asks_the_gateway(laptop: BareLaptop, person: Person, gateway: Gateway) -> None:
    laptop.log_in(person)
    assert laptop.run("whoami").stderr == ""
    gateway.command("sign-in", "end", "--user", "dev", "--yes")
    done = laptop.run("whoami")
    assert (done.returncode, done.stdout) == (NOT_LOGGED_IN, "")
    assert "no login with this key is valid" in done.stderr
    [known] = json.loads(laptop.run("whoami", "--json").stdout)
    assert (known["logged_in"], "no login" in known["why"]) == (False, True)


def test_whoami_says_so_where_no_gateway_answers(laptop: BareLaptop, person: Person) -> None:
    laptop.log_in(person)
    file = laptop.folder / "state.json"
    state = json.loads(file.read_text())
    file.write_text(json.dumps(state | {"gateway": "http://127.0.0.1:1"}))
    done = laptop.run("whoami")
    assert done.returncode == 0
    assert done.stdout.startswith("dev at http://127.0.0.1:1 until ")
    assert "127.0.0.1:1" in done.stderr, "it says why it knows no better"
