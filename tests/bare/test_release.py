"""`script/release` from a clean clone on a machine that has nothing, and what it makes, used on another.

That is the wheel with its list of hashes, by the letter of the page, and the client's two files.

It takes minutes, for packages are fetched, so it runs on request, as the other tests here do.
"""

import json
import os
import platform
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from release.deb import MACHINES, RELEASES
from release.source import take_source
from stagedoor import __version__
from tests.bare.machine import PROGRAMS, Machine, Site
from tests.bare.test_deb import INSTALL, SUITES, commands, put
from tests.docs import pages
from tests.waiting import wait_until

pytestmark = [
    pytest.mark.skipif(
        os.geteuid() != 0
        or any(shutil.which(name) is None for name in PROGRAMS)
        or not Path("/dev/fuse").exists(),
        reason="needs root, FUSE, " + ", ".join(PROGRAMS),
    ),
    pytest.mark.timeout(2400),
]
SETTINGS = """\
data_dir = "/var/lib/stagedoor"
[tunnel]
addresses = ["127.0.0.1:8022"]
[[shells.local]]
app = "app01"
"""
RELEASED = "/root/stagedoor/dist/release"
RELEASE_S = 2000.0
"""For `script/release`, with the packages that it fetches, beside other work."""


@pytest.fixture(scope="module", params=SUITES)
def site(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Site]:
    machines: dict[str, tuple[str, ...]] = {"maker": (), "other": ()}
    with Site(request.param, machines, tmp_path_factory.mktemp(request.param), "") as made:
        yield made


def put_clone(machine: Machine, folder: Path) -> None:
    """Clone this checkout, with the changes that are not committed, into ~/stagedoor on a machine."""
    clone = take_source(pages.ROOT, folder / "clone", dirty=True).folder
    named = ("-c", "user.name=Tests", "-c", "user.email=tests@example.com")
    for words in (
        ("add", "--all"),
        ("commit", "--quiet", "--allow-empty", "--message=As it is"),
        ("bundle", "create", "--quiet", "../bundle", "HEAD"),
    ):
        subprocess.run(["git", *named, *words], cwd=clone, check=True)
    put(machine, folder / "bundle", "/root/bundle")
    machine.succeed("apt-get update -q", outside=True)
    machine.succeed("apt-get install -y -q --no-install-recommends git", outside=True)
    machine.succeed("cd && git clone --quiet bundle stagedoor")


def copy_release(maker: Machine, other: Machine) -> None:
    """Copy what `script/release` made to the home of root on another machine."""
    read = maker.site.command(maker.root, ["tar", "-C", RELEASED, "-c", "."], outside=False)
    write = other.site.command(other.root, ["tar", "-C", "/root", "-x"], outside=False)
    with subprocess.Popen(read, stdout=subprocess.PIPE) as reading:
        subprocess.run(write, stdin=reading.stdout, check=True)
    assert reading.returncode == 0


def test_a_clean_clone_makes_a_release(site: Site, tmp_path: Path) -> None:
    """With git and nothing else installed. The two images need programs that such a machine lacks."""
    maker = site.machine("maker")
    put_clone(maker, tmp_path)
    [here] = [name for name, machine in MACHINES.items() if machine == platform.machine()]
    done = maker.run(
        f"script/release --arch {here}", folder="stagedoor", outside=True, within_s=RELEASE_S
    )
    assert done.status == 0, done.text[-3000:]
    kinds = [line.split()[2] for line in done.text.splitlines() if line.startswith("not built: ")]
    assert kinds == ["image", "kit"], done.text
    made = maker.succeed(f"ls {RELEASED}").split()
    for ending, count in {
        "-py3-none-any.whl": 1, "-requirements.txt": 1, ".py": 2, ".deb": len(RELEASES),
        ".tgz": 1, "-docs-*.tar.gz": 1, ".cdx.json": 1,
    }.items():  # fmt: skip
        assert len([name for name in made if Path(name).match(f"*{ending}")]) == count, (
            ending,
            made,
        )
    maker.succeed(f"cd {RELEASED} && sha256sum --check --strict SHA256SUMS")


def test_the_wheel_and_the_client_are_installed_and_used(site: Site) -> None:
    machine = site.machine("other")
    copy_release(site.machine("maker"), machine)
    version = machine.succeed("cd && ls *.whl").split("-")[1]
    machine.succeed("apt-get update -q", outside=True)
    machine.succeed("apt-get install -y -q --no-install-recommends python3-venv", outside=True)
    [install] = (block for block in commands(INSTALL) if "--require-hashes" in " ".join(block))
    for line in install:
        here = line.replace(f"stagedoor-{__version__}-", f"stagedoor-{version}-")
        machine.succeed(f"cd && {here}", outside="--require-hashes" in line)
    assert f"stagedoor {version} (commit " in machine.succeed("stagedoor --version")

    machine.write("/etc/stagedoor/stagedoor.toml", SETTINGS)
    machine.start("stagedoor serve >>/var/log/stagedoor.log 2>&1")
    wait_until(lambda: machine.answers_at("127.0.0.1", 8022), 60)
    machine.succeed("stagedoor user add alice --no-password")
    machine.succeed("stagedoor grant add user:alice app01")
    machine.succeed("cd && (umask 077; stagedoor token create alice > token)")

    machine.succeed("cd && sha256sum --check stagedoor-*.sha256")
    reach = "--gateway 127.0.0.1:8022 --user alice --token-file token"
    tunnel = f"python3 stagedoor-tunnel-{version}.py {reach} app01.ssh </dev/null"
    assert machine.succeed(f"cd && {tunnel}").startswith("SSH-2.0-")
    walk = f"python3 stagedoor-client-{version}.py doctor app02.ssh --how connect {reach} --json"
    hops = json.loads(machine.succeed(f"cd && {{ {walk}; test $? = 2; }}"))
    assert hops[-1]["check"] == "grant", hops
    assert "stagedoor grant add user:alice app02" in hops[-1]["what"]
