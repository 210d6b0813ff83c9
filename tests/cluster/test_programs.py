"""The programs are built once, by a Go that is new enough, and whoever waits is told how far it is."""

from pathlib import Path

import pytest

from tests.cluster import programs, toolchain
from tests.cluster.fault import ClusterError

GO = """#!/bin/sh
[ "$1" = env ] && echo {version} && exit
while [ "$1" != -o ]; do shift; done
{build}
"""


@pytest.fixture
def go(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Stands in for Go's command, which takes minutes; the cache is an empty one."""
    path = tmp_path / "bin" / "go"
    path.parent.mkdir()
    path.write_text(GO.format(version="go1.25.1", build='echo built >"$2"'))
    path.chmod(0o755)
    monkeypatch.setenv("PATH", str(path.parent), prepend=":")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return path


@pytest.mark.usefixtures("go")
def test_each_is_built_once_and_told(capsys: pytest.CaptureFixture[str]) -> None:
    programs.build()
    told = capsys.readouterr().err
    for number, tool in enumerate(programs.TOOLS, 1):
        assert f"cluster: {number} of {len(programs.TOOLS)}: {tool.name} …" in told
        assert programs.program(tool.name).read_text() == "built\n"
    programs.program("helm").unlink()
    programs.build()
    assert "1 of 1: helm …" in capsys.readouterr().err
    programs.build()
    assert capsys.readouterr().err == ""


@pytest.mark.usefixtures("go")
def test_the_cluster_is_not_kept_waiting_for_what_it_does_without() -> None:
    programs.build()
    assert programs.missing(programs.BEFORE) == list(programs.BEFORE)
    programs.build((*programs.TOOLS, *programs.BEFORE))
    assert programs.missing((*programs.TOOLS, *programs.BEFORE)) == []


def test_a_failure_names_the_program_and_leaves_nothing_that_looks_built(go: Path) -> None:
    go.write_text(GO.format(version="go1.25.1", build='echo half >"$2"; echo boom >&2; exit 1'))
    with pytest.raises(ClusterError, match="go could not build kubectl:\nboom"):
        programs.build()
    assert programs.missing() == list(programs.TOOLS)


def test_other_sums_are_other_programs(
    go: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = programs.program("helm")
    module = tmp_path / "modules" / "helm"
    module.mkdir(parents=True)
    (module / "go.sum").write_text("another\n")
    monkeypatch.setattr(programs, "_FOLDER", tmp_path / "modules")
    assert programs.program("helm") != before


def test_an_old_go_is_not_taken(go: Path) -> None:
    assert toolchain.find() == go
    go.write_text(GO.format(version="go1.24.9", build="exit 1"))
    assert toolchain.find() is None
