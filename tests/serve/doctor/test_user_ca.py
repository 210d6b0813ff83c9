"""A server that does not trust the user CA is found without a login, by OpenSSH's own sshd."""

import getpass
from collections.abc import Iterator
from pathlib import Path

import pytest

from stagedoor.admin import service as admin
from stagedoor.admin.certificates.authorities import ensure_cas, read_user_ca
from stagedoor.serve.doctor.gateway import list_checks
from stagedoor.settings.file import load_settings
from stagedoor.wire.check import run_checks
from stagedoor.wire.finding import Level
from tests.fixtures.laptop import new_key, public
from tests.ssh.test_direct_sshd import SSHD, Sshd

ACCOUNT = getpass.getuser()


@pytest.fixture
def sshd(tmp_path: Path) -> Iterator[Sshd]:
    if not Path(SSHD).exists():
        pytest.skip("sshd is missing; apt install openssh-server")
    one = Sshd(tmp_path / "sshd")
    yield one
    one.stop()


@pytest.mark.parametrize(
    ("is_ours", "principals", "level"),
    [(True, "dev\n", Level.OK), (True, "eve\n", Level.WARN), (False, "dev\n", Level.WARN)],
)
def test_a_server_without_the_user_ca_is_found(
    tmp_path: Path, sshd: Sshd, is_ours: bool, principals: str, level: Level
) -> None:
    file = tmp_path / "stagedoor.toml"
    file.write_text(
        f'data_dir = "{tmp_path}/data"\n[tunnel]\naddresses = ["127.0.0.1:0"]\n[[shells.static]]\n'
        f'app = "app01"\nhost = "127.0.0.1"\nport = {sshd.port}\nlogin_name = "{ACCOUNT}"\n'
        f'host_keys = ["{sshd.public}"]\n'
    )
    settings = load_settings(file)
    with admin.open_service(settings) as service:
        for name in ("dev", "stranger"):
            admin.add_user(service, name)
        admin.add_grant(service, "user:dev", "app01")
    ensure_cas(settings)
    other = public(new_key(tmp_path / "other"))
    sshd.start(read_user_ca(settings) if is_ours else other, principals=principals)
    findings = [
        entry for name, entry in run_checks(list_checks(settings, file)) if name == "shell app01"
    ]
    assert [entry.level for entry in findings] == [Level.OK, Level.OK, level]
    assert "user CA" in findings[2].what
    assert "Accepted publickey" not in sshd.log
