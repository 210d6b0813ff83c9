"""The authorized_principals file: what it admits, by the word of OpenSSH's own sshd."""

import getpass
import os
import shutil
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stagedoor.model.grant import Admission
from stagedoor.shells.authorized import render_authorized_principals
from tests.fixtures.laptop import new_key
from tests.shells.test_authorized import UNTIL

SSHD = shutil.which("sshd") or "/usr/sbin/sshd"

Login = Callable[[str, list[Admission]], int]


def lines(*admissions: Admission) -> list[str]:
    text = render_authorized_principals(admissions)
    return [line for line in text.splitlines() if not line.startswith("#")]


def test_a_line_for_each_who_may_enter() -> None:
    assert lines(Admission("dev", ("key",)), Admission("ops", (), UNTIL)) == [
        "dev",
        'expiry-time="20270115080000Z" ops',
    ]
    assert lines() == []


@given(st.text(), st.none() | st.floats(allow_nan=False))
def test_whatever_the_name_is_a_line_admits_it_alone(name: str, until: float | None) -> None:
    for line in lines(Admission(name, (), until)):
        assert line.split(" ")[-1] == name
        assert line.removesuffix(name).startswith("expiry-time=") or line == name


@pytest.fixture
def login(tmp_path: Path) -> Login:
    """Log in with a certificate of one principal to an sshd that has the file; ssh's exit status."""
    if os.geteuid() == 0:
        Path("/run/sshd").mkdir(exist_ok=True)  # sshd started by root insists on it
    for name in ("host", "ca", "user"):
        new_key(tmp_path / name)
    (tmp_path / "sshd_config").write_text(
        f"HostKey {tmp_path}/host\n"
        f"TrustedUserCAKeys {tmp_path}/ca.pub\n"
        f"AuthorizedPrincipalsFile {tmp_path}/principals\n"
        "AuthorizedKeysFile none\nStrictModes no\nUsePAM no\nPasswordAuthentication no\n"
        f"KbdInteractiveAuthentication no\nPermitRootLogin yes\nSetEnv HOME={tmp_path}\n"
    )

    def attempt(principal: str, admissions: list[Admission]) -> int:
        (tmp_path / "principals").write_text(render_authorized_principals(admissions))
        sign = ["ssh-keygen", "-q", "-s", tmp_path / "ca", "-I", "x", "-n", principal]
        subprocess.run([*sign, "-V", "-1m:+5m", tmp_path / "user.pub"], check=True)
        ssh = [
            *("ssh", "-F", "none", "-i", str(tmp_path / "user")),
            *("-o", f"ProxyCommand={SSHD} -i -f {tmp_path}/sshd_config"),
            *("-o", "BatchMode=yes", "-o", "IdentitiesOnly=yes", "-o", "IdentityAgent=none"),
            *("-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null"),
        ]
        done = subprocess.run(
            [*ssh, f"{getpass.getuser()}@shell", "exit 7"],
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )
        assert done.returncode in (7, 255), done.stderr
        assert done.returncode == 7 or "Permission denied (publickey)" in done.stderr
        return done.returncode

    return attempt


def test_sshd_lets_in_whom_a_line_names_until_its_time(login: Login) -> None:
    now = time.time()
    assert login("dev", [Admission("ops"), Admission("dev")]) == 7
    assert login("dev", [Admission("dev", (), now + 3600)]) == 7
    assert login("_ci+bot@x.", [Admission("_ci+bot@x.")]) == 7
    assert login("dev", [Admission("dev", (), now - 3600)]) == 255
    assert login("dev", [Admission("ops"), Admission("developer")]) == 255
    assert login("dev", []) == 255
    assert login("sd:dev", [Admission("dev", prefix="sd:")]) == 7
    assert login("sd:dev", [Admission("dev", (), now + 3600, prefix="sd:")]) == 7
    assert login("dev", [Admission("dev", prefix="sd:")]) == 255
    assert login("sd:dev", [Admission("dev")]) == 255
