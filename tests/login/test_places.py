"""A login behind nginx, below a path of another site, and through a corporate proxy, at two gateways that are
started again."""

from pathlib import Path

import pytest

from tests.login.everywhere import two_gateways
from tests.login.laptop import come_back, new_laptop
from tests.login.machine import Person
from tests.net.peers import write_certificate
from tests.store.server import PostgresqlHere
from tests.web.proxies import MISSING, Corporate, nginx

WEB = 'path = "/stagedoor"\nforwarded_from = ["127.0.0.1/32"]\n'


@pytest.mark.skipif(bool(MISSING), reason=f"as root: apt-get install {' '.join(MISSING)}")
@pytest.mark.identity(10)
def test_a_login_goes_on_behind_nginx_though_its_gateways_start_again(
    tmp_path: Path, postgresql: PostgresqlHere
) -> None:
    """All of it through a corporate proxy that speaks CONNECT, and so the renewal. Some 15 s: two gateways
    start twice."""
    server = postgresql.filled()
    with two_gateways(tmp_path, server, WEB) as gateways:
        first, second = (gateway.port("web") for gateway in gateways)
        certificate = write_certificate(tmp_path)
        with nginx(tmp_path / "nginx", first, certificate, "/stagedoor/", others=[second]) as proxy:
            place = f"127.0.0.1:{proxy.port}"
            laptop = new_laptop(tmp_path, f"http://{place}/stagedoor")
            with Corporate({place: proxy.port}) as corporate:
                via = {"STAGEDOOR_VIA": f"http://127.0.0.1:{corporate.port}"}
                running = laptop.start("login", laptop.base, **via)
                id_ = running.login_id(laptop.base)
                person = Person(laptop.base).sign_in()
                for gateway in gateways:
                    gateway.stop()
                    assert person.get(f"/login/{id_}")[0] == 200, "the other one serves"
                    gateway.lines.clear()  # else it would seem to serve already
                    gateway.start()
                come_back(person, id_)
                assert running.end().returncode == 0, running.stderr
                assert set(corporate.asked) == {f"CONNECT {place}"}
                corporate.asked.clear()
                gateways[0].stop()
                (laptop.folder / "fresh_until").write_text("0\n")
                done = laptop.run("login", "--if-needed", "--folder", str(laptop.folder), **via)
                assert done.returncode == 0, done.stderr
                assert corporate.asked == [f"CONNECT {place}"]
                gateways[0].lines.clear()
                gateways[0].start()
            done = laptop.ssh("app01.ssh", "echo in")
            assert (done.returncode, done.stdout) == (0, "in\n"), done.stderr
    postgresql.drop(server)
