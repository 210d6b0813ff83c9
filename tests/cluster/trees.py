"""Root filesystems of Debian for images: made by debootstrap once, kept as layers beside the programs."""

import json
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from tests.cluster import archive
from tests.cluster.fault import ClusterError
from tests.cluster.place import cache
from tests.pace import allow

MAX_RUN_S = 900.0
"""For a Debian, on a slow line."""

_LEFT_OUT = (
    "var/cache/apt",
    "var/lib/apt/lists",
    "usr/share/doc",
    "usr/share/man",
    "usr/share/locale",
)
"""What official slim images leave out as well."""


def folder() -> Path:
    """Return the folder of images and layers."""
    kept = cache() / "images"
    kept.mkdir(parents=True, exist_ok=True)
    return kept


def debian(suite: str, *packages: str) -> archive.Layer:
    """The layer of a minimal Debian (`bookworm`, `trixie`) with some packages more.

    Raises:
        ClusterError: debootstrap is missing or failed.
    """
    name = "-".join([suite, *packages])
    kept = _kept(name)
    if kept is not None:
        return kept
    if shutil.which("debootstrap") is None:
        raise ClusterError("Debian images need debootstrap; apt-get install debootstrap")
    _say(f"making {name} by debootstrap, once; this takes a minute or two")
    with tempfile.TemporaryDirectory(dir=folder()) as beside:
        tree = Path(beside) / "tree"
        wanted = [f"--include={','.join(packages)}"] if packages else []
        _run("debootstrap", "--variant=minbase", *wanted, suite, str(tree))
        for path in _LEFT_OUT:
            shutil.rmtree(tree / path, ignore_errors=True)
            (tree / path).mkdir(parents=True)
        return _keep(archive.layer(tree, Path(beside) / "layer"), name)


def unpacked(package: str, *paths: str) -> dict[str, bytes]:
    """Files of a Debian package of this machine's release, which need not be installed.

    Raises:
        ClusterError: the package could not be fetched.
        StopIteration: it has no file that matches one of the glob patterns `paths`.
    """
    with tempfile.TemporaryDirectory(dir=folder()) as beside:
        # apt drops root for the download, into a folder that its account may write to.
        Path(beside).chmod(0o777)
        _run("apt-get", "-q", "download", package, folder=beside)
        file = next(Path(beside).glob("*.deb"))
        tree = Path(beside) / "tree"
        _run("dpkg-deb", "--extract", str(file), str(tree))
        trees = [next(tree.glob(path)) for path in paths]
        return {
            _in_image(path.relative_to(tree)): _inside(tree, path).read_bytes() for path in trees
        }


def _in_image(path: Path) -> str:
    """/lib and /usr/lib are one in Debian, and programs ask for the first."""
    return "/" + str(path).removeprefix("usr/")


def _inside(tree: Path, path: Path) -> Path:
    """Follow a symbolic link as if `tree` were the root."""
    while path.is_symlink():
        goal = path.readlink()
        path = tree / goal.relative_to("/") if goal.is_absolute() else path.parent / goal
    return path


def _kept(name: str) -> archive.Layer | None:
    about = folder() / f"{name}.json"
    if not about.exists():
        return None
    return archive.Layer(folder() / f"{name}.layer", json.loads(about.read_text())["diff_id"])


def _keep(layer: archive.Layer, name: str) -> archive.Layer:
    kept = layer.path.rename(folder() / f"{name}.layer")
    # What is written last says that all is there.
    (folder() / f"{name}.json").write_text(json.dumps({"diff_id": layer.diff_id}))
    return archive.Layer(kept, layer.diff_id)


def _run(*arguments: str, folder: str | None = None) -> None:
    try:
        done = subprocess.run(
            arguments, cwd=folder, capture_output=True, text=True, timeout=allow(MAX_RUN_S)
        )
    except subprocess.TimeoutExpired:
        raise ClusterError(
            f"{' '.join(arguments[:3])} took longer than {allow(MAX_RUN_S) / 60:.0f} min"
        ) from None
    if done.returncode != 0:
        last = (done.stdout + done.stderr)[-2000:]
        raise ClusterError(f"{' '.join(arguments[:3])} failed:\n{last}")


def _say(text: str) -> None:
    print(f"cluster: {text}", file=sys.stderr, flush=True)
