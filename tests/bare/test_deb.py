"""The Debian packages of `script/release`, on machines that have nothing: installed, used, upgraded, removed.

It takes two minutes, for packages are built and Debian's own are fetched, so it runs on request, as the
other tests here do.
"""

import base64
import contextlib
import os
import re
import shutil
import sqlite3
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.bare.machine import PROGRAMS, Machine, Site
from tests.docs import pages
from tests.waiting import wait_until

pytestmark = [
    pytest.mark.skipif(
        os.geteuid() != 0
        or any(shutil.which(one) is None for one in (*PROGRAMS, "dpkg-deb"))
        or not Path("/dev/fuse").exists(),
        reason="needs root, FUSE, dpkg-deb, " + ", ".join(PROGRAMS),
    ),
    pytest.mark.timeout(1200),
]
SUITES = {"bookworm": 12, "trixie": 13}
RELEASED = pages.ROOT / "tests/store/released"
DATA = "/var/lib/stagedoor"
INSTALL, UPGRADE = (pages.ROOT / f"docs/how-to/{name}.md" for name in ("install", "upgrade"))
LOG = "/var/log/stagedoor.log"
ENABLED = "/etc/systemd/system/multi-user.target.wants/stagedoor.service"
READY_S = 60.0
"""From `apt install` to a gateway that answers, Debian's Python fetched from its archive."""


@pytest.fixture(scope="module", params=SUITES)
def machine(
    request: pytest.FixtureRequest, packages: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Machine]:
    """A machine on which the package lies."""
    folder = tmp_path_factory.mktemp(request.param)
    with Site(request.param, {"gateway": ()}, folder, "") as site:
        gateway = site.machine("gateway")
        [package] = packages.glob(f"*+deb{SUITES[request.param]}_*.deb")
        put(gateway, package, "/root/stagedoor.deb")
        gateway.succeed("apt-get update -q", outside=True)
        yield gateway


def put(machine: Machine, file: Path, to: str) -> None:
    command = machine.site.command(
        machine.root, ["install", "-D", "-m", "644", "/dev/stdin", to], outside=False
    )
    with file.open("rb") as content:
        subprocess.run(command, stdin=content, check=True)


def commands(page: Path) -> list[list[str]]:
    """Return the lines of each block of shell."""
    return [list(pages.commands(one)) for one in pages.blocks("sh") if one.page == page]


def start(machine: Machine) -> None:
    """Start the unit as systemd does, but without its sandbox."""
    unit = machine.succeed("cat /usr/lib/systemd/system/stagedoor.service")
    values = dict(re.findall(r"^(\w+)=(.*)$", unit, re.MULTILINE))
    user = f"setpriv --reuid={values['User']} --regid={values['Group']} --init-groups"
    machine.start(f"{user} {values['ExecStart']} >>{LOG} 2>&1")
    wait_until(lambda: machine.answers_at("127.0.0.1", 8022), 60)


def stop(machine: Machine) -> None:
    found = "grep -lzx serve /proc/[0-9]*/cmdline | cut -d/ -f3 | sort -n | head -1"
    pid = machine.succeed(found).strip()
    machine.succeed(f"kill {pid}")
    wait_until(lambda: not machine.succeed(f"ls -d /proc/{pid} || true"), 60)


def test_one_command_leads_to_a_gateway(machine: Machine) -> None:
    install, *others = commands(INSTALL)[0]
    assert re.fullmatch(r"apt-get install \./stagedoor_\S+\.deb", install)
    assert others == ["systemctl status stagedoor", "stagedoor --version"]
    began = time.monotonic()
    said = machine.succeed("apt-get install -y -q /root/stagedoor.deb", outside=True)
    installed = time.monotonic()
    start(machine)
    ready = time.monotonic()
    print(f"installed in {installed - began:.1f} s, ready {ready - installed:.1f} s later")
    assert "stagedoor user add alice" in said
    assert "/etc/stagedoor/stagedoor.toml" in said
    # Beside other work it takes as many times longer.
    busy = max(1.0, os.getloadavg()[0] / (os.cpu_count() or 1))
    assert ready - began < READY_S * busy


def test_the_settings_the_keys_and_the_store_are_made(machine: Machine) -> None:
    listed = machine.succeed(f"stat -c '%U %a %n' {DATA} {DATA}/stagedoor.db {DATA}/keys/host_ca")
    assert listed.splitlines() == [
        f"stagedoor 700 {DATA}",
        f"stagedoor 600 {DATA}/stagedoor.db",
        f"stagedoor 600 {DATA}/keys/host_ca",
    ]
    assert (
        machine.succeed("stat -c '%U:%G %a' /etc/stagedoor/stagedoor.toml")
        == "root:stagedoor 640\n"
    )


def test_a_developer_is_let_in_by_two_commands(machine: Machine) -> None:
    reload, add, grant = commands(INSTALL)[1]
    assert reload.startswith("systemctl ")
    machine.succeed(f"echo correct horse battery staple | {add} --password-stdin")
    machine.succeed(grant)
    asked = "printf 'CONNECT app01.ssh:22 HTTP/1.1\\r\\nHost: app01.ssh:22\\r\\n"
    asked += "Proxy-Authorization: Basic %s\\r\\n\\r\\n' "
    asked += "$(printf 'alice:correct horse battery staple' | base64)"
    answer = machine.succeed(f"exec 3<>/dev/tcp/127.0.0.1/8022; {asked} >&3; timeout 10 cat <&3")
    assert answer.startswith("HTTP/1.1 404"), "let in; no such app is in the settings yet"


def test_what_comes_with_it_is_where_debian_looks(machine: Machine) -> None:
    assert "(commit " in machine.succeed("stagedoor --version")
    for path in (
        "/usr/share/bash-completion/completions/stagedoor",
        "/usr/share/zsh/vendor-completions/_stagedoor",
        "/usr/share/fish/vendor_completions.d/stagedoor.fish",
        "/usr/lib/systemd/system/stagedoor.service",
        "/usr/lib/systemd/system/stagedoor-resume.service",
    ):
        machine.succeed(f"test -s {path}")
    machine.succeed(f"test -L {ENABLED}")
    completed = machine.succeed(
        "COMP_WORDS='stagedoor gra' COMP_CWORD=1 _STAGEDOOR_COMPLETE=bash_complete stagedoor"
    )
    assert completed == "plain,grant\n"
    assert not machine.succeed("dpkg --verify stagedoor"), "nothing differs from the package"


def test_every_module_and_its_libraries_load(machine: Machine) -> None:
    code = (
        "import importlib, pkgutil, stagedoor, psycopg, yaml, pyrage;"
        "print(len([importlib.import_module(m.name) for m in "
        "pkgutil.walk_packages(stagedoor.__path__, 'stagedoor.') if not m.name.endswith('__main__')"
        " and '.holder' not in m.name]))"
    )
    assert int(machine.succeed(f'/opt/stagedoor/bin/python3 -c "{code}"')) > 200


SESSIONS = 30
CLIENT = """
import os, socket
lines, out = os.fdopen(os.open("/tmp/in", os.O_RDWR)), open("/tmp/out", "w", 1)
head = b"CONNECT app01.ssh:22 HTTP/1.1\\r\\nHost: app01.ssh:22\\r\\n"
head += b"Proxy-Authorization: Basic SECRET\\r\\n\\r\\n"
socks = [socket.create_connection(("127.0.0.1", 8022)) for _ in range(COUNT)]
for sock in socks:
    sock.sendall(head)
    out.write(sock.recv(4096).decode())
for line in lines:
    for sock in socks:
        sock.sendall(line.encode())
        out.write(sock.recv(4096).decode())
"""
ECHO = """
import socketserver
class Echo(socketserver.StreamRequestHandler):
    def handle(self):
        for line in self.rfile:
            self.wfile.write(line)
socketserver.ThreadingTCPServer(("127.0.0.1", 2222), Echo).serve_forever()
"""


@pytest.mark.continuity(4)
def test_apt_hands_the_gateway_over_and_no_session_ends(machine: Machine) -> None:
    """A newer package differs in nothing that apt or postinst looks at."""
    secret = base64.b64encode(b"alice:correct horse battery staple").decode()
    machine.write("/tmp/echo.py", ECHO)
    machine.write(
        "/tmp/client.py", CLIENT.replace("SECRET", secret).replace("COUNT", f"{SESSIONS}")
    )
    machine.start("python3 /tmp/echo.py")
    shell = 'app = "app01"\nhost = "127.0.0.1"\nport = 2222\nnetworks = ["127.0.0.0/8"]\n'
    machine.succeed(f"printf '[[shells.static]]\\n%b' '{shell}' >>/etc/stagedoor/stagedoor.toml")
    stop(machine)
    start(machine)
    machine.succeed("mkfifo /tmp/in")
    machine.start("python3 /tmp/client.py")
    wait_until(lambda: _said(machine).count("HTTP/1.1 200") == SESSIONS, 60)
    before = gateways(machine)
    again = "apt-get install -y -q --reinstall /root/stagedoor.deb"
    said = machine.succeed(again, outside=True)
    assert "Upgraded to" in said, said
    assert f"{SESSIONS} sessions in older programs" in said
    machine.succeed("echo still here >/tmp/in")
    wait_until(lambda: _said(machine).count("still here") == SESSIONS, 60)
    assert set(gateways(machine)) & set(before), "the old program is there for its sessions"


def _said(machine: Machine) -> str:
    return machine.succeed("cat /tmp/out || true")


def gateways(machine: Machine) -> list[str]:
    """The process ids of the supervisors."""
    return machine.succeed("grep -lzx serve /proc/[0-9]*/cmdline | cut -d/ -f3").split()


SERVER = """
adduser --quiet --system --shell /bin/sh --home /home/app01 app01
mkdir -p /run/sshd /home/app01/.ssh /etc/ssh/principals
ssh-keygen -q -N '' -f /root/.ssh/id_ed25519
cp /root/.ssh/id_ed25519.pub /home/app01/.ssh/authorized_keys
cp /var/lib/stagedoor/keys/user_ca.pub /etc/ssh/user_ca.pub
echo alice >/etc/ssh/principals/app01
printf '%s\\n' 'TrustedUserCAKeys /etc/ssh/user_ca.pub' 'AuthorizedPrincipalsFile /etc/ssh/principals/%u' \
  >/etc/ssh/sshd_config.d/stagedoor.conf
/usr/sbin/sshd
"""
ENTRY = """
[[shells.static]]
app = "server"
host = "127.0.0.1"
networks = ["127.0.0.0/8"]
login_name = "app01"
host_keys = ["KEY"]
resume_port = 2223
"""
LINES = "while read -r line; do echo $$-$line; done"


@pytest.mark.continuity(6)
def test_a_server_with_the_other_package_keeps_tunnels_whose_gateway_dies(
    machine: Machine, packages: Path
) -> None:
    """Server and gateway are one machine here; all processes of the gateway's account are killed."""
    [package] = packages.glob("stagedoor-shell_*.deb")
    put(machine, package, "/root/stagedoor-shell.deb")
    install = (
        "apt-get install -y -q --no-install-recommends openssh-server /root/stagedoor-shell.deb"
    )
    machine.succeed(install, outside=True)
    machine.write("/root/server.sh", SERVER)
    machine.succeed("mkdir -p -m 700 /root/.ssh && sh -e /root/server.sh")
    key = " ".join(machine.succeed("cat /etc/ssh/ssh_host_ed25519_key.pub").split()[:2])
    settings = machine.succeed("cat /etc/stagedoor/stagedoor.toml") + ENTRY.replace("KEY", key)
    machine.write("/etc/stagedoor/stagedoor.toml", settings)
    unit = machine.succeed("cat '/usr/lib/systemd/system/stagedoor-tunnels@.service'")
    [command] = re.findall(r"^ExecStart=(.*)$", unit, re.MULTILINE)
    machine.succeed("install -d -o app01 -m 700 /run/stagedoor/tunnels")
    machine.start(f"setpriv --reuid=app01 --regid=nogroup --clear-groups {command}")
    machine.succeed("stagedoor grant add user:alice server")
    machine.write("/root/secret", "correct horse battery staple")
    restart(machine)
    way = "stagedoor tunnel --gateway http://127.0.0.1:8022 --user alice --token-file /root/secret %h %p"
    options = f"-o 'ProxyCommand {way}' -o StrictHostKeyChecking=no app01@server.ssh"
    machine.succeed("chmod 600 /root/secret && mkfifo /tmp/typed")
    machine.start(f"ssh -T {options} '{LINES}' <>/tmp/typed >/tmp/shown 2>/tmp/said")
    machine.succeed("echo before >/tmp/typed")
    wait_until(lambda: "-before" in machine.succeed("cat /tmp/shown /tmp/said"), 60)
    restart(machine)
    machine.succeed("echo after >/tmp/typed")
    wait_until(lambda: "-after" in machine.succeed("cat /tmp/shown /tmp/said"), 60)
    shells = {line.partition("-")[0] for line in machine.succeed("cat /tmp/shown").split()}
    assert len(shells) == 1, "the same shell"


def restart(machine: Machine) -> None:
    """Kill all that runs as the gateway's account, and start the gateway again."""
    owned = "for p in /proc/[0-9]*; do [ $(stat -c %U $p) != stagedoor ] || echo ${p#/proc/}; done"
    machine.succeed(f"kill -9 $({owned}) || true")
    start(machine)


def test_a_store_of_the_first_version_is_taken_over_and_the_way_back_works(
    machine: Machine, tmp_path: Path
) -> None:
    """docs/how-to/upgrade.md, with the store that version 0.1.0 left."""
    stop(machine)
    old = store(tmp_path / "old.db", (RELEASED / "0001.sqlite.sql").read_text())
    put(machine, old, "/var/backups/stagedoor.db")
    machine.succeed(f"rm {DATA}/stagedoor.db*")
    owned = "install -o stagedoor -g stagedoor -m 0600"
    machine.succeed(f"{owned} /var/backups/stagedoor.db {DATA}/stagedoor.db")
    again = "apt-get install -y -q --reinstall /root/stagedoor.deb"
    said = machine.succeed(again, outside=True)
    assert "stagedoor user add alice" not in said, "an upgrade has nobody to introduce"
    start(machine)
    assert {"alice", "bob"} <= set(machine.succeed("stagedoor user list").split())
    stop(machine)

    # To this program, one that is older than the store.
    mark = "UPDATE meta SET value = 9999 WHERE name IN ('schema_version', 'compatible_version');"
    put(machine, store(old, mark), f"{DATA}/stagedoor.db")
    machine.succeed(f"chown stagedoor: {DATA}/stagedoor.db")
    refused = machine.run("stagedoor user list")
    assert refused.status != 0
    assert "it was written by a newer Stagedoor" in refused.text
    [back] = [block for block in commands(UPGRADE) if "stagedoor-newer.db" in " ".join(block)]
    for line in back:
        if not line.startswith("systemctl "):
            machine.succeed(line)
    start(machine)
    assert {"alice", "bob"} <= set(machine.succeed("stagedoor user list").split())


def store(file: Path, statements: str) -> Path:
    """A SQLite file to which these statements were made."""
    with contextlib.closing(sqlite3.connect(file)) as connection:
        connection.executescript(statements)
    return file


def test_removed_it_leaves_settings_and_data_and_purged_the_data(machine: Machine) -> None:
    stop(machine)
    machine.succeed("apt-get remove -y -q stagedoor")
    machine.succeed("test ! -e /opt/stagedoor && test ! -e /usr/bin/stagedoor")
    machine.succeed(f"test -e /etc/stagedoor/stagedoor.toml && test -e {DATA}/keys/host_ca")
    machine.succeed("apt-get install -y -q /root/stagedoor.deb", outside=True)
    assert "alice" in machine.succeed("stagedoor user list")
    said = machine.succeed("apt-get purge -y -q stagedoor 2>&1")
    assert f"rm -r {DATA}" in said
    machine.succeed(f"test ! -e /etc/stagedoor && test -e {DATA}/stagedoor.db")
    assert not machine.succeed("find /etc/systemd/system -name 'stagedoor*'")


def test_an_installation_by_pip_is_not_written_over_and_its_settings_are_taken(
    machine: Machine,
) -> None:
    machine.succeed("mkdir -p /opt/stagedoor/bin && touch /opt/stagedoor/bin/pip")
    ended = machine.run("apt-get install -y -q /root/stagedoor.deb", outside=True)
    assert ended.status != 0
    assert "rm -r /opt/stagedoor" in ended.text
    machine.succeed("test ! -e /opt/stagedoor/pyvenv.cfg && rm -r /opt/stagedoor")
    settings = f'data_dir = "{DATA}"\n'
    machine.write("/etc/stagedoor/stagedoor.toml", settings)
    said = machine.succeed("apt-get install -y -q /root/stagedoor.deb", outside=True)
    assert "stagedoor user add alice" not in said, "its users are there already"
    assert machine.succeed("cat /etc/stagedoor/stagedoor.toml") == settings
    assert "alice" in machine.succeed("stagedoor user list")
