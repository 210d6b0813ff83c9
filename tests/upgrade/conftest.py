import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from stagedoor.store.schema import SCHEMA_VERSION
from tests import forks
from tests.fixtures.gateway import PATIENCE_S, SSH_TABLE, EchoServer, local, static
from tests.fixtures.laptop import Laptop
from tests.net.peers import write_certificate
from tests.ports import free_port
from tests.ssh.conftest import echo, sockets
from tests.upgrade.programs import Programs, UpgradedGateway

__all__ = ["echo", "sockets"]
A, B = "0.9.1", "0.9.2"
CRASHES, BAD_STORE, SLOW, BROKEN, HESITANT = "0.9.3", "0.9.4", "0.9.5", "0.9.6", "0.9.7"
EARLIER, EARLIER_COMMIT = "0.9.0", "db11e010"


@pytest.fixture(scope="session")
def programs(tmp_path_factory: pytest.TempPathFactory) -> Programs:
    """Two programs that work, one whose workers crash, one that is too old for the store, one whose workers
    are never ready, one that cannot be loaded, and one that stays for a while at each step of a hand-over."""
    made = Programs(tmp_path_factory.mktemp("programs"))
    made.make(A)
    made.make(B)
    forks.programs |= {str(made.link.with_name(version)) for version in (A, B)}
    started = "async def _main() -> int:\n"
    made.make(CRASHES, serve__worker=(started, f"{started}    1 / 0\n"))
    made.make(BROKEN, cli__app=("import errno\n", "import errno\nimport half_a_program\n"))
    made.make(
        BAD_STORE,
        store__schema=(f"\nSCHEMA_VERSION = {SCHEMA_VERSION}\n", "\nSCHEMA_VERSION = 10\n"),
    )
    made.make(
        SLOW,
        serve__worker=(
            "def main() -> None:\n",
            "def main() -> None:\n    while sys.stdin.buffer.readline():\n        pass\n",
        ),
    )
    stay = '        __import__("time").sleep(3)\n'
    report, retire = "self._channel.send(Progress(step))\n", "self._file.write(retired=True)\n"
    made.make(
        HESITANT,
        serve__supervisor__predecessor=(report, report + stay),
        serve__supervisor__upgrade=(retire, retire + stay),
    )
    return made


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_certificate(tmp_path_factory.mktemp("tls"))[0]


@pytest.fixture
def workers() -> int:
    """Return how many the gateway has. Each imports its program for a second, so most tests have one."""
    return 1


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[socket.socket]:
    """The socket of a service manager, which has started the gateway."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as made:
        made.bind(str(tmp_path / "notify"))
        made.settimeout(PATIENCE_S)
        made.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
        yield made


@pytest.fixture
def laptop(
    request: pytest.FixtureRequest,
    tmp_path: Path,
    programs: Programs,
    echo: EchoServer,
    certificate: Path,
    workers: int,
) -> Iterator[Laptop]:
    """A laptop whose gateway runs program A, and has every access method."""
    settings = (
        f'[tunnel]\naddresses = ["127.0.0.1:0"]\ntls_addresses = ["127.0.0.1:0"]\n'
        f'certificate_file = "{certificate}"\nkey_file = "{certificate.with_suffix(".key")}"\n'
        f'[health]\naddress = "127.0.0.1:{free_port()}"\n'
        f'[web]\naddresses = ["127.0.0.1:0"]\ntmux = false\n{SSH_TABLE}'
        f"{local('app01')}{static('echo', echo.port)}"
    )
    laptop = Laptop(tmp_path, settings, ("app01", "echo"))
    laptop.gateway = gateway = UpgradedGateway(tmp_path, programs, settings, workers=workers)
    if "manager" in request.fixturenames:
        request.getfixturevalue("manager")
        gateway.environment = {**gateway.environment, "NOTIFY_SOCKET": str(tmp_path / "notify")}
    programs.install(A)
    with laptop.gateway:
        laptop.gateway.start()
        yield laptop


@pytest.fixture
def gateway(laptop: Laptop) -> UpgradedGateway:
    assert isinstance(laptop.gateway, UpgradedGateway)
    return laptop.gateway
