"""The programs that come as Go tools: built once, kept outside the checkout by what their go.sum says.

One that this machine has already is taken instead where its version fits: from the folder that
$KUBEBUILDER_ASSETS names, as envtest has it (book.kubebuilder.io/reference/envtest), or from PATH.
"""

import hashlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache as remember
from pathlib import Path

from tests.cluster import toolchain
from tests.cluster.fault import ClusterError
from tests.cluster.place import cache
from tests.cluster.turn import turn
from tests.pace import allow

ASSETS = "KUBEBUILDER_ASSETS"
_FOLDER = Path(__file__).resolve().parent
_VERSION = "k8s.io/component-base/version"
_KUBERNETES = "k8s.io/kubernetes/cmd/"
_CONTAINERD = "github.com/containerd/containerd/v2/cmd/"
MAX_BUILD_S = 1800.0
"""For one program, where nothing is cached."""


@dataclass(frozen=True)
class Tool:
    """A Go package of the module in `module/`, below this folder.

    `usual_s` is how long its build takes on the reference machine after those before it. An installed one
    answers to the words `asked` with its version; without any, only a built one will do.
    """

    module: str
    package: str
    usual_s: int
    asked: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        return self.package.rpartition("/")[2]


TOOLS = (
    Tool("kubernetes", f"{_KUBERNETES}kubectl", 130, ("version", "--client")),
    Tool("kubernetes", f"{_KUBERNETES}kube-apiserver", 170, ("--version",)),
    Tool("kubernetes", f"{_KUBERNETES}kube-controller-manager", 80, ("--version",)),
    Tool("kubernetes", f"{_KUBERNETES}kube-scheduler", 30, ("--version",)),
    Tool("kubernetes", f"{_KUBERNETES}kubelet", 80, ("--version",)),
    Tool("kubernetes", f"{_KUBERNETES}kube-proxy", 20, ("--version",)),
    Tool("containerd", f"{_CONTAINERD}containerd", 60, ("--version",)),
    Tool("containerd", f"{_CONTAINERD}containerd-shim-runc-v2", 15, ("-v",)),
    Tool("containerd", f"{_CONTAINERD}ctr", 15, ("--version",)),
    Tool("coredns", "github.com/coredns/coredns", 60),
    Tool("kube-router", "github.com/cloudnativelabs/kube-router/v2/cmd/kube-router", 40),
)
"""Those of the cluster itself. CoreDNS is copied into an image, so it has to be static."""
MORE = (
    Tool("helm", "helm.sh/helm/v3/cmd/helm", 40, ("version", "--short")),
    Tool("traefik", "github.com/traefik/traefik/v3/cmd/traefik", 200),
)
"""What only some tests use, those of the chart above all; the cluster does without."""
ALL = (*TOOLS, *MORE)


def tool(name: str) -> Tool:
    """Return the tool of this name.

    Raises:
        KeyError: there is none.
    """
    return {entry.name: entry for entry in ALL}[name]


def program(name: str) -> Path:
    """Return the path of a program: the built one, else one of this machine that fits, else where it will be.

    Raises:
        KeyError: no tool has this name.
    """
    wanted = tool(name)
    built = _folder(wanted) / name
    if built.exists():
        return built
    places = (os.environ.get(ASSETS, ""), os.environ.get("PATH", ""))
    return installed(wanted, os.pathsep.join(filter(None, places))) or built


@remember
def installed(wanted: Tool, path: str) -> Path | None:
    """Return the first program on `path` whose version fits; None if there is none."""
    for folder in path.split(os.pathsep) if wanted.asked else ():
        candidate = shutil.which(wanted.name, path=folder)
        if candidate is not None and fits(wanted, _say_version(candidate, wanted.asked)):
            return Path(candidate)
    return None


def fits(wanted: Tool, said: str) -> bool:
    """Return whether what a program says of its version is as good as what we build.

    Of Kubernetes that is the same minor version, of others a later one too.
    """
    own, other = (_version(text) for text in (_required(wanted), said))
    if own is None or other is None or own[0] != other[0]:
        return False
    return own == other if wanted.module == "kubernetes" else own <= other


def _version(text: str) -> tuple[int, int] | None:
    match = re.search(r"\bv?(\d+)\.(\d+)\.\d+", text)
    return (int(match[1]), int(match[2])) if match is not None else None


def _say_version(program: str, asked: Sequence[str]) -> str:
    try:
        done = subprocess.run([program, *asked], capture_output=True, text=True, timeout=allow(20))
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout


def build(tools: Sequence[Tool] = TOOLS) -> None:
    """Build those that are missing, saying on stderr which program, how long, and what is left.

    Raises:
        ClusterError: Go is missing and cannot be fetched, or a build failed or took far too long.
    """
    if not missing(tools):
        return
    cache().mkdir(parents=True, exist_ok=True)
    with turn(cache()):
        _build_all(missing(tools), len(tools))


def missing(tools: Sequence[Tool] = TOOLS) -> list[Tool]:
    """Return those that are neither built nor here in a version that fits."""
    return [entry for entry in tools if not program(entry.name).exists()]


def _build_all(tools: list[Tool], of: int) -> None:
    if not tools:
        return
    go = toolchain.find() or toolchain.fetch()
    _say(
        f"building {len(tools)} of {of} programs, once, into {cache()}; "
        "with an empty build cache this takes minutes"
    )
    began = time.monotonic()
    for number, one in enumerate(tools):
        left = left_s(tools, number, time.monotonic() - began)
        _say(f"{number + 1} of {len(tools)}: {one.name} … ({minutes(left)} left)")
        start = time.monotonic()
        _build(go, one)
        _say(f"{number + 1} of {len(tools)}: {one.name} in {time.monotonic() - start:.0f} s")


def left_s(tools: Sequence[Tool], done: int, took_s: float) -> float:
    """Return how long the builds will take that are left, by how long the first `done` took."""
    before, after = (sum(entry.usual_s for entry in part) for part in (tools[:done], tools[done:]))
    return after * took_s / before if before else allow(after)


def minutes(seconds: float) -> str:
    """Return a time as a person wants to know it: `about 3 min`."""
    return f"about {seconds / 60:.0f} min" if seconds >= 90 else "a minute or less"


def _say(text: str) -> None:
    print(f"cluster: {text}", file=sys.stderr, flush=True)


def _folder(tool: Tool) -> Path:
    sums = (_FOLDER / tool.module / "go.sum").read_bytes()
    return cache() / hashlib.sha256(sums).hexdigest()[:16]


def _build(go: Path, tool: Tool) -> None:
    folder = _folder(tool)
    folder.mkdir(parents=True, exist_ok=True)
    flags = "-s -w"
    if tool.module == "kubernetes":
        version = _required(tool)
        major, minor, _ = version.removeprefix("v").split(".")
        flags += f" -X {_VERSION}.gitVersion={version} -X {_VERSION}.gitMajor={major}"
        flags += f" -X {_VERSION}.gitMinor={minor}"
    with tempfile.TemporaryDirectory(dir=folder) as beside:
        target = Path(beside) / tool.name
        try:
            done = subprocess.run(
                [
                    *(str(go), "build", "-mod=readonly", "-trimpath", "-ldflags", flags),
                    *("-o", str(target), tool.package),
                ],
                cwd=_FOLDER / tool.module,
                env=os.environ | {"CGO_ENABLED": "0", "GOFLAGS": "-buildvcs=false"},
                stderr=subprocess.PIPE,
                text=True,
                check=False,
                timeout=allow(MAX_BUILD_S),
            )
        except subprocess.TimeoutExpired:
            why = f"{tool.name} was not built within {minutes(allow(MAX_BUILD_S)).removeprefix('about ')}"
            raise ClusterError(f"{why}; script/cluster build goes on where it stopped") from None
        if done.returncode != 0:
            raise ClusterError(f"go could not build {tool.name}:\n{done.stderr[-4000:]}")
        target.rename(folder / tool.name)


def _required(tool: Tool) -> str:
    """Return the version of the tool's module that go.mod names."""
    for line in (_FOLDER / tool.module / "go.mod").read_text(encoding="utf-8").splitlines():
        words = line.removeprefix("require ").split()
        if len(words) >= 2 and tool.package.startswith(words[0]) and "=>" not in words:
            return words[1]
    raise AssertionError(f"{tool.module}/go.mod requires nothing that has {tool.package}")
