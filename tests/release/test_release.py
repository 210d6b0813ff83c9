"""The parts of `script/release`, each alone; `script/release --check` builds everything twice."""

import hashlib
import json
import os
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import tomllib
from importlib.metadata import distributions
from itertools import pairwise
from pathlib import Path
from typing import Any

import click
import pytest

from release import chart, deb, manual, sbom, site, sums
from release.__main__ import ReleaseBuild
from release.source import ReleaseError, Source, take_source, version_in
from stagedoor import __version__
from stagedoor.cli.app import stagedoor

ROOT = Path(__file__).resolve().parents[2]
EPOCH = 1_800_000_000
HERE = Source(ROOT, __version__, "0123456789ab", EPOCH)


def git(folder: Path, *words: str) -> str:
    named = ("-c", "user.name=T", "-c", "user.email=t@example")
    return subprocess.check_output(["git", *named, *words], cwd=folder, text=True)


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    folder = tmp_path / "checkout"
    (folder / "src/stagedoor").mkdir(parents=True)
    (folder / "src/stagedoor/__init__.py").write_text('__version__ = "1.2.3"\n')
    (folder / "gone").write_text("1")
    git(folder, "init", "-q")
    git(folder, "add", ".")
    git(folder, "commit", "-q", "-m", "one")
    return folder


def test_a_release_is_made_of_what_is_committed(checkout: Path, tmp_path: Path) -> None:
    made = take_source(checkout, tmp_path / "made", dirty=False)
    assert made.version == "1.2.3"
    assert made.commit == git(checkout, "rev-parse", "--short=12", "HEAD").strip()
    assert made.epoch == int(git(checkout, "log", "-1", "--format=%ct"))


def test_what_is_not_committed_is_refused_or_marked(checkout: Path, tmp_path: Path) -> None:
    (checkout / "gone").unlink()
    (checkout / "new").write_text("2")
    with pytest.raises(ReleaseError, match=r"2 changes .* gone among them: .*--dirty"):
        take_source(checkout, tmp_path / "refused", dirty=False)
    made = take_source(checkout, tmp_path / "made", dirty=True)
    assert made.version == "1.2.3+dirty"
    assert made.commit.endswith("-dirty")
    assert (made.folder / "new").read_text() == "2"
    assert not (made.folder / "gone").exists()


def test_the_chart_has_the_version_of_the_code() -> None:
    text = (ROOT / "deploy/chart/Chart.yaml").read_text("utf-8")
    assert chart.with_version(text, __version__) == text
    assert version_in(ROOT) == __version__
    assert chart.semantic("0.2.0rc1") == "0.2.0-rc1"


def test_the_chart_is_the_same_each_time(tmp_path: Path) -> None:
    copy = tmp_path / "copy/deploy/chart"
    shutil.copytree(ROOT / "deploy/chart", copy, copy_function=shutil.copyfile)
    made = [
        chart.pack_chart(Source(folder, "1.2.3", "", EPOCH), where)
        for folder, where in ((ROOT, tmp_path), (tmp_path / "copy", tmp_path / "copy"))
    ]
    assert made[0].read_bytes() == made[1].read_bytes()
    with tarfile.open(made[0]) as archive:
        described = archive.extractfile("stagedoor/Chart.yaml")
        assert described is not None
        assert b"\nversion: 1.2.3\n" in described.read()
        assert {"stagedoor/values.yaml", "stagedoor/README.md"} <= set(archive.getnames())


def test_the_chart_s_artifact_is_what_helm_pushes(tmp_path: Path) -> None:
    """As in helm.sh/docs/topics/registries, with every digest and size right; and the same each time."""
    source = Source(ROOT, "1.2.3+dirty", "", EPOCH)
    archive = chart.pack_chart(source, tmp_path)
    made = chart.pack_artifact(source, archive, tmp_path)
    first = made.read_bytes()
    assert chart.pack_artifact(source, archive, tmp_path).read_bytes() == first
    with tarfile.open(made) as layout:
        files = {entry.name: layout.extractfile(entry).read() for entry in layout}  # type: ignore[union-attr]

    def blob(described: dict[str, Any]) -> bytes:
        content = files[f"blobs/{described['digest'].replace(':', '/')}"]
        assert hashlib.sha256(content).hexdigest() == described["digest"].partition(":")[2]
        assert len(content) == described["size"]
        return content

    [named] = json.loads(files["index.json"])["manifests"]
    assert named["annotations"]["org.opencontainers.image.ref.name"] == "1.2.3_dirty"
    manifest = json.loads(blob(named))
    [layer] = manifest["layers"]
    assert blob(layer) == archive.read_bytes()
    config = json.loads(blob(manifest["config"]))
    assert (config["name"], config["version"]) == ("stagedoor", "1.2.3+dirty")
    assert (manifest["config"]["mediaType"], layer["mediaType"]) == (
        "application/vnd.cncf.helm.config.v1+json",
        "application/vnd.cncf.helm.chart.content.v1.tar+gzip",
    )
    assert len(files) == 5


def test_the_site_is_the_same_each_time(tmp_path: Path) -> None:
    """The built site is the same; `script/release --check` builds it twice as well."""
    for folder in ("one", "other"):
        (tmp_path / folder / "site/zh").mkdir(parents=True)
        for name in ("zh/index.html", "index.html")[:: 1 if folder == "one" else -1]:
            (tmp_path / folder / "site" / name).write_text(name)
    made = [
        site.pack_site(
            Source(ROOT, "1.2.3", "", EPOCH), tmp_path / entry / "site", tmp_path / entry
        )
        for entry in ("one", "other")
    ]
    assert made[0].read_bytes() == made[1].read_bytes()
    with tarfile.open(made[0]) as archive:
        assert archive.getnames() == [
            f"stagedoor-docs-1.2.3/{name}" for name in ("index.html", "zh/index.html")
        ]
        assert {entry.mtime for entry in archive} == {EPOCH}


def test_the_client_is_two_files_with_their_hashes(tmp_path: Path) -> None:
    """As they are handed out, started by a Python that knows nothing of Stagedoor."""
    ReleaseBuild(Source(ROOT, "1.2.3", "", EPOCH), tmp_path, tmp_path, ()).client()
    for name, asked in (("client-1.2.3.py", "doctor"), ("tunnel-1.2.3.py", "")):
        file = tmp_path / f"stagedoor-{name}"
        check = ["sha256sum", "--check", f"{file.name}.sha256"]
        subprocess.run(check, cwd=tmp_path, check=True, capture_output=True)
        command = [sys.executable, "-I", "-S", file, *asked.split(), "--help"]
        done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=tmp_path)
        assert "--gateway" in done.stdout


def test_the_sums_are_checked_and_their_signature_too(tmp_path: Path) -> None:
    out, key = tmp_path / "out", tmp_path / "key"
    out.mkdir()
    (out / "a").write_text("a")
    sums.write_sums(out)
    new_key = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "", "-f", key]
    subprocess.run(new_key, check=True)
    sums.sign(out / sums.SUMS, key)
    allowed = tmp_path / "allowed_signers"
    allowed.write_text(f"release@example {key.with_suffix('.pub').read_text()}")

    def verify(namespace: str) -> int:
        named = ("-I", "release@example", "-n", namespace, "-s", f"{sums.SUMS}.sig")
        command = ["ssh-keygen", "-Y", "verify", "-f", allowed, *named]
        with (out / sums.SUMS).open() as text:
            return subprocess.run(command, cwd=out, stdin=text, capture_output=True).returncode

    check = ["sha256sum", "--check", "--strict", sums.SUMS]
    assert subprocess.run(check, cwd=out, capture_output=True).returncode == 0
    assert verify(sums.NAMESPACE) == 0
    assert verify("file") != 0
    (out / "a").write_text("b")
    assert subprocess.run(check, cwd=out, capture_output=True).returncode != 0
    sums.write_sums(out)
    assert verify(sums.NAMESPACE) != 0
    with pytest.raises(ReleaseError, match="the signature failed"):
        sums.sign(out / sums.SUMS, tmp_path / "none")


def test_what_differs_is_named(tmp_path: Path) -> None:
    for folder, content in (("one", "1"), ("other", "2")):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "same").write_text("=")
        (tmp_path / folder / "differs").write_text(content)
    (tmp_path / "one/alone").touch()
    assert sums.differing(tmp_path / "one", tmp_path / "other") == ["alone", "differs"]


def needed(extras: tuple[str, ...] = ("kubernetes", "otel", "postgresql")) -> dict[str, str]:
    """Name and version of everything that the lock brings with these extras on Linux."""
    lock = tomllib.loads((ROOT / "uv.lock").read_text("utf-8"))
    packages = {entry["name"]: entry for entry in lock["package"]}
    found: dict[str, str] = {}
    waiting = [("stagedoor", extras)]
    while waiting:
        name, wanted = waiting.pop()
        package = packages[name]
        found[name] = package["version"] if name != "stagedoor" else ""
        optional = package.get("optional-dependencies", {})
        for entry in (
            *package.get("dependencies", ()),
            *(d for e in wanted for d in optional.get(e, ())),
        ):
            if entry["name"] not in found or entry.get("extra"):
                waiting += [(entry["name"], tuple(entry.get("extra", ())))]
    return {name: version for name, version in found.items() if version}


def test_the_bill_of_materials_is_the_locks_and_the_pages(tmp_path: Path) -> None:
    environment = Path(sysconfig.get_path("purelib"))
    made = []
    for name in ("one", "other"):
        sbom.write_sbom(HERE, tmp_path / name, environment)
        made.append((tmp_path / name).read_bytes())
    assert made[0] == made[1], "no time of day, no random number"
    document = json.loads(made[0])
    assert (document["bomFormat"], document["specVersion"]) == ("CycloneDX", "1.5")
    python = {c["name"]: c for c in document["components"] if c["purl"].startswith("pkg:pypi/")}
    here = {sbom.normal(entry.name) for entry in distributions()}
    locked = {name: version for name, version in needed().items() if name in here}
    assert {name: entry["version"] for name, entry in python.items()} == locked
    assert {"psycopg", "pyyaml", "cryptography"} <= python.keys()
    assert all(entry["externalReferences"][0]["hashes"] for entry in python.values())
    assert not [c["name"] for c in document["components"] if "not stated" in str(c["licenses"])]
    page = {c["name"] for c in document["components"] if c["purl"].startswith("pkg:npm/")}
    lock = json.loads((ROOT / "web/package-lock.json").read_text("utf-8"))["packages"]
    assert page == {
        n.removeprefix("node_modules/") for n, p in lock.items() if n and not p.get("dev")
    }
    references = {c["bom-ref"] for c in document["components"]} | {"stagedoor-1"}
    assert {ref for entry in document["dependencies"] for ref in entry["dependsOn"]} <= references


def test_every_command_has_a_manual_page() -> None:
    pages = manual.pages("2026-11-28")
    names = {f"stagedoor-{name}.1" for name in stagedoor.list_commands(click.Context(stagedoor))}
    assert pages.keys() == names | {"stagedoor.1"}
    for name, text in pages.items():
        assert text.startswith(".TH STAGEDOOR"), name
        assert text.isascii(), name
        assert "\b" not in text, name
    assert "STAGEDOOR GRANT ADD" in pages["stagedoor-grant.1"]
    assert "\\-\\-expires" in pages["stagedoor-grant.1"]


@pytest.mark.skipif(shutil.which("groff") is None, reason="needs groff")
def test_roff_has_nothing_against_the_manual_pages(tmp_path: Path) -> None:
    for name, text in manual.pages("2026-11-28").items():
        command = ["groff", "-man", "-Tutf8", "-ww", "-z"]
        done = subprocess.run(command, input=text, capture_output=True, text=True)
        assert (done.returncode, done.stderr) == (0, ""), name


TREE = {"opt/stagedoor/bin/stagedoor": 0o700, "usr/share/doc/stagedoor/README.md": 0o640}


def small_deb(folder: Path, release: deb.Release) -> Path:
    """A package with our fields and scripts, of two files instead of two thousand."""
    tree = folder / "tree"
    for name, mode in TREE.items():
        (tree / name).parent.mkdir(parents=True)
        (tree / name).write_text(name)
        (tree / name).chmod(mode)
    deb.add_control(HERE, tree, release, "arm64")
    return deb.pack(HERE, tree, folder / deb.deb_name(__version__, release, "arm64"))


@pytest.mark.skipif(shutil.which("dpkg-deb") is None, reason="needs dpkg")
@pytest.mark.parametrize("release", deb.RELEASES, ids=lambda entry: str(entry.number))
def test_a_package_says_for_which_debian_it_is(release: deb.Release, tmp_path: Path) -> None:
    file = small_deb(tmp_path, release)
    assert file.name == f"stagedoor_{__version__}+deb{release.number}_arm64.deb"
    fields = dict(
        line.split(": ", 1)
        for line in subprocess.check_output(["dpkg-deb", "-f", file], text=True).splitlines()
        if not line.startswith(" ")
    )
    assert fields["Package"] == "stagedoor"
    assert fields["Architecture"] == "arm64"
    assert f"python3 (>= {release.python}~)" in fields["Depends"]
    listed = subprocess.check_output(["dpkg-deb", "-c", file], text=True)
    assert all("root/root" in line for line in listed.splitlines())
    control = tmp_path / "control"
    subprocess.run(["dpkg-deb", "-e", file, control], check=True)
    assert {entry.name for entry in control.iterdir()} == {"control", "md5sums", *deb.SCRIPTS}
    for name in deb.SCRIPTS:
        assert subprocess.run(["sh", "-n", control / name]).returncode == 0
    for line in (control / "md5sums").read_text().splitlines():
        digest, _, name = line.partition("  ")
        assert hashlib.md5(name.encode()).hexdigest() == digest


@pytest.mark.skipif(shutil.which("dpkg-deb") is None, reason="needs dpkg")
def test_a_package_is_the_same_each_time(tmp_path: Path) -> None:
    made = []
    for name in ("one", "other"):
        (tmp_path / name).mkdir()
        made.append(small_deb(tmp_path / name, deb.RELEASES[0]).read_bytes())
    assert made[0] == made[1]


@pytest.mark.skipif(shutil.which("dpkg") is None, reason="needs dpkg")
def test_debian_sorts_versions_as_they_follow_each_other() -> None:
    twelve, thirteen = deb.RELEASES
    versions = [
        *(deb.debian_version(v, twelve) for v in ("0.2.0.dev1", "0.2.0a1", "0.2.0rc1", "0.2.0")),
        deb.debian_version("0.2.0", thirteen),
        deb.debian_version("0.2.1", twelve),
    ]
    for before, after in pairwise(versions):
        asked = ["dpkg", "--compare-versions", before, "lt", after]
        assert subprocess.run(asked).returncode == 0, (before, after)


@pytest.mark.skipif(shutil.which("dpkg-deb") is None, reason="needs dpkg")
def test_the_package_for_other_servers_has_the_program_its_names_and_a_unit(tmp_path: Path) -> None:
    kit = tmp_path / "kit"
    for name in ("bin/kit", "share/doc/musl-dev/copyright"):
        (kit / name).parent.mkdir(parents=True)
        (kit / name).write_text(name)
    file = deb.build_shell_deb(HERE, kit, "amd64", tmp_path, tmp_path)
    assert file.name == f"stagedoor-shell_{__version__}_amd64.deb"
    root = tmp_path / "root"
    subprocess.run(["dpkg-deb", "-x", file, root], check=True)
    for name in ("hold", "tunnels"):
        assert (root / "usr/lib/stagedoor-shell" / name).read_text() == "bin/kit"
    assert os.access(root / "usr/lib/stagedoor-shell/kit", os.X_OK)
    unit = (root / "usr/lib/systemd/system/stagedoor-tunnels@.service").read_text()
    assert "ExecStart=/usr/lib/stagedoor-shell/tunnels 2223 22\n" in unit
    sandbox = (ROOT / "deploy/stagedoor-resume.service").read_text()
    assert sandbox.partition("CapabilityBoundingSet")[2] in unit, "as narrow as beside the gateway"
    control = tmp_path / "control"
    subprocess.run(["dpkg-deb", "-e", file, control], check=True)
    for name in deb.SHELL_SCRIPTS:
        assert os.access(control / name, os.X_OK), name


def test_the_unit_of_the_package_runs_what_the_package_holds() -> None:
    unit = (ROOT / "deploy/stagedoor.service").read_text("utf-8")
    assert f"ExecStart=/{deb.HOME}/bin/stagedoor --config /etc/stagedoor/stagedoor.toml" in unit
    beside = (ROOT / "deploy/stagedoor-resume.service").read_text("utf-8")
    assert f"ExecStart=/{deb.HOME}/bin/python3 -P -m stagedoor.resume --config " in beside
