"""The pages for a bare Debian, by the letter: each line of shell in its order, on machines that have nothing.

A gateway's machine, a server of an app that also has the database, and a developer's laptop; each a minimal
root of its own. It takes minutes, for packages and the WebShell's page are fetched and built as an
administrator would, so it runs if what it depends on has changed (`tests/plan.py`).
"""

import os
import re
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.bare.machine import PROGRAMS, Machine, Site
from tests.docs import pages
from tests.package.test_distributions import tracked
from tests.waiting import wait_until

pytestmark = [
    pytest.mark.skipif(
        os.geteuid() != 0
        or any(shutil.which(one) is None for one in PROGRAMS)
        or not Path("/dev/fuse").exists(),
        reason="needs root, FUSE, " + ", ".join(PROGRAMS),
    ),
    pytest.mark.timeout(1200),
]
ADMINISTRATOR = pages.ADMINISTRATION[0]
DEVELOPER, POSTGRESQL, OPERATE_POSTGRESQL, UPGRADE, BACKUP = (
    pages.ROOT / f"docs/how-to/{name}.md"
    for name in ("developer", "postgresql", "operate-postgresql", "upgrade", "backup")
)
HOSTS = """\
10.1.2.3 gw.example
10.1.4.8 app01-shell.internal
10.1.4.9 db.example.com db.internal
"""
MACHINES = {"gateway": ("10.1.2.3",), "server": ("10.1.4.8", "10.1.4.9"), "laptop": ()}
PASSWORD = "correct horse battery staple"
ANSWERS = {
    r"\[Y/n\] $": "y\n",
    r"\[y/N\]: $": "y\n",
    r"\(yes/no/\[fingerprint\]\)\? $": "yes\n",
    r"(?i)(password[^\n]*|enter it again|repeat for confirmation): $": f"{PASSWORD}\n",
    r"sftp> $": "bye\n",
    r"alice@app01:[^\n]*\$ ": "exit\n",
}
INSTALLS = re.compile(r"apt-get |\S*/pip install ")

WITHOUT_SYSTEMD = {
    "systemctl daemon-reload": "",
    "systemctl enable --now stagedoor": "start",
    "systemctl status stagedoor": "",
    "systemctl reload stagedoor": "reload",
    "systemctl stop stagedoor": "stop",
    "systemctl start stagedoor": "start",
    "systemctl restart stagedoor": "restart",
    "journalctl -u stagedoor -o cat -f": "",
}
"""Lines that cannot run, since there is no systemd; and what is done to the unit's command in their place."""
NOT_HERE = {
    "ssh -o 'ProxyCommand=stagedoor tunnel --via http://proxy.corp.example:3128"
    " --gateway https://gw.example %h %p' app01.ssh": "a corporate proxy",
}
"""Lines that are about something else than these machines, and what."""


class Unit:
    """What systemd would do with the unit that the page copies, but for its sandbox."""

    def __init__(self, machine: Machine) -> None:
        self._machine = machine

    def do(self, what: str) -> None:
        for step in {"restart": ("stop", "start")}.get(what, (what,)):
            if step:
                getattr(self, step)()

    def start(self) -> None:
        unit = self._machine.succeed("cat /etc/systemd/system/stagedoor.service")
        values = dict(re.findall(r"^(\w+)=(.*)$", unit, re.MULTILINE))
        user = f"setpriv --reuid={values['User']} --regid={values['Group']} --init-groups"
        log = "/var/log/stagedoor.log"
        self._machine.start(f"{user} {values['ExecStart']} >>{log} 2>&1")
        wait_until(lambda: self._machine.answers_at("10.1.2.3", 8022), 60)

    def reload(self) -> None:
        self._machine.succeed(f"kill -HUP {self._pid()}")

    def stop(self) -> None:
        pid = self._pid()
        self._machine.succeed(f"kill {pid}")
        wait_until(lambda: not self._machine.succeed(f"ls -d /proc/{pid} || true"), 60)

    def _pid(self) -> str:
        """Return the process id of the supervisor, the oldest process."""
        found = "grep -lzx serve /proc/[0-9]*/cmdline | cut -d/ -f3 | sort -n | head -1"
        return self._machine.succeed(found).strip()


class Reader:
    """A reader who types what a page says."""

    def __init__(self, site: Site) -> None:
        self.gateway, self.server, self.laptop = (site.machine(name) for name in MACHINES)
        self.unit = Unit(self.gateway)
        self.passed_over: set[str] = set()
        self.folder = "~"

    def read(self, block: pages.Block, machine: Machine, user: str = "root") -> None:
        self.folder = "~"
        for line in pages.commands(block):
            print(f"$ {line}", flush=True)
            if line in WITHOUT_SYSTEMD:
                self.unit.do(WITHOUT_SYSTEMD[line])
                self.passed_over.add(line)
            elif line in NOT_HERE:
                self.passed_over.add(line)
            elif line.startswith("cd "):
                self.folder = line.removeprefix("cd ")
            else:
                if line.startswith("stagedoor store restore "):
                    self.lose_all()
                self._type(line, machine, user)

    def _type(self, line: str, machine: Machine, user: str) -> None:
        ended = machine.run(
            self._as_here(line),
            user=user,
            folder=self.folder,
            typed=self._pasted(line),
            answers=ANSWERS,
            outside=INSTALLS.match(line) is not None,
            until=self._begun(line),
        )
        endless = self._begun(line) is not None
        assert endless or ended.status == 0, f"{line}\n{ended.status}: {ended.text[-3000:]}"

    def _as_here(self, line: str) -> str:
        """With this installation's ids in the examples' place."""
        for example, listed in {
            r"(?<=token revoke )\S+": "token list",
            r"(?<=key remove )\S+": "key list alice",
            r"(?<=session close )(?!--)\S+": "session list",
        }.items():
            if re.search(example, line):
                row = self.gateway.succeed(f"stagedoor {listed}").splitlines()[1]
                found = re.search(r"SHA256:\S+", row) or re.search(r"\S+", row)
                assert found is not None
                line = re.sub(example, found[0], line)
        if line.startswith("stagedoor store restore "):
            [file] = self.gateway.succeed("ls /var/backups/stagedoor-*.tar.gz").split()
            line = f"stagedoor store restore {file}"
        return line

    def lose_all(self) -> None:
        """Replace the disk by an empty one, as before a restore."""
        folder = "/var/lib/stagedoor"
        self.gateway.succeed(f"rm -r {folder} && install -d -m 0700 -o stagedoor {folder}")

    def visit(self) -> None:
        """Have a session open, as alice would."""
        token = self.gateway.succeed("stagedoor token create alice").split()[-1]
        tunnel = "stagedoor tunnel --gateway gw.example:8022 --user alice app01.ssh"
        self.gateway.start(f"sleep infinity | STAGEDOOR_TOKEN={token} {tunnel} >/dev/null 2>&1")
        wait_until(lambda: "alice" in self.gateway.succeed("stagedoor session list"), 60)

    def _pasted(self, line: str) -> str:
        if "cat > ~/.config/stagedoor/token" in line:
            token = self.gateway.succeed("stagedoor token create alice")
            return token.split()[-1] + "\n\x04"
        return f"{PASSWORD}\n\x04" if "/dev/stdin" in line else ""

    def _begun(self, line: str) -> Callable[[str], bool] | None:
        """For a line that does not end: whether it has done what it is for."""
        if "--follow" in line:
            return lambda text: text.count("\n") > 1
        forward = re.search(r"-[LRD] (\d+)", line)
        if forward is not None:
            port = int(forward[1])
            return lambda _: self.laptop.answers_at("127.0.0.1", port)
        return None


def blocks(page: Path) -> list[pages.Block]:
    return [one for one in pages.blocks("sh") if one.page == page]


def settings(page: Path) -> str:
    """The first block of settings."""
    return next(one.text for one in pages.blocks("toml") if one.page == page)


def clone(machine: Machine, to: str) -> None:
    """`./stagedoor`: a checkout."""
    listed = "\0".join(tracked())
    packed = subprocess.run(
        ["tar", "-c", "--null", "-T", "-"], cwd=pages.ROOT, input=listed.encode(),
        capture_output=True, check=True,
    ).stdout  # fmt: skip
    unpack = ["bash", "-c", f"mkdir -p {to} && tar -x --no-same-owner -C {to}"]
    subprocess.run(
        machine.site.command(machine.root, unpack, outside=False), input=packed, check=True
    )


@pytest.fixture(scope="module", params=["bookworm", "trixie"])
def reader(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Reader]:
    folder = tmp_path_factory.mktemp(request.param)
    with Site(request.param, MACHINES, folder, HOSTS) as site:
        yield Reader(site)


def test_administrator(reader: Reader) -> None:
    gateway, server = reader.gateway, reader.server
    clone(gateway, "/root/stagedoor")
    set_up_server(server)
    first, *rest = (block for page in pages.ADMINISTRATION for block in blocks(page))
    rest += [block for block in blocks(UPGRADE) if "pip install --upgrade" in block.text]
    rest += blocks(BACKUP)
    reader.read(first, gateway)
    # What the page does not make: users' keys, this machine's own key, a certificate.
    for name in ("alice", "bob", ".ssh/id_ed25519"):
        gateway.succeed(f"mkdir -p ~/.ssh && ssh-keygen -q -t ed25519 -N '' -f ~/{name}")
    server.write("/root/.ssh/authorized_keys", gateway.succeed("cat ~/.ssh/id_ed25519.pub"))
    certificate(gateway, server, "gw.example", "/root/fullchain.pem", "/root/key.pem")
    for block in rest:
        if "stagedoor session close" in block.text:
            reader.visit()
        reader.read(block, gateway)
        if "install -d -m 0755 /etc/stagedoor" in block.text:
            gateway.write("/etc/stagedoor/stagedoor.toml", settings(ADMINISTRATOR))
    assert reader.passed_over == set(WITHOUT_SYSTEMD)


def set_up_server(server: Machine) -> None:
    """An app's server, and the database's. What its packages start would be in this machine's network."""
    server.write("/usr/sbin/policy-rc.d", "#!/bin/sh\nexit 101\n", 0o755)
    wanted = "openssh-server rsync git tmux postgresql openssl python3"
    server.succeed("apt-get update -q", outside=True)
    server.succeed(f"apt-get install -y -q --no-install-recommends {wanted}", outside=True)
    server.succeed("useradd --create-home --shell /bin/bash alice && mkdir -p /run/sshd")
    server.succeed("git init -q --bare /srv/repo.git && chown -R alice: /srv")
    server.write("/home/alice/.bashrc", "PS1='alice@app01:$ '\n")
    named = "SetEnv DATABASE_URL=postgresql://db.internal\nListenAddress 10.1.4.8\n"
    named += "HostCertificate /etc/ssh/ssh_host_ed25519_key-cert.pub\n"
    server.write("/etc/ssh/sshd_config.d/test.conf", named)
    server.start("/usr/sbin/sshd -D -e 2>>/var/log/sshd.log")
    wait_until(lambda: server.answers_at("10.1.4.8", 22), 30)


def certificate(machine: Machine, server: Machine, name: str, chain: str, key: str) -> None:
    made = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 30"
    made += f" -subj /CN={name}"
    server.succeed(
        f"{made} -addext subjectAltName=DNS:{name} -keyout /tmp/key -out /tmp/chain 2>&1"
    )
    machine.write(chain, server.succeed("cat /tmp/chain"))
    machine.write(key, server.succeed("cat /tmp/key"), 0o600)


def test_developer(reader: Reader) -> None:
    gateway, server, laptop = reader.gateway, reader.server, reader.laptop
    laptop.succeed("apt-get update -q", outside=True)
    # Of these the page names the first; the others are what its lines are about.
    wanted = "python3-venv openssh-client rsync sshfs git"
    laptop.succeed(f"apt-get install -y -q --no-install-recommends {wanted}", outside=True)
    laptop.succeed("useradd --create-home --shell /bin/bash alice")
    clone(laptop, "/home/alice/stagedoor")
    host_ca = gateway.succeed("cat /var/lib/stagedoor/keys/host_ca.pub")
    laptop.write("/home/alice/host_ca.pub", host_ca)
    laptop.succeed("mkdir -p ~alice/build ~alice/.ssh ~alice/mnt && touch ~alice/report.csv")
    laptop.succeed("ssh-keygen -q -t ed25519 -N '' -f ~alice/.ssh/id_ed25519")
    laptop.succeed("chown -R alice: ~alice && chmod 700 ~alice/.ssh")
    key = laptop.succeed("cat ~alice/.ssh/id_ed25519.pub")
    server.write("/home/alice/.ssh/authorized_keys", key)
    server.succeed("chown -R alice: ~alice; kill -HUP $(cat /run/sshd.pid)")
    reader.passed_over.clear()
    for block in blocks(DEVELOPER):
        reader.read(block, laptop, "alice")
    assert reader.passed_over == {line for line in NOT_HERE if line.startswith("ssh")}


def test_postgresql(reader: Reader) -> None:
    gateway, server = reader.gateway, reader.server
    version = server.succeed("ls /etc/postgresql").strip()
    folder = f"/etc/postgresql/{version}/main"
    certificate(server, server, "db.example.com", f"{folder}/chain.pem", f"{folder}/key.pem")
    server.succeed(f"chown postgres {folder}/key.pem")
    access = f"listen_addresses = '10.1.4.9'\nssl_cert_file = '{folder}/chain.pem'\n"
    access += f"ssl_key_file = '{folder}/key.pem'\n"
    server.write(f"{folder}/conf.d/test.conf", access)
    server.succeed(f"echo 'hostssl all all 10.0.0.0/8 scram-sha-256' >>{folder}/pg_hba.conf")
    server.succeed(f"pg_ctlcluster {version} main start >/dev/null 2>&1 </dev/null")
    gateway.write("/etc/stagedoor/db-ca.pem", server.succeed(f"cat {folder}/chain.pem"))
    reader.passed_over.clear()
    for block in [*blocks(POSTGRESQL), *blocks(OPERATE_POSTGRESQL)]:
        on_server = block.text.startswith("cd ")
        if "pg_restore" in block.text:
            reader.unit.stop()
        reader.read(block, server if on_server else gateway)
        if block.text.startswith("install -m 0600"):
            before = gateway.succeed("cat /etc/stagedoor/stagedoor.toml")
            gateway.write("/etc/stagedoor/stagedoor.toml", before + settings(POSTGRESQL))
            reader.unit.stop()
        if "stagedoor store copy" in block.text or "pg_restore" in block.text:
            reader.unit.start()
    assert reader.passed_over == set()
