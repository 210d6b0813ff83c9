"""`script/demo --check` from a clean clone on a machine that has nothing: what people try first.

It takes minutes, for packages are fetched, so it runs on request, as the other tests here do.
"""

import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.bare.machine import PROGRAMS, Machine, Site
from tests.bare.test_deb import SUITES
from tests.bare.test_release import put_clone

pytestmark = [
    pytest.mark.skipif(
        os.geteuid() != 0
        or any(shutil.which(name) is None for name in PROGRAMS)
        or not Path("/dev/fuse").exists(),
        reason="needs root, FUSE, " + ", ".join(PROGRAMS),
    ),
    pytest.mark.timeout(2400),
]
COLOUR = re.compile(r"\x1b\[[0-9;]*m")
ALL_OF_IT = (
    *("WebShell by HTTP and WebSocket", "stagedoor attach", "stagedoor login, ssh alone, its end"),
    *("stagedoor tunnel", "ssh -J", "ssh app01@gateway"),
)


@pytest.fixture(scope="module", params=SUITES)
def machine(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Machine]:
    folder = tmp_path_factory.mktemp(request.param)
    with Site(request.param, {"laptop": ()}, folder / "site", "") as site:
        laptop = site.machine("laptop")
        put_clone(laptop, folder)
        yield laptop


def test_without_root_all_that_is_missing_is_named_at_once(machine: Machine) -> None:
    machine.succeed("useradd -m alice && chmod 755 /root")
    done = machine.run("/root/stagedoor/script/demo --check", user="alice")
    assert done.status == 1
    wanted = "apt-get install python3 python3-venv openssh-client"
    assert done.text.strip().endswith(f"as root: {wanted}"), done.text


def test_root_tries_each_way_in_without_a_browser(machine: Machine) -> None:
    done = machine.run("script/demo --check", folder="stagedoor", outside=True, within_s=2000)
    assert done.status == 0, done.text[-3000:]
    rows = [COLOUR.sub("", row) for row in done.text.splitlines()]
    for name in ALL_OF_IT:
        assert any(row.startswith(f"{name} ") and " ok " in row for row in rows), name
    assert rows[-1].startswith("not tried: "), rows[-1]
    assert "WebShell in a browser" in rows[-1]
    assert " apt-get install " in rows[-1]
    assert " chromium" in rows[-1]
