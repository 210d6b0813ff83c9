"""A gateway with one app and one developer, which every client of ssh can reach."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from acceptance.clients import ProxyClient
from acceptance.reach import Reach, reach
from acceptance.verdict import NotHereError
from stagedoor.admin.certificates.authorities import ensure_user_key
from stagedoor.admin.service import add_grant, add_keys, add_user, create_token, open_service
from stagedoor.demo.clients import DemoLogin
from stagedoor.demo.gateway import find_command
from tests.fixtures.gateway import PASSWORD, Gateway
from tests.missing import missing
from tests.openssh import KEX

APP = '[[shells.local]]\napp = "app01"\nenv = { APP_NAME = "app01" }\n'


def here(run: Callable[[], object]) -> None:
    """Run what may need a program that is not installed: with CI=true that is a failure."""
    try:
        run()
    except NotHereError as error:
        missing(str(error))


@dataclass(frozen=True)
class GatewayEntry:
    """A gateway and a developer's `login`; `base_config` is what their ssh reads but for the ProxyCommand."""

    gateway: Gateway
    login: DemoLogin
    base_config: Path

    def through(self, client: ProxyClient, folder: Path, port: int | None = None) -> Reach:
        """Return the way in by `client`, at `port` instead of the gateway's if a wire lies between."""
        login = replace(self.login, folder=folder, port=port or self.login.port)
        return reach(client, login, self.base_config)


@pytest.fixture(scope="module")
def entry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GatewayEntry]:
    folder = tmp_path_factory.mktemp("gw")
    gateway = Gateway(folder, APP, workers=2)
    key, token_file = folder / "id_ed25519", folder / "token"
    # The store is written before the start, so that all is in force from the first moment.
    with open_service(gateway.data_dir) as service:
        add_user(service, "dev", password=PASSWORD)
        add_keys(service, "dev", [ensure_user_key(key)])
        add_grant(service, "user:dev", "app01")
        token_file.touch(mode=0o600)
        token_file.write_text(create_token(service, "dev").text)
    try:
        gateway.start()
        address = f"127.0.0.1:{gateway.port()}"
        written = gateway.command(
            "ssh-config", "--gateway", address, "--directory", f"{folder}/ssh"
        )
        assert "wrote" in written.stdout
        base = folder / "base_config"
        base.write_text(
            (folder / "ssh" / "config").read_text()
            + f"Host *.ssh *-ssh\n  IdentityFile {key}\n  IdentitiesOnly yes\n  LogLevel ERROR\n  {KEX}\n"
        )
        tunnel = (*find_command(), "tunnel")
        login = DemoLogin("127.0.0.1", gateway.port(), "dev", PASSWORD, token_file, folder, tunnel)
        yield GatewayEntry(gateway, login, base)
    finally:
        gateway.stop()
        gateway.stop_shells()
