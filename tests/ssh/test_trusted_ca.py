"""Sign-ins' certificates at OpenSSH's own sshd that trusts the user CA: whose account it lets them in to."""

import getpass
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from stagedoor.admin import service as admin
from stagedoor.model.permission import DEFAULT, Permission
from tests.fixtures.gateway import SSH_TABLE, local, static
from tests.fixtures.laptop import Laptop, new_key
from tests.fixtures.people import log_in_at
from tests.ssh.test_direct_sshd import Sshd

both_clients = pytest.mark.usefixtures("openssh")
"""Marks a test of what depends on the client."""
ACCOUNT = getpass.getuser()
"""A person at the identity provider may have this name: in CI it is `root`."""
PREFIX = '[keys]\nprincipal_prefix = "sd:"\n'


@contextmanager
def opened(folder: Path, settings: str) -> Iterator[Laptop]:
    """A gateway with a static app02, the users `alice` and ACCOUNT, who may enter it, and `mallory`."""
    folder.mkdir()
    sshd = Sshd(folder / "sshd")
    app02 = (
        static("app02", sshd.port) + f'login_name = "{ACCOUNT}"\nhost_keys = ["{sshd.public}"]\n'
    )
    settings = SSH_TABLE + local("app01") + app02 + settings
    laptop = Laptop(folder / "gateway", settings, ("app01", "app02"))
    try:
        laptop.gateway.start()
        sshd.start(user_ca(laptop), principals=f"sd:alice\nsd:dev\nsd:{ACCOUNT}\n")
        with laptop.gateway.changed() as service:
            for name in ("alice", ACCOUNT):
                admin.add_user(service, name)
                admin.add_grant(service, f"user:{name}", "app02")
            admin.add_user(service, "mallory")
        yield laptop
    finally:
        sshd.stop()
        laptop.gateway.stop()
        laptop.gateway.stop_shells()


def user_ca(laptop: Laptop) -> str:
    return (laptop.gateway.data_dir / "keys" / "user_ca.pub").read_text()


@pytest.fixture(scope="module")
def laptop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Laptop]:
    with opened(tmp_path_factory.mktemp("prefixed") / "one", PREFIX) as one:
        yield one


@pytest.fixture(scope="module")
def bare(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Laptop]:
    with opened(tmp_path_factory.mktemp("bare") / "one", "") as one:
        yield one


def certified(laptop: Laptop, user: str, folder: Path) -> Path:
    """Return a key of a sign-in of `user`, with the certificate of it that `ssh gw cert` gives."""
    folder.mkdir(exist_ok=True)
    key = new_key(folder / "key")
    log_in_at(laptop.gateway, user, key)
    again(laptop, user, key)
    return key


def again(laptop: Laptop, user: str, key: Path) -> None:
    done = laptop.ssh("gw", "cert", config=laptop.config(key=key, user=user), check=True)
    key.with_name("key-cert.pub").write_bytes(done.stdout)


def by_certificate(laptop: Laptop, key: Path, user: str) -> Path:
    """Return a configuration that shows the certificate alone, to the gateway and to servers."""
    return laptop.config(
        "PubkeyAcceptedAlgorithms ssh-ed25519-cert-v01@openssh.com",
        "StrictHostKeyChecking no",
        key=key,
        user=user,
    )


def enters(sshd: Sshd, key: Path) -> bool:
    """Return whether the server lets the certificate in as ACCOUNT."""
    options = ("-o", "BatchMode=yes", "-o", "IdentitiesOnly=yes", "-o", "IdentityAgent=none")
    known = ("-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null")
    done = subprocess.run(
        ["ssh", "-F", "none", "-i", key, *options, *known, "-p", str(sshd.port),
         f"{ACCOUNT}@127.0.0.1", "echo in"],
        capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    assert (done.returncode, done.stdout) == (0, "in\n") or "Permission denied" in done.stderr
    return done.returncode == 0


COMMAND = (
    "AuthorizedPrincipalsCommand /usr/bin/echo sd:%u",
    f"AuthorizedPrincipalsCommandUser {ACCOUNT}",
)


@pytest.mark.parametrize(
    ("principals", "settings", "lets_in"),
    [
        (None, (), False),
        (f"{ACCOUNT}\n", (), False),
        (f"sd:{ACCOUNT}x\nsd:\n", (), False),
        (f"sd:{ACCOUNT}\n", (), True),
        (None, COMMAND, True),
    ],
)
def test_behind_a_prefix_a_name_is_an_account_only_where_the_server_lists_it(
    laptop: Laptop, tmp_path: Path, principals: str | None, settings: tuple[str, ...], lets_in: bool
) -> None:
    key = certified(laptop, ACCOUNT, tmp_path / "laptop")
    sshd = Sshd(tmp_path / "sshd")
    try:
        sshd.start(user_ca(laptop), *settings, principals=principals)
        assert enters(sshd, key) is lets_in
    finally:
        sshd.stop()


def test_without_a_prefix_trusting_the_ca_makes_names_accounts(
    bare: Laptop, tmp_path: Path
) -> None:
    """As security.md says of it."""
    key = certified(bare, ACCOUNT, tmp_path / "laptop")
    sshd = Sshd(tmp_path / "sshd")
    try:
        sshd.start(user_ca(bare), principals=None)
        assert enters(sshd, key)
    finally:
        sshd.stop()


@both_clients
def test_direct_login_and_the_jump_work_with_the_prefix(laptop: Laptop, tmp_path: Path) -> None:
    for app in ("app01", "app02"):
        done = laptop.ssh(f"{app}@gw", "echo in")
        assert (done.returncode, done.stdout) == (0, b"in\n"), done.stderr
    key = certified(laptop, "alice", tmp_path)
    done = laptop.ssh("app02.ssh", "echo in", config=by_certificate(laptop, key, "alice"))
    assert (done.returncode, done.stdout) == (0, b"in\n"), done.stderr


@both_clients
def test_a_server_forwards_for_a_certificate_only_with_a_grant_that_says_so(
    laptop: Laptop, tmp_path: Path
) -> None:
    key = certified(laptop, "alice", tmp_path)
    port = laptop.port

    def forwarded() -> bool:
        config = by_certificate(laptop, key, "alice")
        done = laptop.ssh("-W", f"127.0.0.1:{port}", "app02.ssh", config=config)
        assert done.stdout.startswith(b"SSH-2.0-") or b"prohibited" in done.stderr, done.stderr
        return done.stdout.startswith(b"SSH-2.0-")

    assert not forwarded()
    with laptop.gateway.changed() as service:
        grant = admin.add_grant(
            service, "user:alice", "app01", permissions=DEFAULT | {Permission.FORWARD}
        )
    again(laptop, "alice", key)
    assert forwarded()
    with laptop.gateway.changed() as service:
        admin.remove_grant(service, grant.id)
    again(laptop, "alice", key)
    assert not forwarded()


@both_clients
def test_a_user_without_a_grant_gets_no_certificate_until_there_is_one(
    laptop: Laptop, tmp_path: Path
) -> None:
    key = new_key(tmp_path / "key")
    log_in_at(laptop.gateway, "mallory", key)
    config = laptop.config(key=key, user="mallory")

    def refused() -> None:
        done = laptop.ssh("gw", "cert", config=config)
        assert (done.returncode, done.stdout) == (1, b"")
        assert b"no certificate: you may not enter any app" in done.stderr
        assert b"ask your administrator for a grant" in done.stderr

    refused()
    with laptop.gateway.changed() as service:
        grant = admin.add_grant(service, "user:mallory", "app02")
    again(laptop, "mallory", key)
    with laptop.gateway.changed() as service:
        admin.remove_grant(service, grant.id)
    refused()
