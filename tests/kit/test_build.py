"""The build: pinned, licensed, listed, and the same each time; and it says what is wrong."""

import hashlib
import json
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.kit.conftest import COMMANDS, ROOT, SOURCE

pytestmark = pytest.mark.timeout(600)  # the first makes the images, and others wait for them

LOCK = [line.split() for line in (SOURCE / "lock").read_text().splitlines() if line[0] != "#"]
WANTED = {
    line.split()[0]: line.split()[1]
    for line in (SOURCE / "packages").read_text().splitlines()
    if line[0] != "#"
}


def build(source: Path, *options: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([source / "build", *options], capture_output=True, text=True)


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """A copy of deploy/kit to spoil, in a checkout of its own."""
    (tmp_path / "checkout/deploy").mkdir(parents=True)
    shutil.copy(ROOT / "LICENSE", tmp_path / "checkout")
    shutil.copytree(SOURCE, tmp_path / "checkout/deploy/kit")
    shutil.copytree(COMMANDS, tmp_path / "checkout" / COMMANDS.relative_to(ROOT))
    return tmp_path / "checkout/deploy/kit"


def change_lock(source: Path, package: str, column: int, value: str) -> None:
    """In every architecture's line."""
    lines = []
    for line in (source / "lock").read_text().splitlines():
        words = line.split()
        if words[1] == package:
            words[column] = value
        lines.append(" ".join(words))
    (source / "lock").write_text("\n".join(lines) + "\n")


@pytest.mark.parametrize("architecture", sorted({line[0] for line in LOCK}))
def test_every_package_is_locked_for(architecture: str) -> None:
    locked = {name: hash_ for arch, name, _, hash_ in LOCK if arch == architecture}
    assert locked.keys() == WANTED.keys()
    assert all(len(hash_) == 64 for hash_ in locked.values())


def test_the_list_of_contents_is_spdx(kit: Path) -> None:
    document = json.loads((kit / "share/doc/kit.spdx.json").read_text())
    assert document["spdxVersion"] == "SPDX-2.3"
    packages = {package["name"]: package for package in document["packages"]}
    assert packages.keys() == WANTED.keys() | {"stagedoor-kit"}
    ids = [package["SPDXID"] for package in document["packages"]]
    assert len(set(ids)) == len(ids)
    related = {r["relatedSpdxElement"]: r["relationshipType"] for r in document["relationships"]}
    assert related == {
        "SPDXRef-kit": "DESCRIBES",
        **{
            packages[name]["SPDXID"]: "STATIC_LINK" if role == "build" else "CONTAINS"
            for name, role in WANTED.items()
        },
    }
    for name in WANTED:
        assert packages[name]["versionInfo"]
        assert len(packages[name]["checksums"][0]["checksumValue"]) == 64
        assert packages[name]["externalRefs"][0]["referenceLocator"].startswith("pkg:deb/debian/")


def test_every_package_has_its_licence_in_the_kit(kit: Path) -> None:
    for name in (*WANTED, "stagedoor"):
        assert (kit / "share/doc" / name / "copyright").stat().st_size > 500


def test_the_same_lock_gives_the_same_bytes(kit: Path, tmp_path: Path) -> None:
    def digest(folder: Path) -> dict[str, tuple[str, float]]:
        return {
            str(path.relative_to(folder)): (
                str(path.readlink())
                if path.is_symlink()
                else hashlib.sha256(path.read_bytes()).hexdigest(),
                path.lstat().st_mtime,
            )
            for path in folder.rglob("*")
            if path.is_symlink() or path.is_file()
        }

    done = build(SOURCE, "--newer", "--tree-only", "--out", tmp_path / "again")
    assert done.returncode == 0, done.stderr
    assert digest(tmp_path / "again/kit") == digest(kit)


def test_a_locked_version_that_the_archive_has_no_more_is_named(
    source: Path, tmp_path: Path
) -> None:
    change_lock(source, "libxxhash0", 2, "0.0.1-1")
    change_lock(source, "libxxhash0", 3, "0" * 64)
    done = build(source, "--tree-only", "--out", tmp_path / "out")
    assert done.returncode == 1
    assert "the archive has moved on: libxxhash0 (locked 0.0.1-1, now " in done.stderr
    assert "--update-lock" in done.stderr
    assert not (tmp_path / "out/kit").exists()


def test_a_package_with_another_hash_is_refused(source: Path, tmp_path: Path) -> None:
    """The archive's signature is good, and yet it is not what was locked."""
    change_lock(source, "libxxhash0", 3, "0" * 64)
    done = build(source, "--tree-only", "--out", tmp_path / "out")
    assert done.returncode == 1
    # If the archive has moved on by now it says that, which is as good a reason.
    assert "it is not what was locked" in done.stderr or "has moved on" in done.stderr


def test_a_library_that_no_package_has_is_named(source: Path, tmp_path: Path) -> None:
    for name in ("packages", "lock"):
        lines = (source / name).read_text().splitlines(keepends=True)
        kept = [line for line in lines if "libxxhash0" not in line]
        (source / name).write_text("".join(kept))
    done = build(source, "--tree-only", "--out", tmp_path / "out")
    assert done.returncode == 1
    assert " needs libxxhash.so.0, and no package in deploy/kit/packages has it" in done.stderr


def test_an_architecture_that_is_not_locked_is_named() -> None:
    done = build(SOURCE, "--arch", "s390x", "--tree-only")
    assert done.returncode == 1
    assert "--update-lock --arch s390x" in done.stderr


def test_an_unknown_option_is_refused() -> None:
    done = build(SOURCE, "--nwer")
    assert done.returncode == 1
    assert "there is no option --nwer" in done.stderr
    assert "--update-lock" in build(SOURCE, "--help").stdout


@pytest.mark.parametrize("script", ["build", "fetch.sh", "tree.sh", "sbom.sh", "image.sh"])
def test_the_scripts_parse(script: str) -> None:
    assert subprocess.run(["bash", "-n", SOURCE / script]).returncode == 0
