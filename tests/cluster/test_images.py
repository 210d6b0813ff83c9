"""Each test image runs, answers, and is the odd thing that it is there for."""

import json
import subprocess
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.cluster import archive, images
from tests.cluster.fault import ClusterError
from tests.cluster.images import PORT
from tests.cluster.pods import apply, pod, ready, until
from tests.cluster.test_cluster import page
from tests.fixtures.cluster import Cluster

Namespaces = Callable[..., str]
pytestmark = pytest.mark.timeout(600)


def test_all_answer_with_their_names(cluster: Cluster, fresh_namespace: Namespaces) -> None:
    namespace, names = fresh_namespace(), images.names()
    apply(cluster, namespace, *(pod(name, cluster.image(name)) for name in names))
    addresses = ready(cluster, namespace, *names)
    for name, address in zip(names, addresses, strict=True):
        until(name, lambda name=name, address=address: page(address, PORT) == f"{name}\n")  # type: ignore[misc]

    def inside(name: str, *command: str) -> str:
        return cluster.kubectl("-n", namespace, "exec", name, "--", *command)

    def refused(name: str, *command: str) -> str:
        with pytest.raises(subprocess.CalledProcessError) as caught:
            inside(name, *command)
        return str(caught.value.stderr)

    assert "VERSION_CODENAME=bookworm" in inside("debian-12", "cat", "/etc/os-release")
    assert "VERSION_CODENAME=trixie" in inside("debian-13", "cat", "/etc/os-release")
    assert inside("python", "python3", "-c", "import ssl; print(6 * 7)") == "42\n"
    assert "musl libc" in inside("musl", "sh", "-c", "/lib/ld-musl-*.so.1 2>&1 || true")
    assert "executable file not found" in refused("distroless", "sh", "-c", "true")
    assert inside("user-12345", "id", "-u") == "12345\n"
    assert "12345" not in inside("user-12345", "cat", "/etc/passwd")
    # What the entrypoint sets is seen by what it starts, and by nothing that kubectl starts.
    started = inside("entrypoint", "cat", "/proc/1/environ")
    assert "SET_BY_ENTRYPOINT=it's set at run time" in started.split("\0")
    assert "SET_BY_ENTRYPOINT" not in inside("entrypoint", "env")


def test_an_unknown_image_is_told_with_those_there_are() -> None:
    with pytest.raises(ClusterError, match="there is no image 'nonsense'; there are busybox, "):
        images.build("nonsense")


def test_those_that_are_missing_are_made_with_the_time_that_is_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    made = []
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(images, "build", made.append)
    images.build_missing()
    said = capsys.readouterr().err.splitlines()
    assert made == images.missing() == images.names()
    assert said[0].startswith(f"cluster: image 1 of {len(made)}: busybox … (")
    assert said[-1] == (
        f"cluster: image {len(made)} of {len(made)}: entrypoint … (a minute or less left)"
    )


def test_an_archive_says_what_is_in_it_and_how_it_starts(tmp_path: Path) -> None:
    files = archive.Files({"/bin/app": b"text"}, {"/app": "bin/app"}, ("/tmp",))
    one = archive.layer(files, tmp_path / "layer")
    start = archive.Start(["/bin/app"], environment={"A": "b=c"}, user="7")
    archive.image("example.test/app:1", [one], start, tmp_path / "image.tar")
    with tarfile.open(tmp_path / "image.tar") as whole:

        def blob(digest: str) -> bytes:
            file = whole.extractfile("blobs/" + digest.replace(":", "/"))
            assert file is not None
            return file.read()

        index = whole.extractfile("index.json")
        assert index is not None
        described = json.loads(index.read())["manifests"][0]
        assert described["annotations"]["io.containerd.image.name"] == "example.test/app:1"
        manifest = json.loads(blob(described["digest"]))
        config = json.loads(blob(manifest["config"]["digest"]))
        layer = tmp_path / "back"
        layer.write_bytes(blob(manifest["layers"][0]["digest"]))
    assert config["rootfs"]["diff_ids"] == [one.diff_id]
    assert config["config"]["User"] == "7"
    assert "A=b=c" in config["config"]["Env"]
    with tarfile.open(layer) as tar:
        modes = {about.name: about.mode for about in tar}
        assert (modes["tmp"], modes["bin/app"]) == (0o1777, 0o755)
        assert tar.getmember("app").linkname == "bin/app"
    assert not list(tmp_path.glob(".*")), "a half-written file stays"
