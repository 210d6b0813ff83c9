"""The modules that a worker imports after its start: by then the program on the disk may be another one."""

import sys
from pathlib import Path

import pytest

from tests.fixtures.gateway import SSH_TABLE, EchoServer, local, static
from tests.fixtures.laptop import Laptop
from tests.upgrade.programs import Programs, UpgradedGateway, children
from tests.upgrade.sessions import every_way

HOOK = """
import os, sys
if "stagedoor.serve.worker" in sys.orig_argv:
    name = os.path.join(os.environ["IMPORTS"], str(os.getpid()))
    file = os.open(name, os.O_CREAT | os.O_WRONLY | os.O_APPEND)
    sys.addaudithook(lambda event, args: event == "import" and os.write(file, args[0].encode() + b"\\n"))
"""


@pytest.fixture(scope="module")
def watched(tmp_path_factory: pytest.TempPathFactory) -> Programs:
    """A program whose workers write down what they import."""
    programs = Programs(tmp_path_factory.mktemp("watched"))
    programs.make("0.9.1")
    programs.install("0.9.1")
    (programs.link / "sitecustomize.py").write_text(HOOK)
    return programs


def test_a_worker_has_imported_all_that_its_sessions_need(
    tmp_path: Path, watched: Programs, echo: EchoServer, certificate: Path
) -> None:
    settings = (
        f'[tunnel]\naddresses = ["127.0.0.1:0"]\ntls_addresses = ["127.0.0.1:0"]\n'
        f'certificate_file = "{certificate}"\nkey_file = "{certificate.with_suffix(".key")}"\n'
        f'[web]\naddresses = ["127.0.0.1:0"]\ntmux = false\n{SSH_TABLE}'
        f"{local('app01')}{static('echo', echo.port)}"
    )
    laptop = Laptop(tmp_path, settings, ("app01", "echo"))
    gateway = UpgradedGateway(tmp_path, watched, settings)
    laptop.gateway = gateway
    gateway.environment = {**gateway.environment, "IMPORTS": str(tmp_path)}
    with gateway:
        gateway.start()
        [worker] = [
            pid for pid in children(gateway.current().pid) if (tmp_path / str(pid)).exists()
        ]
        before = (tmp_path / str(worker)).read_text().splitlines()
        with every_way(laptop, certificate) as sessions:
            for session in sessions:
                session.check(1)
        gateway.command("user", "remove", "dev", "--yes")
        late = (tmp_path / str(worker)).read_text().splitlines()[len(before) :]
    names = {name.partition(".")[0] for name in before}
    assert {"asyncssh", "stagedoor", "uvicorn"} <= names
    others = {name for name in late if name.partition(".")[0] not in sys.stdlib_module_names}
    assert " ".join(sorted(others)) == ""
