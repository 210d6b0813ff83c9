"""Bring images onto the node."""

import subprocess
import tempfile
from collections.abc import Iterable
from pathlib import Path

from tests.cluster.fault import ClusterError
from tests.cluster.place import Place
from tests.cluster.programs import program
from tests.cluster.turn import turn


def load_file(place: Place, archive: Path) -> list[str]:
    """Import an OCI or Docker archive; the names of the images in it.

    Raises:
        ClusterError: it is no such file, or the node refused it.
    """
    if not archive.is_file():
        raise ClusterError(f"there is no file {archive}")
    # Unpacked now, so that the first pod does not wait for it.
    output = _ctr(
        place, "images", "import", "--local", "--snapshotter", _snapshotter(place), str(archive)
    )
    return [line.split()[1] for line in output.splitlines() if line.startswith("unpacking ")]


def load_once(place: Place, archive: Path) -> None:
    """Import an archive whose name changes with its content, if this node has not had it yet."""
    mark = place.state / "loaded" / archive.name
    mark.parent.mkdir(exist_ok=True)
    with turn(mark.parent):
        if not mark.exists():
            load_file(place, archive)
            mark.touch()


def load_reference(place: Place, reference: str) -> list[str]:
    """Bring an image of buildah's store onto the node under the same name.

    Raises:
        ClusterError: buildah has no such image, or the node refused it.
    """
    with tempfile.TemporaryDirectory() as folder:
        archive = Path(folder) / "image.tar"
        pushed = subprocess.run(
            ["buildah", "push", "--quiet", reference, f"docker-archive:{archive}:{reference}"],
            capture_output=True,
            text=True,
            check=False,
        )
        if pushed.returncode != 0:
            raise ClusterError(
                f"buildah could not give the image {reference}: {pushed.stderr.strip()}\n"
                "`buildah images` lists what it has; a file has to be given by its path"
            )
        return load_file(place, archive)


def _snapshotter(place: Place) -> str:
    """Return containerd's snapshotter, which the first process has chosen."""
    text = (place.config / "containerd.toml").read_text(encoding="utf-8")
    return next(name for name in ("overlayfs", "native") if f'"{name}"' in text)


def _ctr(place: Place, *arguments: str) -> str:
    command = [
        str(program("ctr")),
        "--address",
        str(place.containerd_socket),
        "--namespace",
        "k8s.io",
    ]
    done = subprocess.run([*command, *arguments], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise ClusterError(f"the node refused the image: {done.stderr.strip()}")
    return done.stdout


def copy(place: Place, to: Place, names: Iterable[str]) -> None:
    """Bring images of a node onto another."""
    with tempfile.TemporaryDirectory() as folder:
        archive = Path(folder) / "images.tar"
        _ctr(place, "images", "export", str(archive), *names)
        load_file(to, archive)


def answers(place: Place) -> bool:
    """Return whether the node's containerd takes images."""
    try:
        images(place)
    except ClusterError:
        return False
    return True


def images(place: Place) -> list[str]:
    """The names of all images on the node."""
    return _ctr(place, "images", "list", "--quiet").split()
