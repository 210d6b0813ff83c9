"""Known failure 2: a person who is admitted gets in, as whatever uid the pod runs; no other person does."""

import subprocess

import pytest

from stagedoor.wire.ssh.krl import encode_revoked_serials
from tests.fixtures.laptop import new_key
from tests.kit.conftest import Make
from tests.kit.container import ROOT_CAPABILITIES
from tests.kit.people import SERIAL, People
from tests.waiting import wait_until

pytestmark = pytest.mark.timeout(600)  # the first makes the images, and others wait for them

IMAGES = ("busybox", "debian-12", "debian-13", "musl", "distroless", "entrypoint", "nothing")


@pytest.mark.parametrize("image", IMAGES)
def test_restricted_in_every_image(make: Make, image: str) -> None:
    container = make(image).start()
    done = container.ssh("id -u; id -g; echo hello")
    assert (done.stdout, done.stderr) == (b"12345\n0\nhello\n", b"")


@pytest.mark.parametrize(
    "who",
    [
        {"uid": 1, "gid": 1},
        {"uid": 1_000_660_000, "gid": 0},
        {"uid": 65534, "gid": 65534},
        {"uid": 0, "gid": 0},
        {"uid": 0, "gid": 0, "capabilities": ROOT_CAPABILITIES, "read_only": False},
    ],
    ids=lambda who: f"uid-{who['uid']}" + ("-with-capabilities" * ("capabilities" in who)),
)
@pytest.mark.parametrize("image", ["busybox", "debian-12"])
def test_any_uid(make: Make, image: str, who: dict[str, object]) -> None:
    container = make(image, **who).start()
    assert container.ssh("id", "-u").stdout == f"{who['uid']}\n".encode()
    terminal = container.ssh("-tt", "tty && stat -c %u $(tty)").stdout.split()
    assert terminal[1] == str(who["uid"]).encode()


@pytest.mark.parametrize("name", ["dev", "root", "alice@example.com", "nobody", "ÄÖ", "a b"])
def test_any_login_name_is_the_same_account(make: Make, name: str) -> None:
    container = make().start()
    done = container.ssh("id", "-u", login_name=name)
    assert (done.stdout, done.stderr) == (b"12345\n", b"")


def test_a_registered_key_gets_in(make: Make) -> None:
    assert make().start().ssh("id", "-u", person="bob").stdout == b"12345\n"


@pytest.mark.parametrize("person", ["carol", "mallory"])
def test_others_do_not(make: Make, person: str) -> None:
    container = make().start()
    done = container.ssh("id", person=person)
    assert done.returncode == 255
    assert b"Permission denied (publickey)" in done.stderr
    assert container.ssh("id", "-u").stdout == b"12345\n"


def test_a_person_admitted_while_it_runs_gets_in_at_once(make: Make, people: People) -> None:
    container = make().start()
    assert container.ssh("true", person="carol").returncode == 255
    container.file("/etc/stagedoor/shell/authorized_principals").write_text("bob\ncarol\n")
    assert container.ssh("true", person="carol").returncode == 0
    assert container.ssh("true", person="alice").returncode == 255
    container.file("/etc/stagedoor/shell/authorized_keys").write_text(people.public("mallory"))
    assert container.ssh("true", person="mallory").returncode == 0
    assert container.ssh("true", person="bob").returncode == 255


@pytest.mark.identity(23)
def test_a_certificate_that_is_revoked_while_it_runs_is_refused_at_once(make: Make) -> None:
    container = make().start()
    assert container.ssh("true").returncode == 0
    revoked = container.file("/etc/stagedoor/shell/revoked_keys")
    none = revoked.read_bytes()
    revoked.write_bytes(encode_revoked_serials(b"", [1, SERIAL], 0))
    assert container.ssh("true").returncode == 255
    assert container.ssh("true", person="bob").returncode == 0
    revoked.write_bytes(none)
    assert container.ssh("true").returncode == 0


def test_there_is_no_password(make: Make, people: People) -> None:
    container = make().start()
    done = subprocess.run(
        ["ssh", *container.ssh_options(), "-v", "-o", "PubkeyAuthentication=no", "app01.ssh"],
        capture_output=True,
        text=True,
    )
    assert "Authentications that can continue: publickey\n" in done.stderr.replace("\r", "")
    assert done.returncode == 255


def test_the_log_names_the_identity(make: Make) -> None:
    container = make().start()
    container.ssh("true")
    assert "Accepted publickey for dev" in container.log
    assert "ID alice" in container.log


def test_a_new_host_key_is_taken_without_a_new_start(make: Make, people: People) -> None:
    container = make().start()
    assert container.ssh("true").returncode == 0
    folder = container.file("/etc/stagedoor/host")
    key = folder / "fresh"
    new_key(key)
    authority = people.key("host_ca")
    command = ["ssh-keygen", "-q", "-s", authority, "-h", "-I", "app01.ssh", "-n", "app01.ssh"]
    subprocess.run([*command, key.with_suffix(".pub")], check=True)
    (folder / "fresh-cert.pub").rename(folder / "ssh_host_ed25519_key-cert.pub")
    key.chmod(0o444)
    key.rename(folder / "ssh_host_ed25519_key")
    expected = (folder / "fresh.pub").read_text().split()[1]

    def scanned() -> str:
        # Knocking wakes the first process, which then looks at the Secret.
        inside = ["nsenter", f"--net=/proc/{container.pid}/ns/net"]
        scan = [*inside, "ssh-keyscan", "-t", "ed25519", "-p", "2222", "127.0.0.1"]
        return subprocess.run(scan, capture_output=True, text=True).stdout

    wait_until(lambda: expected in scanned(), what="sshd shows the new key", costly=True)
    assert container.ssh("true").returncode == 0


def test_without_a_host_certificate_it_says_so(make: Make) -> None:
    container = make()
    container.launch_with(
        lambda: container.file("/etc/stagedoor/host/ssh_host_ed25519_key-cert.pub").unlink()
    )
    wait_until(lambda: container.states)
    assert "clients will be asked whether they trust this host key" in container.log


@pytest.mark.parametrize(
    ("gone", "said"),
    [
        ("/etc/stagedoor/host/ssh_host_ed25519_key", "needs the shell's Secret mounted"),
        ("/etc/stagedoor/shell/settings", "needs the shell's ConfigMap mounted"),
    ],
)
def test_what_is_missing_is_named(make: Make, gone: str, said: str) -> None:
    container = make()
    container.launch_with(lambda: container.file(gone).unlink())
    assert container.wait() == 1
    assert said in container.log


@pytest.mark.parametrize(
    "wrong",
    [
        {"STAGEDOOR_GRACE_S": "soon"},
        {"STAGEDOOR_LOGIN_NAME": "a:b"},
        {"STAGEDOOR_PERMIT_LISTEN": "8080\rPermitRootLogin"},
    ],
    ids=lambda wrong: next(iter(wrong)),
)
def test_a_wrong_setting_is_named(make: Make, wrong: dict[str, str]) -> None:
    container = make(settings=wrong)
    container.launch()
    assert container.wait() == 1
    assert next(iter(wrong)) in container.log


def test_failed_logins_lock_no_person_out(make: Make) -> None:
    """All logins come from the gateway's address, which sshd would penalise by default."""
    container = make().start()
    for _ in range(8):
        assert container.ssh("true", person="mallory").returncode == 255
    assert container.ssh("true").returncode == 0
