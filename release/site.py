"""The documentation's site as a folder that can be read offline."""

import shutil
from pathlib import Path

from release.archives import files_of, write_tar_gz
from release.source import Source
from release.steps import run


def build_site(source: Source, work: Path) -> Path:
    """Build the site by script/docs, in its own environment from uv.lock. Raises ReleaseError."""
    folder = work / "site"
    run(source, [source.folder / "script/docs", "--out", folder], says=True)
    installed = source.folder / ".venv-docs/lib"
    [licence] = installed.glob("*/site-packages/mkdocs_material-*.dist-info/licenses/LICENSE")
    shutil.copyfile(
        licence, folder / "assets/LICENSE"
    )  # of the theme, whose scripts are in the site
    return folder


def pack_site(source: Source, site: Path, out: Path) -> Path:
    """Write the site's archive and return its path."""
    name = f"stagedoor-docs-{source.version}"
    files = ((f"{name}/{file}", content) for file, content in files_of(site))
    return write_tar_gz(out / f"{name}.tar.gz", files, source.epoch)
