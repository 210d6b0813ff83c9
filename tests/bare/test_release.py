"""What `script/release` makes for machines without the package, on some that have nothing: the wheel with its
list of hashes, by the letter of the page, and the client's two files.

It takes minutes, for packages are fetched, so it runs on request, as the other tests here do.
"""

import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from stagedoor import __version__
from tests.bare.machine import PROGRAMS, Site
from tests.bare.test_deb import INSTALL, SUITES, commands, put
from tests.docs import pages
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
SETTINGS = """\
data_dir = "/var/lib/stagedoor"
[tunnel]
addresses = ["127.0.0.1:8022"]
[[shells.local]]
app = "app01"
"""


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("release") / "out"
    chosen = ("--dirty", "--only", "python", "--only", "client", "--out", out)
    subprocess.run([pages.ROOT / "script/release", *chosen], check=True)
    return out


@pytest.mark.parametrize("suite", SUITES)
def test_the_wheel_and_the_client_are_installed_and_used(
    suite: str, made: Path, tmp_path: Path
) -> None:
    [wheel] = made.glob("*.whl")
    version = wheel.name.split("-")[1]
    with Site(suite, {"other": ()}, tmp_path, "") as site:
        machine = site.machine("other")
        machine.succeed("apt-get update -q", outside=True)
        machine.succeed("apt-get install -y -q --no-install-recommends python3-venv", outside=True)
        for file in made.iterdir():
            put(machine, file, f"/root/{file.name}")
        [install] = (one for one in commands(INSTALL) if "--require-hashes" in " ".join(one))
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
        walk = (
            f"python3 stagedoor-client-{version}.pyz doctor app02.ssh --how connect {reach} --json"
        )
        hops = json.loads(machine.succeed(f"cd && {{ {walk}; test $? = 2; }}"))
        assert hops[-1]["check"] == "grant", hops
        assert "stagedoor grant add user:alice app02" in hops[-1]["what"]
