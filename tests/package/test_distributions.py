"""What is handed out: the sdist and the wheel have all that runs, and need no checkout and no Node."""

import os
import subprocess
import sys
import tarfile
import zipfile
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent.parent
STATIC = "stagedoor/listeners/web/static"
PAGE = ("home.js", "terminal.js", "terminal.css", "pages.css", "icon.svg", "licences.txt")
"""Of the WebShell, as `script/web` builds it."""
PIP = (sys.executable, "-m", "pip", "--disable-pip-version-check")


@dataclass(frozen=True)
class Built:
    """The sdist, and the wheel that was made of it alone."""

    sdist: Path
    wheel: Path


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Built:
    """By the pinned backend with which the image is built as well."""
    if not (ROOT / "src" / STATIC / "terminal.js").exists():
        pytest.skip("the WebShell's page is not built; script/web does so")
    folder = tmp_path_factory.mktemp("package")
    backend = folder / "backend"
    requirements = ROOT / "deploy/image/build-requirements.txt"
    got = subprocess.run(
        [*PIP, "install", "-q", "--target", backend, "--require-hashes", "-r", requirements],
        capture_output=True,
        text=True,
    )
    if got.returncode != 0:
        pytest.skip(f"hatchling cannot be fetched: {got.stderr.strip()[-200:]}")

    def build(kind: str, source: Path) -> Path:
        done = subprocess.run(
            [sys.executable, "-m", "hatchling", "build", "-t", kind, "-d", folder / "dist"],
            cwd=source,
            env={**os.environ, "PYTHONPATH": str(backend)},
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stderr
        [made] = (folder / "dist").glob("*.tar.gz" if kind == "sdist" else "*.whl")
        return made

    sdist = build("sdist", ROOT)
    with tarfile.open(sdist) as archive:
        archive.extractall(folder / "source", filter="data")
    [source] = (folder / "source").iterdir()
    return Built(sdist, build("wheel", source))


def test_the_wheel_has_the_page_and_the_licences(built: Built) -> None:
    with zipfile.ZipFile(built.wheel) as archive:
        names = set(archive.namelist())
        [licence] = [name for name in names if name.endswith(".dist-info/licenses/LICENSE")]
        assert archive.read(licence) == (ROOT / "LICENSE").read_bytes()
        for name in PAGE:
            kept = ROOT / "src" / STATIC / name
            assert archive.read(f"{STATIC}/{name}") == kept.read_bytes(), name
    assert "stagedoor/py.typed" in names
    strangers = {name.partition("/")[0] for name in names if not name.startswith("stagedoor")}
    assert strangers == set(), "a wheel must not put other things beside the package"
    assert not [name for name in names if name.endswith(("chromium.py", "prompted.py"))], "drivers"


def test_the_wheel_has_every_file_of_the_package(built: Built) -> None:
    listed = subprocess.run(
        ["git", "ls-files", "src/stagedoor"], cwd=ROOT, capture_output=True, text=True
    )
    if listed.returncode != 0:
        pytest.skip("not in a git checkout")
    kept = {line.removeprefix("src/") for line in listed.stdout.splitlines()}
    with zipfile.ZipFile(built.wheel) as archive:
        assert kept - set(archive.namelist()) == set()


def test_the_sdist_has_what_it_is_built_and_tested_from_and_nothing_that_is_made(
    built: Built,
) -> None:
    with tarfile.open(built.sdist) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    for name in ("LICENSE", "README.md", "pyproject.toml", "web/build.mjs", "script/test"):
        assert name in names, name
    made = {"node_modules", ".venv", "__pycache__", ".git", "dist"}
    assert {name for name in names if made & set(name.split("/"))} == set()


def test_an_installed_wheel_runs_without_node_and_without_the_checkout(
    built: Built, tmp_path: Path
) -> None:
    place = tmp_path / "installed"
    options = ("-q", "--no-deps", "--no-index", "--target", place)
    subprocess.run([*PIP, "install", *options, built.wheel], check=True, capture_output=True)
    programs = tmp_path / "bin"
    programs.mkdir()
    environment = {"PATH": str(programs), "PYTHONPATH": str(place), "HOME": str(tmp_path)}

    def run(*words: str) -> str:
        done = subprocess.run(
            [sys.executable, *words], env=environment, capture_output=True, text=True, cwd=tmp_path
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    where = run("-c", "import stagedoor; print(stagedoor.__file__)")
    assert where.startswith(str(place))
    version = built.wheel.name.split("-")[1]
    assert run(str(place / "bin/stagedoor"), "--version").split()[-1] == version
    told = run(
        "-c",
        "from stagedoor.listeners.web.pages.assets import FOLDER; print(FOLDER, *FOLDER.iterdir())",
    )
    assert told.startswith(str(place))
    assert "terminal.js" in told
