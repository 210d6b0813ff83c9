"""`script/rooms`: what it counts and draws, by sources made up here, and once of this checkout."""

import importlib.machinery
import importlib.util
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from xml.etree import ElementTree

import pytest

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="module")
def rooms() -> ModuleType:
    loader = importlib.machinery.SourceFileLoader("rooms", str(ROOT / "script/rooms"))
    spec = importlib.util.spec_from_loader("rooms", loader)
    assert spec is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["rooms"] = module  # dataclasses look their module up
    loader.exec_module(module)
    return module


SOURCES = {
    "src/stagedoor/__init__.py": '__version__ = "1"\n',
    "src/stagedoor/model/grant.py": "x = 1\n",
    "src/stagedoor/wire/target.py": "from stagedoor.model.grant import x\n",
    "src/stagedoor/serve/run.py": "from stagedoor import __version__, wire\n"
    "import stagedoor.model.grant\ndef long():\n" + "    x = 1\n" * 70,
    "acceptance/check.py": "from stagedoor.serve import run\nfrom acceptance import other\n",
    "deploy/kit/source/start.c": "int x;\n",
}


Rooms = Callable[..., tuple[int, str]]


@pytest.fixture
def rooms_of(
    rooms: ModuleType,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> Rooms:
    """Return a function that runs the script on a repository of SOURCES: its status, and what it prints."""
    checkout = tmp_path / "checkout"
    for name, text in SOURCES.items():
        (checkout / name).parent.mkdir(parents=True, exist_ok=True)
        (checkout / name).write_text(text)
    git = ("git", "-C", checkout, "-c", "user.name=dev", "-c", "user.email=dev@example.net")
    for words in (("init", "-q"), ("add", "."), ("commit", "-qm", "first")):
        subprocess.run([*git, *words], check=True)
    monkeypatch.setattr(rooms, "ROOT", checkout)

    def run(*words: str) -> tuple[int, str]:
        monkeypatch.setattr(sys, "argv", ["script/rooms", *words])
        status = rooms.main()
        return status, "".join(capsys.readouterr())

    return run


def test_imports_are_counted_between_packages_alone(rooms: ModuleType) -> None:
    modules = rooms.Revision("x", SOURCES).modules
    assert rooms.imports(modules) == {
        ("wire", "model"): 1,
        ("serve", "wire"): 1,
        ("serve", "model"): 1,
        ("acceptance", "serve"): 1,
    }


def test_a_package_stands_above_all_that_it_imports(rooms: ModuleType) -> None:
    edges = rooms.edges_of(rooms.imports(rooms.Revision("x", SOURCES).modules))
    assert rooms.ranks(edges) == {"model": 0, "wire": 1, "serve": 2, "acceptance": 3}
    assert rooms.circles(edges) == set()
    assert rooms.other_path(edges, "serve", "model"), "by way of wire"
    assert not rooms.other_path(edges, "serve", "wire")


def test_packages_that_import_each_other_are_found_and_drawn_all_the_same(
    rooms: ModuleType,
) -> None:
    files = SOURCES | {"src/stagedoor/model/odd.py": "import stagedoor.wire.target\n"}
    revision = rooms.Revision("x", files)
    edges = rooms.edges_of(rooms.imports(revision.modules))
    assert rooms.circles(edges) == {("wire", "model"), ("model", "wire")}
    assert "#c62828" in rooms.draw(revision)


def test_the_table_tells_lines_and_what_is_longest(rooms: ModuleType) -> None:
    figures = rooms.figures(rooms.Revision("x", SOURCES))
    assert figures["longest function"] == "serve/run.py:long 71"
    assert figures["functions over 60 lines"] == "1"
    assert figures["lines in the wheel's Python"] == "76"
    assert figures["lines in the kit's source"] == "1"


def test_a_revision_is_read_from_git_counted_and_drawn(rooms_of: Rooms, tmp_path: Path) -> None:
    picture = tmp_path / "rooms.svg"
    status, said = rooms_of("--svg", str(picture), "HEAD")
    assert status == 0
    assert "| packages that import each other | 0 |" in said.splitlines()
    texts = {node.text for node in ElementTree.parse(picture).iter() if node.tag.endswith("text")}
    assert {"serve", "wire", "acceptance", "model"} <= texts


def test_a_revision_that_is_none_is_reported(rooms_of: Rooms) -> None:
    status, said = rooms_of("no-such-revision")
    assert status == 1
    assert "no such revision" in said


ONE_KIND = {"acceptance": "a driver", "cli": "a command", "model": "a value", "wire": "a format"}
"""Folders that may have many files, since each is one of a kind."""


def test_no_module_function_or_folder_is_too_long_for_one_look(rooms: ModuleType) -> None:
    files = [*(ROOT / "src/stagedoor").rglob("*.py"), *(ROOT / "acceptance").rglob("*.py")]
    modules = {str(f.relative_to(ROOT)): f.read_text(encoding="utf-8") for f in files}
    long = {rooms.short(p) for p, text in modules.items() if text.count("\n") > rooms.MODULE_LINES}
    assert long == set()
    assert [f for f in rooms.functions(modules) if f[0] > rooms.FUNCTION_LINES] == []
    folders = Counter(rooms.short(path.rpartition("/")[0]) for path in modules)
    wide = {folder for folder, count in folders.items() if count > rooms.FOLDER_FILES}
    assert wide <= set(ONE_KIND)
