"""Images for tests, each an app that answers HTTP on port 8080, and the node's own two.

An app is what a developer might bring: a full Debian, or an image with no shell, no passwd, another
libc, another user. Made on this machine from Debian packages, kept beside the programs.
"""

import hashlib
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from tests.cluster import archive, programs, trees
from tests.cluster.archive import Files, Layer, Start
from tests.cluster.fault import ClusterError
from tests.cluster.place import COREDNS_IMAGE, SANDBOX_IMAGE
from tests.cluster.turn import turn
from tests.pace import allow

PORT = 8080
"""Where each app answers, with a page that says its image's name."""
_HTTPD = ["/app/httpd", "-f", "-p", str(PORT), "-h", "/app/www"]
_PASSWD = b"root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/false\n"
_GROUP = b"root:x:0:\nnogroup:x:65534:\n"
_SET_AT_START = b"""#!/bin/sh
export SET_BY_ENTRYPOINT="it's set at run time"
export DATABASE_URL="postgresql://app@db/app?started=$(date +%s)"
exec "$@"
"""


@dataclass(frozen=True)
class Recipe:
    """One image: its layers below the app's own files, and how it starts."""

    name: str
    start: Start
    base: Callable[[], Layer] | None = None
    files: Callable[[], Files] | None = None

    @property
    def reference(self) -> str:
        """Return the name of the image in a pod. `latest` would make the kubelet pull it."""
        return f"stagedoor.test/{self.name}:1"


def build(name: str) -> Path:
    """The archive of one of RECIPES, made if it is not there.

    Raises:
        ClusterError: there is no such image, or a program is missing that makes it.
    """
    recipe = {recipe.name: recipe for recipe in RECIPES}.get(name)
    if recipe is None:
        raise ClusterError(f"there is no image {name!r}; there are {', '.join(names())}")
    target = _target(name)
    if target.exists():
        return target
    with turn(trees.folder()):
        if target.exists():
            return target
        with tempfile.TemporaryDirectory(dir=trees.folder()) as beside:
            layers = [recipe.base()] if recipe.base is not None else []
            files = recipe.files() if recipe.files is not None else _app(name)
            layers.append(archive.layer(files, Path(beside) / "layer"))
            archive.image(recipe.reference, layers, recipe.start, target)
    return target


def _target(name: str) -> Path:
    return trees.folder() / f"{name}-{_made_by()}.tar"


def missing() -> list[str]:
    """Return the names of the images for tests that are not made yet."""
    return [name for name in names() if not _target(name).exists()]


def build_missing() -> None:
    """Make the images for tests that are not there, saying on stderr which, how long, and what is left.

    Raises:
        ClusterError: a program is missing that makes one, or a package could not be fetched in time.
    """
    wanted, began = missing(), time.monotonic()
    for number, name in enumerate(wanted):
        # Most of them take seconds; those of Debian a minute or two each, in the beginning.
        took_s = (time.monotonic() - began) / number if number else allow(20)
        left = programs.minutes(took_s * (len(wanted) - number))
        _say(f"image {number + 1} of {len(wanted)}: {name} … ({left} left)")
        build(name)


def _say(text: str) -> None:
    print(f"cluster: {text}", file=sys.stderr, flush=True)


def names() -> list[str]:
    """The images for tests."""
    return [recipe.name for recipe in RECIPES if recipe.reference not in _OF_THE_NODE]


def reference(name: str) -> str:
    """Return the name of the image `name` in a pod."""
    return f"stagedoor.test/{name}:1"


def _made_by() -> str:
    """Changes with whatever goes into an image but the layers below it."""
    digest = hashlib.sha256(Path(__file__).read_bytes())
    digest.update(Path(archive.__file__).read_bytes())
    digest.update(programs.program("coredns").parent.name.encode())
    return digest.hexdigest()[:12]


def _busybox() -> Path:
    path = shutil.which("busybox")
    if path is None:
        raise ClusterError("the images need busybox; apt-get install busybox-static")
    return Path(path)


def _app(name: str) -> Files:
    """The app alone: one static program, and its page."""
    page = f"{name}\n".encode()
    return Files({"/app/httpd": _busybox(), "/app/www/index.html": page}, open_folders=("/tmp",))


def _with_busybox(name: str, extra: dict[str, bytes]) -> Files:
    """A system of busybox alone, with the app."""
    busybox = _busybox()
    listed = subprocess.run([busybox, "--list"], capture_output=True, text=True, check=True)
    app = _app(name)
    return Files(
        {
            **app.files,
            "/bin/busybox": busybox,
            "/etc/passwd": _PASSWD,
            "/etc/group": _GROUP,
            **extra,
        },
        {f"/bin/{applet}": "busybox" for applet in listed.stdout.split() if applet != "busybox"},
        ("/tmp", "/root"),
    )


def _musl() -> Files:
    """As Alpine is: musl for its libc, busybox for the rest."""
    loader = trees.unpacked("musl", "**/ld-musl-*.so.1")
    return _with_busybox("musl", {**loader, "/etc/alpine-release": b"3.22.0\n"})


def _distroless() -> Files:
    """glibc and a program; no shell, no passwd, nothing else."""
    app = _app("distroless")
    libc = trees.unpacked("libc6", "**/lib*/ld-linux-*.so.*", "**/libc.so.6")
    return Files({**app.files, **libc}, open_folders=("/tmp",))


def _entrypoint() -> Files:
    app = _app("entrypoint")
    return Files({**app.files, "/app/entrypoint": _SET_AT_START}, open_folders=("/tmp",))


def _node_busybox() -> Files:
    return Files({"/busybox": _busybox()})


def _coredns() -> Files:
    return Files({"/coredns": programs.program("coredns")})


def _bookworm() -> Layer:
    return trees.debian("bookworm")


# busybox's httpd handles no signal, and as process 1 it would wait out every grace period.
_WEB = Start(_HTTPD, directory="/app", stop_signal="SIGKILL")
RECIPES = (
    # Only containerd signals the sandbox, by SIGKILL.
    Recipe("sandbox", Start(["/busybox", "sleep", "infinity"]), files=_node_busybox),
    Recipe("coredns", Start([], entrypoint=["/coredns"]), files=_coredns),
    Recipe("busybox", _WEB, files=lambda: _with_busybox("busybox", {})),
    Recipe("debian-12", replace(_WEB, environment={"APP_NAME": "debian-12"}), _bookworm),
    Recipe("debian-13", _WEB, lambda: trees.debian("trixie")),
    Recipe(
        "python",
        Start(
            ["python3", "-m", "http.server", "--directory", "/app/www", str(PORT)],
            environment={"PYTHON_VERSION": "3.11", "LANG": "C.UTF-8"},
            directory="/app",
            stop_signal="SIGKILL",
        ),
        lambda: trees.debian("bookworm", "python3"),
    ),
    Recipe("musl", _WEB, files=_musl),
    Recipe("distroless", _WEB, files=_distroless),
    Recipe("user-12345", replace(_WEB, user="12345"), _bookworm),
    Recipe("entrypoint", replace(_WEB, entrypoint=["/app/entrypoint"]), _bookworm, _entrypoint),
)
_OF_THE_NODE = (SANDBOX_IMAGE, COREDNS_IMAGE)
