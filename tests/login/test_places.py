"""A login below a path of another site and through a corporate proxy, while the gateway is started again."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.login.conftest import settings
from tests.login.laptop import come_back, new_laptop
from tests.login.machine import Person
from tests.path.gateway import Gateway
from tests.web.proxies import Corporate


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    toml = settings().replace("tmux = false", 'tmux = false\npath = "/stagedoor"')
    with Gateway(tmp_path_factory.mktemp("login"), toml) as found:
        found.add_user("dev", "app01")
        yield found.start()


@pytest.mark.identity(10)
def test_a_login_goes_on_below_a_path_though_the_gateway_starts_again(
    tmp_path: Path, gateway: Gateway, base: str
) -> None:
    """All of it through a corporate proxy that speaks CONNECT, and so the renewal."""
    laptop = new_laptop(tmp_path, f"{base}/stagedoor")
    place = base.partition("://")[2]
    with Corporate({place: gateway.port("web")}) as corporate:
        via = {"STAGEDOOR_VIA": f"http://127.0.0.1:{corporate.port}"}
        running = laptop.start("login", laptop.base, **via)
        id_ = running.login_id(laptop.base)
        person = Person(laptop.base).sign_in()
        gateway.stop()
        gateway.lines.clear()  # else it would seem to serve already
        gateway.start()
        come_back(person, id_)
        assert running.end().returncode == 0, running.stderr
        assert set(corporate.asked) == {f"CONNECT {place}"}
        corporate.asked.clear()
        (laptop.folder / "fresh_until").write_text("0\n")
        done = laptop.run("login", "--if-needed", "--folder", str(laptop.folder), **via)
        assert done.returncode == 0, done.stderr
        assert corporate.asked == [f"CONNECT {place}"]
    done = laptop.ssh("app01.ssh", "echo in")
    assert (done.returncode, done.stdout) == (0, "in\n"), done.stderr
