"""The programs that come as Go tools: built once, kept outside the checkout by what their go.sum says."""

import hashlib
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.cluster import toolchain
from tests.cluster.fault import ClusterError
from tests.cluster.place import cache
from tests.cluster.turn import turn

_FOLDER = Path(__file__).resolve().parent
_VERSION = "k8s.io/component-base/version"
_KUBERNETES = "k8s.io/kubernetes/cmd/"


@dataclass(frozen=True)
class Tool:
    """A Go package of the module in `module/`, below this folder."""

    module: str
    package: str

    @property
    def name(self) -> str:
        return self.package.rpartition("/")[2]


TOOLS = (
    *(
        Tool("kubernetes", _KUBERNETES + name)
        for name in (
            "kubectl",
            "kube-apiserver",
            "kube-controller-manager",
            "kube-scheduler",
            "kubelet",
            "kube-proxy",
        )
    ),
    *(
        Tool("containerd", f"github.com/containerd/containerd/v2/cmd/{name}")
        for name in ("containerd", "containerd-shim-runc-v2", "ctr")
    ),
    Tool("coredns", "github.com/coredns/coredns"),
    Tool("kube-router", "github.com/cloudnativelabs/kube-router/v2/cmd/kube-router"),
    Tool("helm", "helm.sh/helm/v3/cmd/helm"),
)
"""Those of the cluster itself."""
BEFORE = (Tool("traefik", "github.com/traefik/traefik/v3/cmd/traefik"),)
"""What tests put before a gateway; the cluster does without."""


def program(name: str) -> Path:
    """The path of a built program; it need not be there yet.

    Raises:
        KeyError: no tool has this name.
    """
    tool = {tool.name: tool for tool in (*TOOLS, *BEFORE)}[name]
    return _folder(tool) / name


def build(tools: Sequence[Tool] = TOOLS) -> None:
    """Build those that are missing, saying on stderr which program and how long.

    Raises:
        ClusterError: Go is missing and cannot be fetched, or a build failed.
    """
    if not missing(tools):
        return
    cache().mkdir(parents=True, exist_ok=True)
    with turn(cache()):
        _build_all(missing(tools), len(tools))


def missing(tools: Sequence[Tool] = TOOLS) -> list[Tool]:
    """Those that are not built yet."""
    return [tool for tool in tools if not program(tool.name).exists()]


def _build_all(tools: list[Tool], of: int) -> None:
    if not tools:
        return
    go = toolchain.find() or toolchain.fetch()
    _say(
        f"building {len(tools)} of {of} programs, once, into {cache()}; "
        "with an empty build cache this takes minutes"
    )
    for number, tool in enumerate(tools, 1):
        began = time.monotonic()
        _say(f"{number} of {len(tools)}: {tool.name} …")
        _build(go, tool)
        _say(f"{number} of {len(tools)}: {tool.name} in {time.monotonic() - began:.0f} s")


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
        version = _kubernetes_version()
        major, minor, _ = version.removeprefix("v").split(".")
        flags += f" -X {_VERSION}.gitVersion={version} -X {_VERSION}.gitMajor={major}"
        flags += f" -X {_VERSION}.gitMinor={minor}"
    with tempfile.TemporaryDirectory(dir=folder) as beside:
        target = Path(beside) / tool.name
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
        )
        if done.returncode != 0:
            raise ClusterError(f"go could not build {tool.name}:\n{done.stderr[-4000:]}")
        target.rename(folder / tool.name)


def _kubernetes_version() -> str:
    for line in (_FOLDER / "kubernetes" / "go.mod").read_text(encoding="utf-8").splitlines():
        words = line.split()
        if "k8s.io/kubernetes" in words and "=>" not in words:
            return words[words.index("k8s.io/kubernetes") + 1]
    raise AssertionError("kubernetes/go.mod requires no k8s.io/kubernetes")
