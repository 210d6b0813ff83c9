"""Debian packages with a Python environment under /opt, the systemd unit and man pages.

docs/decisions/0037-deb.md has the reasons.
"""

import gzip
import hashlib
import os
import re
import shutil
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from release.distributions import Platform, install_packages
from release.sbom import write_sbom
from release.source import Source
from release.steps import run

HOME = "opt/stagedoor"
MACHINES = {"amd64": "x86_64", "arm64": "aarch64"}
"""The architectures, by Debian's name, with the name that wheels use."""
SHELLS = {
    "bash": "usr/share/bash-completion/completions/stagedoor",
    "zsh": "usr/share/zsh/vendor-completions/_stagedoor",
    "fish": "usr/share/fish/vendor_completions.d/stagedoor.fish",
}
SHELL = "stagedoor-shell"
"""The package for the SSH servers in `[[shells.static]]`."""
SCRIPTS = ("preinst", "postinst", "prerm", "postrm")
SHELL_SCRIPTS = ("postinst", "prerm")
PROGRAM = f"""\
#!/{HOME}/bin/python3
from stagedoor.cli.main import main

main()
"""
MAINTAINER = "Stagedoor <stagedoor@localhost>"
"""The maintainer that Debian demands; DEBEMAIL names another, as for Debian's own tools."""


@dataclass(frozen=True)
class Release:
    """A release of Debian."""

    number: int
    python: str
    glibc: str


RELEASES = (Release(12, "3.11", "2_36"), Release(13, "3.13", "2_40"))
"""The supported releases. Debian 13 has glibc 2.41, but wheels are tagged up to 2.40 so far."""


def debian_version(version: str, release: Release) -> str:
    """Return the Debian version of a PEP 440 version.

    A pre-release sorts before its release, and Debian 13's package after Debian 12's.
    """
    return f"{_debian_version(version)}+deb{release.number}"


def _debian_version(version: str) -> str:
    return re.sub(r"\.?(a|b|rc|dev)(?=\d)", r"~\1", version).replace("~dev", "~~dev")


def build_deb(
    source: Source, wheel: Path, requirements: Path, release: Release, architecture: str,
    work: Path, out: Path,
) -> Path:  # fmt: skip
    """Build the Debian package of a wheel in `out` and return its path. Raises ReleaseError."""
    tree = work / f"deb{release.number}-{architecture}"
    platform = Platform(release.python, MACHINES[architecture], release.glibc)
    packages = tree / HOME / f"lib/python{release.python}/site-packages"
    install_packages(source, wheel, requirements, platform, packages)
    _add_environment(tree, release)
    _add_service(source, tree)
    _add_help(source, tree, work)
    write_sbom(source, tree / "usr/share/doc/stagedoor/sbom.cdx.json", packages)
    add_control(source, tree, release, architecture)
    package = pack(source, tree, out / deb_name(source.version, release, architecture))
    shutil.rmtree(tree)
    return package


def build_shell_deb(source: Source, kit: Path, architecture: str, work: Path, out: Path) -> Path:
    """Build the package for servers that are no pods, of the tree of the kit. Raises ReleaseError."""
    tree = work / f"shell-{architecture}"
    folder = tree / "usr/lib" / SHELL
    _write(folder / "kit", (kit / "bin/kit").read_bytes())
    (folder / "kit").chmod(0o755)
    for name in ("hold", "tunnels"):
        _link(folder / name, "kit")
    unit = "stagedoor-tunnels@.service"
    _write(
        tree / "usr/lib/systemd/system" / unit, (source.folder / "deploy" / unit).read_text("utf-8")
    )
    licences = (source.folder / "LICENSE", kit / "share/doc/musl-dev/copyright")
    text = "\n".join(licence.read_text("utf-8") for licence in licences)
    _write(tree / "usr/share/doc" / SHELL / "copyright", text)
    fields = {
        "Package": SHELL,
        "Version": _debian_version(source.version),
        "Architecture": architecture,
        "Suggests": "openssh-server",
        "Description": "terminals and tunnels on an SSH server behind Stagedoor\n"
        " Keeps terminals of the WebShell while their clients are away, and tunnels while\n"
        " the gateway is. One static program.",
    }
    _add_fields(tree, fields)
    _add_scripts(source.folder / "deploy/deb/shell", SHELL_SCRIPTS, tree)
    package = pack(source, tree, out / f"{SHELL}_{fields['Version']}_{architecture}.deb")
    shutil.rmtree(tree)
    return package


def deb_name(version: str, release: Release, architecture: str) -> str:
    """Return the name of a package's file."""
    return f"stagedoor_{debian_version(version, release)}_{architecture}.deb"


def pack(source: Source, tree: Path, target: Path) -> Path:
    """Write a reproducible package of a tree (deb(5)) and return `target`. Raises ReleaseError."""
    settle(tree, source.epoch)
    # One thread, as the output depends on their number. xz would take half a minute to save 4 MB.
    options = ("--root-owner-group", "--threads-max=1", "-Zzstd", "-z10")
    run(source, ["dpkg-deb", *options, "--build", tree, target])
    return target


def _add_environment(tree: Path, release: Release) -> None:
    """Add the files that `python3 -m venv` makes, except pip (PEP 405)."""
    programs = tree / HOME / "bin"
    programs.mkdir()
    (programs / "python3").symlink_to(f"/usr/bin/python{release.python}")
    (programs / "stagedoor").write_text(PROGRAM, "utf-8")
    (programs / "stagedoor").chmod(0o755)
    (tree / HOME / "pyvenv.cfg").write_text(
        f"home = /usr/bin\ninclude-system-site-packages = false\nversion = {release.python}\n",
        "utf-8",
    )
    _link(tree / "usr/bin/stagedoor", f"/{HOME}/bin/stagedoor")


def _add_service(source: Source, tree: Path) -> None:
    for name in ("stagedoor.service", "stagedoor-resume.service"):
        unit = (source.folder / "deploy" / name).read_text("utf-8")
        # Without its first lines, which are about an installation by hand.
        _write(tree / "usr/lib/systemd/system" / name, unit[unit.index("[Unit]") :])
    example = (source.folder / "deploy/deb/stagedoor.toml").read_text("utf-8")
    _write(tree / "usr/share/stagedoor/stagedoor.toml", example)
    (tree / "etc/stagedoor").mkdir(parents=True)


def _add_help(source: Source, tree: Path, work: Path) -> None:
    manual = work / "manual"
    if not manual.exists():
        run(source, [sys.executable, "-m", "release.manual", manual])
    for page in manual.iterdir():
        _write(tree / f"usr/share/man/man1/{page.name}.gz", page.read_bytes())
    for shell, place in SHELLS.items():
        script = run(source, [sys.executable, "-m", "stagedoor", "completion", shell])
        _write(tree / place, script)
    about = tree / "usr/share/doc/stagedoor"
    _write(about / "changelog.gz", (source.folder / "CHANGELOG.md").read_bytes())
    licence = (source.folder / "LICENSE").read_text("utf-8")
    others = (source.folder / "docs/reference/licences.md").read_text("utf-8")
    _write(about / "copyright", f"{others}\n{licence}")
    shutil.copy(source.folder / "README.md", about)
    shutil.copytree(source.folder / "docs", about / "docs")


def add_control(source: Source, tree: Path, release: Release, architecture: str) -> None:
    """Write the fields, checksums and scripts that dpkg reads (deb-control(5), deb-md5sums(5))."""
    major, _, minor = release.python.partition(".")
    fields = {
        "Package": "stagedoor",
        "Version": debian_version(source.version, release),
        "Architecture": architecture,
        "Depends": f"python3 (>= {release.python}~), python3 (<< {major}.{int(minor) + 1}~), "
        f"libc6 (>= {release.glibc.replace('_', '.')}), libgcc-s1, adduser, init-system-helpers",
        "Recommends": "openssh-client",
        "Description": "gateway to shells of a PaaS's apps, for plain OpenSSH and browsers\n"
        " Developers log in to a shell of their app through HTTP CONNECT, an SSH jump\n"
        " host, direct login or a terminal in the browser. Grants say who may enter,\n"
        " and the audit says who did.",
    }
    _add_fields(tree, fields)
    _add_scripts(source.folder / "deploy/deb", SCRIPTS, tree)


def _add_scripts(folder: Path, names: Sequence[str], tree: Path) -> None:
    """Add the scripts that dpkg runs."""
    for name in names:
        shutil.copy(folder / name, tree / "DEBIAN" / name)
        (tree / "DEBIAN" / name).chmod(0o755)


def _add_fields(tree: Path, fields: dict[str, str]) -> None:
    """Write the fields and checksums that dpkg reads. The description must be the last field."""
    size = sum(file.stat().st_size for file in _files(tree)) // 1024
    fields = {
        "Maintainer": os.environ.get("DEBEMAIL", MAINTAINER),
        "Installed-Size": str(size),
        "Section": "net",
        "Priority": "optional",
        **fields,
    }
    _write(tree / "DEBIAN/control", "".join(f"{k}: {v}\n" for k, v in fields.items()))
    sums = [
        f"{hashlib.md5(file.read_bytes(), usedforsecurity=False).hexdigest()}  {file.relative_to(tree)}\n"
        for file in _files(tree)
        if file.relative_to(tree).parts[0] != "DEBIAN"
    ]
    _write(tree / "DEBIAN/md5sums", "".join(sums))


def settle(tree: Path, epoch: int) -> None:
    """Set modes and times that do not depend on the machine; `epoch` is in seconds."""
    for path in (tree, *tree.rglob("*")):
        if not path.is_symlink():
            executable = path.is_dir() or path.stat().st_mode & 0o100
            path.chmod(0o755 if executable else 0o644)
        os.utime(path, (epoch, epoch), follow_symlinks=False)


def _files(tree: Path) -> Iterator[Path]:
    return (p for p in sorted(tree.rglob("*")) if p.is_file() and not p.is_symlink())


def _write(file: Path, content: str | bytes) -> None:
    data = content.encode() if isinstance(content, str) else content
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(gzip.compress(data, 9, mtime=0) if file.suffix == ".gz" else data)


def _link(link: Path, to: str) -> None:
    link.parent.mkdir(parents=True, exist_ok=True)
    link.symlink_to(to)
