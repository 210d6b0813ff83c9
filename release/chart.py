"""The chart as an archive, the same bytes each time; `helm package` writes the time of day into it."""

import gzip
import io
import re
import tarfile
from pathlib import Path

from release.source import Source


def pack_chart(source: Source, out: Path) -> Path:
    """A chart archive (helm.sh/docs/topics/charts) whose versions are those of the release."""
    made = out / f"stagedoor-chart-{source.version}.tgz"
    folder = source.folder / "deploy/chart"
    with (
        made.open("wb") as raw,
        gzip.GzipFile("", "wb", 9, raw, mtime=0) as squeezed,
        tarfile.open(fileobj=squeezed, mode="w", format=tarfile.USTAR_FORMAT) as archive,
    ):
        for file in sorted(one for one in folder.rglob("*") if one.is_file()):
            data = file.read_bytes()
            if file.name == "Chart.yaml" and file.parent == folder:
                data = with_version(data.decode("utf-8"), source.version).encode()
            about = tarfile.TarInfo(f"stagedoor/{file.relative_to(folder)}")
            about.size, about.mtime, about.mode = len(data), source.epoch, 0o644
            archive.addfile(about, io.BytesIO(data))
    return made


def with_version(text: str, version: str) -> str:
    """Chart.yaml with this version of the chart and of the app."""
    text = re.sub(r"^version: .*$", f"version: {semantic(version)}", text, flags=re.MULTILINE)
    return re.sub(r"^appVersion: .*$", f'appVersion: "{version}"', text, flags=re.MULTILINE)


def semantic(version: str) -> str:
    """A version by PEP 440 in the form of Semantic Versioning, which Helm demands: 0.2.0rc1 is 0.2.0-rc1."""
    return re.sub(r"\.?(a|b|rc|dev)(?=\d)", r"-\1", version, count=1)
