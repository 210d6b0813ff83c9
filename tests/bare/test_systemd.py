"""The Debian packages under a real systemd: their units started, reloaded, upgraded, killed and booted again.

Once the packages are built, it takes 100 s of the processor on each Debian, so it runs on request, as the
other tests here do.
"""

import re
import subprocess
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.bare.booted import BootedDebian, why_not
from tests.bare.machine import Machine
from tests.bare.test_deb import SUITES, put
from tests.waiting import wait_until

pytestmark = [
    pytest.mark.skipif(why_not() is not None, reason=str(why_not())),
    pytest.mark.timeout(600),
]
NEWER = "7.8.9"
UNITS = ("stagedoor.service", "stagedoor-resume.service", "stagedoor-tunnels@app01.service")
EXPOSURE = 2.0
"""The limit of what `systemd-analyze security` says of a unit, of 10."""
FILE = "/etc/stagedoor/stagedoor.toml"
SETTINGS = """\
data_dir = "/var/lib/stagedoor"
[tunnel]
addresses = ["127.0.0.1:8022"]
[ssh]
addresses = ["127.0.0.1:2222"]
host_names = ["gw.example"]
[workers]
drain_timeout_s = 2
[[shells.static]]
app = "app01"
host = "127.0.0.1"
networks = ["127.0.0.0/8"]
login_name = "app01"
host_keys = ["KEY"]
resume_port = 2223
[[shells.static]]
app = "app02"
host = "127.0.0.1"
networks = ["127.0.0.0/8"]
[[shells.local]]
app = "local"
"""
PREPARE = """
useradd --create-home --shell /bin/bash app01
install -d -o app01 -m 700 /home/app01/.ssh
install -d -m 700 /root/.ssh
ssh-keygen -q -N '' -f /root/.ssh/id_ed25519
install -o app01 /root/.ssh/id_ed25519.pub /home/app01/.ssh/authorized_keys
install -d /etc/ssh/principals
echo alice >/etc/ssh/principals/app01
cp /var/lib/stagedoor/keys/user_ca.pub /etc/ssh/user_ca.pub
printf '%s\\n' 'TrustedUserCAKeys /etc/ssh/user_ca.pub' 'AuthorizedPrincipalsFile /etc/ssh/principals/%u' \
  >/etc/ssh/sshd_config.d/stagedoor.conf
systemctl reload ssh
echo 127.0.0.1 gw.example >>/etc/hosts
printf '%s\\n' 'StrictHostKeyChecking no' 'UserKnownHostsFile /dev/null' 'LogLevel ERROR' >/root/.ssh/config
stagedoor user add alice --no-password
stagedoor key add alice /root/.ssh/id_ed25519.pub
stagedoor grant add user:alice app01
stagedoor grant add user:alice app02
stagedoor grant add user:alice local
(umask 077; stagedoor token create alice >/root/token)
"""
COUNT = "n=0; while sleep 0.1; do n=$((n+1)); echo $$ $n; done"
TUNNEL = "stagedoor tunnel --gateway http://127.0.0.1:8022 --user alice --token-file /root/token"
SESSIONS = {
    "jump": "ssh -T -J alice@gw.example:2222 app01@app01.ssh",
    "direct": "ssh -T -p 2222 app01@gw.example",
    "local": "ssh -tt -p 2222 local@gw.example",
    "connect": f"ssh -T -o 'ProxyCommand {TUNNEL} --no-resume %h %p' app01@app01.ssh",
    "beside the server": f"ssh -T -o 'ProxyCommand {TUNNEL} %h %p' app01@app01.ssh",
    "beside the gateway": f"ssh -T -o 'ProxyCommand {TUNNEL} %h %p' app01@app02.ssh",
}
"""The command of ssh by the way in; of a resumable tunnel, by where its endpoint is."""
RESUMABLE = ("beside the server", "beside the gateway")


@pytest.fixture(scope="module", params=SUITES)
def debian(
    request: pytest.FixtureRequest, packages: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[BootedDebian]:
    """A machine with the packages in /root, and a newer one that differs in its version alone."""
    folder = tmp_path_factory.mktemp(request.param)
    [package] = packages.glob(f"*+deb{SUITES[request.param]}_*.deb")
    [shell] = packages.glob("stagedoor-shell_*.deb")
    newer = repack(package, folder / "newer")
    with BootedDebian(request.param, folder / "machine") as debian:
        for file, name in ((package, "stagedoor"), (newer, "newer"), (shell, "shell")):
            put(debian.machine, file, f"/root/{name}.deb")
        debian.machine.write("/etc/dpkg/dpkg.cfg.d/unsafe-io", "force-unsafe-io\n")
        yield debian


@pytest.fixture
def machine(debian: BootedDebian) -> Machine:
    return debian.machine


def repack(package: Path, work: Path) -> Path:
    """Return a copy of a package of the version NEWER."""
    subprocess.run(["dpkg-deb", "--raw-extract", package, work], check=True)
    [module] = work.glob("opt/stagedoor/lib/python3.*/site-packages/stagedoor/__init__.py")
    for file, line in ((work / "DEBIAN/control", "Version: {}"), (module, '__version__ = "{}"')):
        version = re.compile("^" + re.escape(line).replace(r"\{\}", ".*") + "$", re.MULTILINE)
        text, changed = version.subn(line.format(NEWER), file.read_text())
        assert changed == 1, file
        file.write_text(text)
    target = work.with_suffix(".deb")
    subprocess.run(
        ["dpkg-deb", "--root-owner-group", "-Zgzip", "-z1", "--build", work, target], check=True
    )
    return target


def install(machine: Machine, name: str) -> str:
    return machine.succeed(f"apt-get install -y -q /root/{name}.deb 2>&1")


def show(machine: Machine, unit: str = "stagedoor") -> dict[str, str]:
    """Return the properties of a unit."""
    lines = machine.succeed(f"systemctl show {unit}").splitlines()
    return dict(line.split("=", 1) for line in lines if "=" in line)


class Counter:
    """A command in a shell that counts, under an ssh."""

    def __init__(self, machine: Machine, name: str, ssh: str) -> None:
        self._machine = machine
        self._file = f"/tmp/{name.replace(' ', '-')}-{uuid.uuid4().hex[:8]}"
        machine.start(f"{ssh} '{COUNT}' </dev/null >{self._file} 2>{self._file}.err")

    def count(self) -> int:
        """Return the last number. Each follows the one before, in the same shell."""
        lines = self._machine.succeed(f"cat {self._file}").split("\n")[:-1]
        pairs = [line.split() for line in lines]
        assert len({shell for shell, _ in pairs}) <= 1, pairs[-5:]
        numbers = [int(number) for _, number in pairs]
        assert numbers == list(range(1, len(numbers) + 1)), numbers[-5:]
        return len(numbers)

    def must_go_on(self) -> None:
        before = self.count()
        wait_until(lambda: self.count() > before + 1, what=f"{self._file} goes on", costly=True)

    def must_have_ended(self, reason: str) -> None:
        said = f"cat {self._file}.err"
        wait_until(lambda: reason in self._machine.succeed(said), what=reason, costly=True)


@pytest.fixture(scope="module")
def counters(debian: BootedDebian) -> dict[str, Counter]:
    """The open sessions, by the way in."""
    return {name: Counter(debian.machine, name, ssh) for name, ssh in SESSIONS.items()}


def test_apt_starts_both_units(machine: Machine) -> None:
    install(machine, "stagedoor")
    gateway = show(machine)
    assert (gateway["ActiveState"], gateway["SubState"]) == ("active", "running")
    assert (gateway["Type"], gateway["NotifyAccess"]) == ("notify", "main")
    assert show(machine, "stagedoor-resume")["SubState"] == "running"
    assert machine.succeed("systemctl is-enabled stagedoor") == "enabled\n"


def test_the_other_package_s_unit_runs_now_and_after_a_boot(machine: Machine) -> None:
    """docs/how-to/ssh-servers.md"""
    install(machine, "shell")
    machine.write("/root/prepare.sh", PREPARE)
    machine.succeed("bash -e /root/prepare.sh")
    machine.succeed("systemctl enable --now stagedoor-tunnels@app01")
    assert machine.succeed("systemctl is-enabled stagedoor-tunnels@app01") == "enabled\n"
    assert show(machine, "stagedoor-tunnels@app01")["SubState"] == "running"


def test_systemd_finds_no_fault_with_the_units(machine: Machine) -> None:
    assert machine.succeed(f"systemd-analyze verify {' '.join(UNITS)} 2>&1") == ""
    for unit in UNITS:
        said = machine.succeed(f"systemd-analyze security --no-pager {unit} | tail -1")
        [exposure] = re.findall(r"exposure level for \S+: ([0-9.]+)", said)
        assert float(exposure) < EXPOSURE, said


def test_a_process_that_memory_runs_out_for_is_not_the_end_of_the_gateway(machine: Machine) -> None:
    """A program in a local shell, for one. systemd would stop all processes of the unit."""
    assert show(machine)["OOMPolicy"] == "continue"


def test_reload_puts_settings_in_force_or_says_what_is_wrong(machine: Machine) -> None:
    key = " ".join(machine.succeed("cat /etc/ssh/ssh_host_ed25519_key.pub").split()[:2])
    before = show(machine)["MainPID"]
    machine.write(FILE, "nonsense = 1\n")
    assert machine.run("systemctl reload stagedoor").status == 1
    assert "nonsense" in machine.succeed("journalctl -u stagedoor -o cat")
    machine.write(FILE, SETTINGS.replace("KEY", key))
    machine.succeed("systemctl reload stagedoor")
    wait_until(lambda: machine.answers_at("127.0.0.1", 2222), costly=True)
    wait_until(lambda: show(machine)["SubState"] == "running", costly=True)
    assert show(machine)["MainPID"] == before


def test_a_local_shell_has_the_sandbox_of_the_unit(machine: Machine) -> None:
    """docs/how-to/ssh-servers.md"""
    shell = "ssh -p 2222 local@gw.example"
    machine.succeed(f"{shell} 'touch ~/mine /tmp/mine && ! touch /etc/mine && ! ls /home'")
    code = (
        "import mmap; mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)"
    )
    assert "PermissionError" in machine.run(f"{shell} 'python3 -c \"{code}\"'").text


@pytest.mark.continuity(4)
def test_apt_hands_over_and_systemd_follows_the_new_program(
    machine: Machine, counters: dict[str, Counter]
) -> None:
    before, endpoint = show(machine)["MainPID"], show(machine, "stagedoor-resume")["MainPID"]
    said = install(machine, "newer")
    assert f"Upgraded to {NEWER}" in said, said
    assert f"{len(counters)} sessions in older programs" in said
    after = show(machine)
    assert after["MainPID"] != before
    assert (after["SubState"], after["NRestarts"]) == ("running", "0")
    assert machine.succeed(f"ps -o cgroup= {before}").strip().endswith("/stagedoor.service")
    for counter in counters.values():
        counter.must_go_on()
    after = show(machine, "stagedoor-resume")
    assert (after["SubState"], after["NRestarts"]) == ("running", "0")
    processes = set(machine.succeed("pgrep -f stagedoor.resume").split())
    assert processes == {endpoint, after["MainPID"]}, "the old one keeps the session beside it"
    assert after["MainPID"] != endpoint
    Counter(machine, "new endpoint", SESSIONS["beside the gateway"]).must_go_on()


def test_a_reload_hands_over_if_the_program_was_replaced(
    machine: Machine, counters: dict[str, Counter]
) -> None:
    before = show(machine)["MainPID"]
    machine.succeed("touch /opt/stagedoor/lib/python3.*/site-packages/stagedoor/__init__.py")
    machine.succeed("systemctl reload stagedoor")
    after = show(machine)
    assert after["MainPID"] != before
    assert (after["SubState"], after["NRestarts"]) == ("running", "0")
    for counter in counters.values():
        counter.must_go_on()


def test_a_new_program_that_does_not_start_changes_nothing(
    machine: Machine, counters: dict[str, Counter]
) -> None:
    before = show(machine)["MainPID"]
    machine.succeed(f"cp {FILE} /root/right && echo 'nonsense = 1' >>{FILE}")
    said = machine.succeed("DEBIAN_FRONTEND=noninteractive dpkg-reconfigure stagedoor 2>&1")
    machine.succeed(f"cp /root/right {FILE}")
    assert "nonsense" in said
    assert "The gateway goes on with the program before." in said
    assert show(machine)["MainPID"] == before
    for counter in counters.values():
        counter.must_go_on()


def test_systemd_starts_a_gateway_again_that_has_died_and_tunnels_go_on(
    machine: Machine, counters: dict[str, Counter]
) -> None:
    before = show(machine)["MainPID"]
    machine.succeed(f"kill -KILL {before}")
    wait_until(lambda: show(machine)["MainPID"] not in ("0", before), costly=True)
    for name in RESUMABLE:
        counters[name].must_go_on()
    assert show(machine)["NRestarts"] == "1"
    counters["jump"].must_have_ended("closed by remote host")


def test_a_stop_drains_and_wrong_settings_are_not_tried_again(
    machine: Machine, counters: dict[str, Counter]
) -> None:
    opened = {name: Counter(machine, name, SESSIONS[name]) for name in ("jump", "local")}
    for counter in opened.values():
        counter.must_go_on()
    machine.succeed("systemctl stop stagedoor")
    gateway = show(machine)
    assert (gateway["ActiveState"], gateway["Result"]) == ("inactive", "success")
    for counter in opened.values():
        counter.must_have_ended("the gateway is stopping")
    left = machine.succeed("ps -u stagedoor -o args=").splitlines()
    assert left, "the endpoint, and those before it that have sessions"
    assert all("stagedoor.resume" in words for words in left), left

    machine.succeed(f"echo 'nonsense = 1' >>{FILE}")
    assert machine.run("systemctl start stagedoor").status == 1
    gateway = show(machine)
    assert (gateway["ActiveState"], gateway["ExecMainStatus"]) == ("failed", "2")
    assert gateway["NRestarts"] == "0"
    machine.succeed(f"cp /root/right {FILE} && systemctl start stagedoor")
    for name in RESUMABLE:
        counters[name].must_go_on()


def test_a_restart_with_the_capability_for_low_ports_and_a_hand_over_that_binds_another(
    machine: Machine, counters: dict[str, Counter]
) -> None:
    """As the unit says, in its two lines on capabilities."""
    lines = ("CapabilityBoundingSet", "AmbientCapabilities")
    text = "[Service]\n" + "".join(f"{line}=CAP_NET_BIND_SERVICE\n" for line in lines)
    machine.write("/etc/systemd/system/stagedoor.service.d/port.conf", text)
    machine.succeed(f'sed -i \'s/127.0.0.1:8022"/&, "127.0.0.1:443"/\' {FILE}')
    machine.succeed("systemctl daemon-reload && systemctl restart stagedoor")
    assert machine.answers_at("127.0.0.1", 443)
    machine.succeed(f'sed -i \'s/127.0.0.1:443"/&, "127.0.0.1:444"/\' {FILE}')
    assert "Upgraded" in machine.succeed("stagedoor upgrade")
    assert machine.answers_at("127.0.0.1", 443)
    assert machine.answers_at("127.0.0.1", 444)
    for name in RESUMABLE:
        counters[name].must_go_on()


def test_the_endpoint_beside_the_gateway_is_restarted_on_demand_alone(
    machine: Machine, counters: dict[str, Counter]
) -> None:
    """docs/how-to/upgrade.md, if the new version mends a security hole."""
    counters["beside the gateway"].must_go_on()
    assert show(machine, "stagedoor-resume")["NRestarts"] == "0"
    machine.succeed("systemctl restart stagedoor stagedoor-resume")
    counters["beside the gateway"].must_have_ended("the session has ended")
    counters["beside the server"].must_go_on()
    Counter(machine, "again", SESSIONS["beside the gateway"]).must_go_on()


def test_after_a_power_cut_all_runs_again(debian: BootedDebian) -> None:
    debian.take_away()
    debian.boot()
    for unit in UNITS:
        assert show(debian.machine, unit)["SubState"] == "running", unit


def test_removed_nothing_runs_and_nothing_is_started(debian: BootedDebian) -> None:
    machine = debian.machine
    machine.succeed("apt-get purge -y -q stagedoor stagedoor-shell")
    for unit in UNITS:
        assert show(machine, unit)["ActiveState"] == "inactive", unit
    assert machine.run("pgrep -f [s]tagedoor").status == 1
    left = machine.succeed("find /etc/systemd/system /lib/systemd/system -name 'stagedoor*'")
    assert left == "/etc/systemd/system/stagedoor.service.d\n", "what the administrator wrote"
    assert machine.succeed("systemctl is-system-running") == "running\n"
