"""`script/release`: builds all files of a release from a clean clone."""

import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import click

from release import chart, deb, images, site, sums
from release.distributions import (
    Distributions,
    Platform,
    build_distributions,
    install_packages,
    lock_requirements,
)
from release.sbom import write_sbom
from release.source import ReleaseError, Source, take_source
from release.steps import run

ROOT = Path(__file__).resolve().parent.parent
WRITE_CLIENTS = """\
import sys
from pathlib import Path
from stagedoor.laptop.onefile import build_client_file
from stagedoor.laptop.tunnel.onefile import build_tunnel_file
Path(sys.argv[1]).write_bytes(build_tunnel_file())
Path(sys.argv[2]).write_bytes(build_client_file())
"""
KINDS = ("python", "client", "deb", "chart", "image", "kit", "site", "sbom")


@dataclass
class ReleaseBuild:
    """One build of a release. Each method named in `KINDS` writes its files into `out`.

    `not_built` has a line for each file that this machine cannot build. All methods raise ReleaseError.
    """

    source: Source
    work: Path
    out: Path
    architectures: Sequence[str]

    def __post_init__(self) -> None:
        self.not_built: list[str] = []

    @cached_property
    def distributions(self) -> Distributions:
        """The sdist and the wheel, built at the first use."""
        folder = self.work / "distributions"
        folder.mkdir()
        return build_distributions(self.source, self.work, folder)

    @cached_property
    def requirements(self) -> Path:
        """The file of locked requirements, written at the first use."""
        return lock_requirements(self.source, self.work / "requirements.txt")

    def python(self) -> None:
        """Write the sdist, the wheel and the requirements."""
        for file in (self.distributions.sdist, self.distributions.wheel):
            shutil.copy(file, self.out)
        name = f"stagedoor-{self.source.version}-requirements.txt"
        shutil.copy(self.requirements, self.out / name)

    def client(self) -> None:
        """Write the one-file clients, each with its checksum in a file beside it."""
        tunnel = self.out / f"stagedoor-tunnel-{self.source.version}.py"
        client = self.out / f"stagedoor-client-{self.source.version}.py"
        run(self.source, [sys.executable, "-c", WRITE_CLIENTS, str(tunnel), str(client)])
        for file in (tunnel, client):
            file.chmod(0o755)
            checksum = file.with_name(f"{file.name}.sha256")
            checksum.write_text(f"{sums.digest(file)}  {file.name}\n", "ascii")

    def deb(self) -> None:
        """Write a Debian package for each release of Debian and architecture."""
        if reason := images.missing("dpkg-deb"):
            self.not_built.append(f"deb: {reason}")
            return
        for release in deb.RELEASES:
            for architecture in self.architectures:
                _say(f"Debian {release.number}, {architecture}")
                deb.build_deb(
                    self.source, self.distributions.wheel, self.requirements, release, architecture,
                    self.work, self.out,
                )  # fmt: skip

    def chart(self) -> None:
        """Write the chart as an archive and as an OCI artifact."""
        archive = chart.pack_chart(self.source, self.out)
        chart.pack_artifact(self.source, archive, self.out)

    def image(self) -> None:
        """Write the gateway's image for each architecture."""
        for architecture in self._where("image", images.why_not_gateway):
            images.build_gateway(self.source, architecture, self.out)

    def kit(self) -> None:
        """Write the kit's image, its bill of materials and the package of its program."""
        for architecture in self._where("kit", images.why_not_kit):
            tree = images.build_kit(self.source, architecture, self.work, self.out)
            deb.build_shell_deb(self.source, tree, architecture, self.work, self.out)

    def site(self) -> None:
        """Write the documentation's site as an archive."""
        site.pack_site(self.source, site.build_site(self.source, self.work), self.out)

    def sbom(self) -> None:
        """Write the bill of materials of the wheel with all extras on Python 3.11.

        Debian packages and images have their own.
        """
        packages = self.work / "packages"
        first = deb.RELEASES[0]
        platform = Platform(first.python, "x86_64", first.glibc)
        install_packages(
            self.source, self.distributions.wheel, self.requirements, platform, packages
        )
        write_sbom(self.source, self.out / f"stagedoor-{self.source.version}.cdx.json", packages)

    def _where(self, kind: str, why_not: Callable[[str], str | None]) -> Iterator[str]:
        for architecture in self.architectures:
            if reason := why_not(architecture):
                self.not_built.append(f"{kind} for {architecture}: {reason}")
            else:
                _say(f"{kind}, {architecture}")
                yield architecture


def make(
    source: Source, kinds: Sequence[str], architectures: Sequence[str], work: Path, out: Path
) -> ReleaseBuild:
    """Write the files of `kinds` into `out`, which must be empty. Raises ReleaseError."""
    build = ReleaseBuild(source, work, out, architectures)
    for kind in KINDS:
        if kind in kinds:
            _say(kind)
            getattr(build, kind)()
    shutil.copy(source.folder / "LICENSE", out)
    shutil.copy(source.folder / "docs/reference/licences.md", out / "LICENCES.md")
    sums.write_sums(out)
    return build


@click.command(
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog="\b\nExamples:\n  script/release\n  script/release --sign ~/.ssh/release\n"
    "  script/release --check --only python --only deb --arch amd64\n\n"
    "\b\nExit codes:\n  0  made; with --check: twice the same\n"
    "  1  it failed, or the two builds differ",
)
@click.option(
    "--out",
    type=click.Path(file_okay=False, path_type=Path),
    default=ROOT / "dist/release",
    show_default="dist/release",
    help="Where everything goes. An earlier release there is deleted.",
)
@click.option(
    "--only",
    multiple=True,
    type=click.Choice(KINDS),
    help="Make this alone; several times for more.",
)
@click.option(
    "--arch",
    "architectures",
    multiple=True,
    type=click.Choice(list(deb.MACHINES)),
    help="Make packages and images for this alone. Default: all.",
)
@click.option(
    "--sign", type=click.Path(path_type=Path), metavar="KEY", help="SSH key that signs SHA256SUMS."
)
@click.option(
    "--dirty", is_flag=True, help="Take what is not committed too; the version ends in +dirty."
)
@click.option("--check", is_flag=True, help="Build twice and name what differs; nothing is kept.")
def release(
    out: Path,
    only: tuple[str, ...],
    architectures: tuple[str, ...],
    sign: Path | None,
    dirty: bool,
    check: bool,
) -> None:
    """Make what a release hands out: sdist, wheel, client, Debian packages, images, chart, site, lists.

    It takes the last commit, not the files here. See docs/contributing/release.md.
    """
    os.umask(0o022)
    chosen = (only or KINDS, architectures or tuple(deb.MACHINES))
    if check:
        _check(*chosen, dirty=dirty)
        return
    if out.exists() and list(out.iterdir()) and not (out / sums.SUMS).exists():
        raise ReleaseError(f"{out} holds something else than a release: name another folder")
    with tempfile.TemporaryDirectory(prefix="stagedoor-release-") as work:
        source = take_source(ROOT, Path(work) / "source", dirty=dirty)
        shutil.rmtree(out, ignore_errors=True)
        out.mkdir(parents=True)
        build = make(source, *chosen, Path(work), out)
    if sign is not None:
        sums.sign(out / sums.SUMS, sign)
    for file in sorted(out.iterdir()):
        print(f"{file.stat().st_size / 1e6:8.2f} MB  {file.name}")
    for line in build.not_built:
        print(f"not built: {line}")
    if sign is None:
        print("not signed: --sign KEY signs SHA256SUMS")


def _check(kinds: Sequence[str], architectures: Sequence[str], *, dirty: bool) -> None:
    with tempfile.TemporaryDirectory(prefix="stagedoor-release-") as folder:
        one, other, works = (Path(folder) / name for name in ("one", "other", "work"))
        original = take_source(ROOT, works / "1/source", dirty=dirty)
        elsewhere = works / "second/another-name"
        shutil.copytree(original.folder, elsewhere, symlinks=True)
        for source, out in ((original, one), (replace(original, folder=elsewhere), other)):
            out.mkdir()
            build = make(source, kinds, architectures, source.folder.parent, out)
        differing = [name for name in sums.differing(one, other) if name != sums.SUMS]
        same = sorted(file.name for file in one.iterdir() if file.name not in differing)
    for name in same:
        print(f"same:    {name}")
    for name in differing:
        print(f"differs: {name}")
    for line in build.not_built:
        print(f"not built: {line}")
    if differing:
        raise ReleaseError(f"{len(differing)} files differ between two builds of one commit")


def _say(text: str) -> None:
    print(f"==> {text}", file=sys.stderr, flush=True)


def main() -> None:
    """Run the command line; report a ReleaseError in one line on stderr, with exit code 1."""
    try:
        release.main(prog_name="script/release", standalone_mode=False)
    except ReleaseError as error:
        print(f"stagedoor: {error}", file=sys.stderr)
        sys.exit(1)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)


if __name__ == "__main__":
    main()
