"""The tools of `script/demo --kubernetes`: the checkout's programs, and images built from it."""

import contextlib
import fcntl
import hashlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from stagedoor.model.errors import StagedoorError

MINUTE_S = 60.0
BUILD_S = 30 * MINUTE_S
"""The time limit of the first start, which builds Kubernetes from source."""
_ROOT = Path(__file__).resolve().parents[1]
_GATEWAY = ("pyproject.toml", "README.md", "LICENSE", "uv.lock", "deploy/image", "src")
_KIT = ("deploy/kit", "src/stagedoor/shells/local/bin")


_PACKAGES = {
    "buildah": "buildah",
    "debootstrap": "debootstrap",
    "patchelf": "patchelf",
    "readelf": "binutils",
    "gcc": "gcc",
    "ssh-keygen": "openssh-client",
}
"""The programs that build the images, with their Debian packages."""


def say(text: str) -> None:
    """Print a step on stderr for the person who waits."""
    print(f"==> {text}", file=sys.stderr, flush=True)


ONE_PYTHON = (
    "python",
    "-c",
    """
import json, sys
from click.testing import CliRunner
from stagedoor.cli.app import stagedoor

printed = []
for words, text in json.load(sys.stdin):
    done = CliRunner().invoke(stagedoor, words, text, standalone_mode=False)
    if done.exception is not None:
        raise done.exception
    printed.append(done.stdout)
json.dump(printed, sys.stdout)
""",
)
"""A command that runs many `stagedoor` commands in a gateway's pod in one process, since each start there
takes a second of CPU time. It reads a JSON list with the words and the stdin of each command, and writes a
JSON list of their stdouts."""


@dataclass(frozen=True)
class Checkout:
    """A checkout of Stagedoor's repository, with `script/cluster` and `deploy/`."""

    root: Path

    def run(
        self,
        program: str,
        *arguments: str | Path,
        text: str = "",
        within_s: float = 2 * MINUTE_S,
        loud: bool = False,
    ) -> str:
        """Run a program of the checkout with `text` as its stdin, and return its stdout.

        With `loud`, the person who waits sees its stderr. Raises StagedoorError, with its stderr, if it fails
        or takes longer than `within_s`. Any other exception here ends the program too.
        """
        process = subprocess.Popen(
            [self.root / program, *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=None if loud else subprocess.PIPE,
            text=True,
            # Ctrl-C reaches only this process, which ends the programs in an order that leaves nothing.
            start_new_session=True,
        )
        name = " ".join([program, *(str(word) for word in arguments[:2])])
        try:
            out, err = process.communicate(text, timeout=within_s)
        except subprocess.TimeoutExpired:
            _end(process)
            raise StagedoorError(f"{name} took longer than {within_s:.0f} s") from None
        except BaseException:
            _end(process)
            raise
        if process.returncode:
            why = "see above" if err is None else err.strip()[-2000:] or "it said nothing"
            raise StagedoorError(f"{name} ended with {process.returncode}: {why}")
        return out

    def kubectl(self, *arguments: str | Path, text: str = "", within_s: float = MINUTE_S) -> str:
        """Run kubectl as administrator of `script/cluster`'s cluster; return its stdout.

        Raises StagedoorError.
        """
        return self.run("script/cluster", "kubectl", *arguments, text=text, within_s=within_s)

    def runs(self) -> bool:
        """Return True if the cluster is up."""
        try:
            self.run("script/cluster", "status")
        except StagedoorError:
            return False
        return True


def find_checkout() -> Checkout:
    """Return the checkout that this Stagedoor runs from.

    Raises StagedoorError if it runs from none, or if a program that builds the images is missing.
    """
    needed = ("script/cluster", "deploy/chart/Chart.yaml", "deploy/image/build", "deploy/kit/build")
    if not all((_ROOT / name).exists() for name in needed):
        raise StagedoorError(
            "the demo on Kubernetes needs script/cluster and deploy/ of a checkout, and this Stagedoor "
            f"runs from {Path(__file__).parents[1]}, which is not a checkout; "
            "in a checkout, run: script/demo --kubernetes"
        )
    missing = sorted({pack for name, pack in _PACKAGES.items() if shutil.which(name) is None})
    if missing:
        raise StagedoorError(
            f"the demo on Kubernetes needs more programs; as root: apt-get install {' '.join(missing)}"
        )
    return Checkout(_ROOT)


def gateway_image(checkout: Checkout) -> str:
    """Load the gateway's image onto the node and return its name; build it if the sources have changed."""

    def build(name: str, folder: Path) -> Path:
        archive = folder / "image.tar"
        words = ("--tag", name, "--output", archive)
        checkout.run("deploy/image/build", *words, within_s=BUILD_S, loud=True)
        return archive

    return _image(checkout, "localhost/stagedoor", _GATEWAY, build)


def kit_image(checkout: Checkout) -> str:
    """Load the sshd kit's image onto the node and return its name; build it if the sources have changed."""

    def build(name: str, folder: Path) -> Path:
        words = ("--newer", "--image", name, "--out", folder)
        checkout.run("deploy/kit/build", *words, within_s=BUILD_S, loud=True)
        return folder / "image.tar"

    return _image(checkout, "localhost/stagedoor-kit", _KIT, build)


def _image(
    checkout: Checkout, repository: str, parts: tuple[str, ...], build: Callable[[str, Path], Path]
) -> str:
    name = f"{repository}:state-{_state_digest(checkout.root, parts)}"
    if name in checkout.kubectl("get", "nodes", "-o", "jsonpath={..status.images[*].names}"):
        return name
    cache = _cache()
    kept = cache / f"{name.rpartition('/')[2].replace(':', '-')}.tar"
    with _lock(cache):
        if not kept.exists():
            say(f"building {name}")
            with tempfile.TemporaryDirectory(dir=cache) as beside:
                archive = build(name, Path(beside))
                for old in cache.glob(f"{repository.rpartition('/')[2]}-state-*.tar"):
                    old.unlink()
                archive.rename(kept)
        say(f"bringing {name} onto the node")
        checkout.run("script/cluster", "load-image", kept)
    return name


def _state_digest(root: Path, parts: tuple[str, ...]) -> str:
    """Return a digest of all the files that go into an image."""
    digest = hashlib.sha256()
    for part in parts:
        top = root / part
        for path in [top] if top.is_file() else sorted(top.rglob("*")):
            if path.is_file() and "__pycache__" not in path.parts:
                digest.update(f"{path.relative_to(root)}\0".encode() + path.read_bytes())
    return digest.hexdigest()[:12]


def _cache() -> Path:
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    folder = Path(base) / "stagedoor" / "images"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


@contextlib.contextmanager
def _lock(folder: Path) -> Iterator[None]:
    """Hold a lock on the folder, so that two processes do not build the same image."""
    with (folder / "lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _end(process: "subprocess.Popen[str]") -> None:
    for number in (signal.SIGTERM, signal.SIGKILL):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, number)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.communicate(timeout=5)
            return
