"""`tests.plan`: what runs, what it needs, and when the test cluster's own tests are due."""

import json
import re
import subprocess
import sys
from pathlib import Path

from tests.plan import (
    API,
    BARE,
    LONGEST,
    LOWEST,
    PROVIDERS,
    QUICK,
    ROOT,
    SELF_TESTS,
    WAITING,
    Share,
    digest,
    divided,
    whole,
)

ALL_NEEDS = """
import json, sys
from tests.plan import main
for arguments in json.load(sys.stdin):
    main(arguments)
"""


def test_what_a_path_needs_is_what_its_tests_ask_for() -> None:
    """One process says it for all, since importing what the tests import takes a second."""
    needs = {
        ("-k", "something"): "cluster helm images kube-apiserver page traefik whole",
        ("tests/authn/test_passes.py",): "",
        ("tests/kube/test_lifecycle.py", "-x"): "cluster",
        ("tests/kube/api/test_verbs.py",): "kube-apiserver",
        ("tests/chart/test_render.py",): "helm",
        ("tests/kit/test_login.py",): "images",
        ("tests/acceptance/test_kubernetes.py",): "cluster helm",
        ("tests/web/test_proxies.py", "tests/authn/test_passes.py"): "page traefik",
    }
    done = subprocess.run(
        [sys.executable, "-c", ALL_NEEDS],
        input=json.dumps(list(needs)),
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.splitlines() == list(needs.values())


def test_every_share_of_a_whole_run_has_files_and_each_file_one_share(tmp_path: Path) -> None:
    files = sorted((ROOT / "tests").rglob("test_*.py"))
    shares = {share.name: theirs for share, theirs in divided(whole(2, tmp_path), files)}
    assert sorted(file for theirs in shares.values() for file in theirs) == files
    assert all(shares.values())
    # What is in a folder of one share may be named by another.
    assert ROOT / "tests/kube/api/test_memory.py" in shares["API server"]
    assert ROOT / "tests/kube/test_lifecycle.py" in shares["waiting"]
    assert ROOT / "tests/test_plan.py" in shares["busy"]


def test_what_the_plan_names_is_there() -> None:
    named = (*WAITING, *API, *LONGEST, SELF_TESTS, BARE, *PROVIDERS, *QUICK, *LOWEST)
    assert [path for path in named if not (ROOT / path).exists()] == []


def test_one_share_has_every_file_that_starts_an_api_server(tmp_path: Path) -> None:
    """Each worker that ran one of them would start another."""
    files = [
        file
        for folder in ("tests/chart", "tests/kube")
        for file in (ROOT / folder).rglob("test_*.py")
        if re.search(r"\b(lone: LoneApi|fenced: Fenced)\b", file.read_text())
    ]
    shares = {share.name: theirs for share, theirs in divided(whole(2, tmp_path), files)}
    assert sorted(shares["API server"]) == sorted(files)


def test_a_share_is_due_until_it_was_green_and_again_when_a_file_changes(tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    (folder / "inner/__pycache__").mkdir(parents=True)
    (folder / "inner/a.py").write_text("1")

    def share() -> Share:
        return Share("self-tests", 1, (), tmp_path / "cache/stamp", digest([folder]))

    assert share().is_due
    share().was_green()
    assert not share().is_due
    (folder / "inner/__pycache__/a.pyc").write_bytes(b"compiled")
    assert not share().is_due
    (folder / "inner/a.py").write_text("2")
    assert share().is_due
    (folder / "inner/a.py").write_text("1")
    assert not share().is_due
    # The same bytes under another name, or cut elsewhere, are another content.
    (folder / "inner/a.py").rename(folder / "inner/b.py")
    assert share().is_due


def test_a_share_without_a_stamp_is_always_due() -> None:
    share = Share("busy", 1)
    share.was_green()
    assert share.is_due
