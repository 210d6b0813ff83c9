"""The programs are built once, by a Go that is new enough, and the progress is shown."""

from pathlib import Path

import pytest

from tests import pace
from tests.cluster import programs, toolchain
from tests.cluster.__main__ import main, split_arguments
from tests.cluster.fault import ClusterError

GO = """#!/bin/sh
[ "$1" = env ] && echo {version} && exit
while [ "$1" != -o ]; do shift; done
{build}
"""


@pytest.fixture
def go(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Stand in for Go's command, which takes minutes; the cache is empty, and PATH has no program."""
    path = tmp_path / "bin" / "go"
    path.parent.mkdir()
    path.write_text(GO.format(version="go1.25.1", build='echo built >"$2"'))
    path.chmod(0o755)
    monkeypatch.setenv("PATH", f"{path.parent}:/usr/sbin:/usr/bin:/sbin:/bin")
    monkeypatch.delenv(programs.ASSETS, raising=False)
    monkeypatch.setenv(pace.VARIABLE, "1")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return path


@pytest.mark.usefixtures("go")
def test_each_is_built_once_and_told(capsys: pytest.CaptureFixture[str]) -> None:
    programs.build()
    shown = capsys.readouterr().err
    for number, tool in enumerate(programs.TOOLS, 1):
        assert f"cluster: {number} of {len(programs.TOOLS)}: {tool.name} … (" in shown
        assert programs.program(tool.name).read_text() == "built\n"
    programs.program("kubelet").unlink()
    programs.build()
    assert "1 of 1: kubelet … (a minute or less left)" in capsys.readouterr().err
    programs.build()
    assert capsys.readouterr().err == ""


@pytest.mark.usefixtures("go")
def test_the_cluster_is_not_kept_waiting_for_what_it_does_without() -> None:
    programs.build()
    assert programs.missing(programs.MORE) == list(programs.MORE)
    programs.build(programs.ALL)
    assert programs.missing(programs.ALL) == []


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


def test_the_time_that_is_left_is_by_how_long_the_others_took(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv(pace.VARIABLE, "2")
    tools = [programs.Tool("helm", name, usual_s) for name, usual_s in (("a", 10), ("b", 30))]
    assert programs.left_s(tools, 0, 0.0) == 80
    assert programs.left_s(tools, 1, 5.0) == 15
    assert programs.minutes(540) == "about 9 min"


@pytest.mark.parametrize(
    ("name", "said", "fits"),
    [
        ("kube-apiserver", "Kubernetes v1.34.1\n", True),
        ("kube-apiserver", "Kubernetes v1.33.9\n", False),
        ("kube-apiserver", "Kubernetes v1.35.0\n", False),
        ("kubectl", "Client Version: v1.34.0\nKustomize Version: v5.7.1\n", True),
        ("containerd", "containerd github.com/containerd/containerd/v2 v2.4.0 1c4457e\n", True),
        # Debian 12's and 13's: our configuration file is one of containerd 2.
        ("containerd", "containerd github.com/containerd/containerd 1.6.20~ds1 1.6.20\n", False),
        ("containerd", "containerd github.com/containerd/containerd 1.7.24~ds1 1.7.24\n", False),
        ("helm", "v3.30.1+g3ade97c\n", True),
        ("helm", "v4.0.0+g1\n", False),
        ("helm", "", False),
    ],
)
def test_of_the_programs_here_those_fit_that_are_as_good(name: str, said: str, fits: bool) -> None:
    assert programs.fits(programs.tool(name), said) == fits


@pytest.mark.usefixtures("go")
def test_what_this_machine_has_is_not_built(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From the folder of envtest, and from PATH; what was built goes before both."""
    assets, path = tmp_path / "assets", tmp_path / "path"
    for folder, name, version in (
        (assets, "kube-apiserver", "v1.34.1"),
        (path, "kubectl", "v1.34.9"),
        (path, "kubelet", "v1.30.0"),
        (path, "traefik", "v3.9.0"),
    ):
        folder.mkdir(exist_ok=True)
        (folder / name).write_text(f"#!/bin/sh\necho Kubernetes {version}\n")
        (folder / name).chmod(0o755)
    monkeypatch.setenv(programs.ASSETS, str(assets))
    monkeypatch.setenv("PATH", str(path), prepend=":")
    names = ("kube-apiserver", "kubectl", "kubelet", "traefik")
    chosen = [programs.tool(name) for name in names]
    # Traefik is copied into an image, and may need a library of this machine.
    assert [tool.name for tool in programs.missing(chosen)] == ["kubelet", "traefik"]
    assert programs.program("kube-apiserver") == assets / "kube-apiserver"
    monkeypatch.delenv(programs.ASSETS)
    programs.build(chosen)
    assert programs.program("kube-apiserver").read_text() == "built\n"
    assert programs.program("kubectl") == path / "kubectl"


def test_an_old_go_is_not_taken(go: Path) -> None:
    assert toolchain.find() == go
    go.write_text(GO.format(version="go1.24.9", build="exit 1"))
    assert toolchain.find() is None


@pytest.mark.usefixtures("go")
def test_what_follows_helm_is_built_too(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """`helm` is also a command, whose arguments are its own."""
    monkeypatch.setattr("sys.argv", ["cluster", "build", "helm", "traefik"])
    assert main() == 0
    assert "2 of 2: traefik" in capsys.readouterr().err
    wanted = (["--state", "helm", "helm"], ["list", "--state"])
    assert split_arguments(["--state", "helm", "helm", "list", "--state"]) == wanted
