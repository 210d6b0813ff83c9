"""The gateway's image: what goes into it is locked, and both ways of building it are one."""

import subprocess

from tests.chart.chart import ROOT

FOLDER = ROOT / "deploy" / "image"


def test_what_is_installed_is_what_uv_lock_says() -> None:
    done = subprocess.run([FOLDER / "lock", "--check"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_everything_is_installed_by_its_hash_and_no_index_is_named() -> None:
    for name in ("requirements.txt", "build-requirements.txt"):
        text = (FOLDER / name).read_text()
        packages = [line for line in text.splitlines() if "==" in line]
        assert packages
        assert text.count("--hash=sha256:") >= len(packages)
        assert "index-url" not in text
        assert "://" not in text
    dockerfile = (FOLDER / "Dockerfile").read_text()
    assert dockerfile.count("pip") >= 2
    assert dockerfile.count("--require-hashes") == 2


def test_it_runs_as_nobody_in_particular() -> None:
    lines = (FOLDER / "Dockerfile").read_text().splitlines()
    assert "USER 65532:65532" in lines[lines.index("FROM ${BASE}") :]


def test_bytecode_in_the_image_goes_by_no_files_time() -> None:
    """`buildah --timestamp` sets every file's time; Python would compile all at each start then."""
    lines = (FOLDER / "Dockerfile").read_text().splitlines()
    installs = [line for line in lines if "--python /opt/stagedoor/bin/python" in line]
    assert len(installs) == 2
    assert all(" --no-compile " in line for line in installs)
    compiled = [line for line in lines if "compileall" in line]
    assert [line.split()[-2 if line.endswith("\\") else -1] for line in compiled] == [
        "/opt/stagedoor/lib",
        "/opt/stagedoor/lib/python3*/site-packages/stagedoor",
        "/usr/lib/python3*",
    ]
    assert all("--invalidation-mode unchecked-hash" in line for line in compiled)
