"""The documentation's site, which is read from a folder without a network."""

import shutil
from pathlib import Path

from release.archives import files_of, write_tar_gz
from release.source import Source
from release.steps import run


def build_site(source: Source, work: Path) -> Path:
    """By script/docs, in an environment of its own that it makes by uv.lock."""
    folder = work / "site"
    run(source, [source.folder / "script/docs", "--out", folder], says=True)
    installed = source.folder / ".venv-docs/lib"
    [licence] = installed.glob("*/site-packages/mkdocs_material-*.dist-info/licenses/LICENSE")
    shutil.copyfile(licence, folder / "assets/LICENSE")  # the theme's; its scripts are in the site
    return folder


def pack_site(source: Source, site: Path, out: Path) -> Path:
    name = f"stagedoor-docs-{source.version}"
    files = ((f"{name}/{file}", content) for file, content in files_of(site))
    return write_tar_gz(out / f"{name}.tar.gz", files, source.epoch)
