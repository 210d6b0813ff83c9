"""The chart as a reproducible archive and OCI artifact.

`helm package` and `helm push` write the current time into theirs.
"""

import hashlib
import json
import re
import tarfile
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import yaml  # type: ignore[import-untyped]

from release.archives import add_file, files_of, write_tar_gz
from release.source import Source

MANIFEST_TYPE = "application/vnd.oci.image.manifest.v1+json"
CONFIG_TYPE = "application/vnd.cncf.helm.config.v1+json"
CHART_TYPE = "application/vnd.cncf.helm.chart.content.v1.tar+gzip"
"""https://helm.sh/docs/topics/registries/#helm-chart-manifest"""
_NAMED = "org.opencontainers.image"


def pack_chart(source: Source, out: Path) -> Path:
    """Write a chart archive (helm.sh/docs/topics/charts) with the version of the release; return its path."""
    folder = source.folder / "deploy/chart"

    def files() -> Iterator[tuple[str, bytes]]:
        for name, content in files_of(folder):
            if name == "Chart.yaml":
                content = with_version(content.decode("utf-8"), source.version).encode()
            yield f"stagedoor/{name}", content

    target = out / f"stagedoor-chart-{source.version}.tgz"
    return write_tar_gz(target, files(), source.epoch)


def pack_artifact(source: Source, chart: Path, out: Path) -> Path:
    """Write the artifact that `helm push` makes of the archive, as a tar of an OCI layout (image-layout.md).

    Return its path.
    """
    with tarfile.open(chart) as archive:
        description = archive.extractfile("stagedoor/Chart.yaml")
        assert description is not None, "pack_chart has put it there"
        about = yaml.safe_load(description)
    tag = about["version"].replace("+", "_")  # as Helm does: a tag has no +
    blobs: dict[str, bytes] = {}

    def add_blob(media_type: str, content: bytes) -> dict[str, object]:
        digest = hashlib.sha256(content).hexdigest()
        blobs[digest] = content
        return {"mediaType": media_type, "digest": f"sha256:{digest}", "size": len(content)}

    manifest = {
        "schemaVersion": 2,
        "mediaType": MANIFEST_TYPE,
        "config": add_blob(CONFIG_TYPE, _as_json(about)),
        "layers": [add_blob(CHART_TYPE, chart.read_bytes())],
        "annotations": {
            f"{_NAMED}.created": datetime.fromtimestamp(source.epoch, UTC).isoformat(),
            f"{_NAMED}.description": about["description"],
            f"{_NAMED}.title": about["name"],
            f"{_NAMED}.version": about["version"],
        },
    }
    descriptor = add_blob(MANIFEST_TYPE, _as_json(manifest))
    descriptor["annotations"] = {f"{_NAMED}.ref.name": tag}
    files = {f"blobs/sha256/{digest}": content for digest, content in sorted(blobs.items())}
    files["index.json"] = _as_json({"schemaVersion": 2, "manifests": [descriptor]})
    files["oci-layout"] = _as_json({"imageLayoutVersion": "1.0.0"})
    target = out / f"stagedoor-chart-{source.version}.oci.tar"
    with tarfile.open(target, "w", format=tarfile.USTAR_FORMAT) as layout:
        for name, content in files.items():
            add_file(layout, name, content, source.epoch)
    return target


def _as_json(value: object) -> bytes:
    return json.dumps(value, separators=(",", ":"), sort_keys=True).encode()


def with_version(text: str, version: str) -> str:
    """Return the text of Chart.yaml with this version of the chart and of the app."""
    text = re.sub(r"^version: .*$", f"version: {semantic(version)}", text, flags=re.MULTILINE)
    return re.sub(r"^appVersion: .*$", f'appVersion: "{version}"', text, flags=re.MULTILINE)


def semantic(version: str) -> str:
    """Return a PEP 440 version as a Semantic Version, which Helm demands: 0.2.0rc1 becomes 0.2.0-rc1."""
    return re.sub(r"\.?(a|b|rc|dev)(?=\d)", r"-\1", version, count=1)
