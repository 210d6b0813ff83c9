"""Root file systems for the kit's containers: the test cluster's images, laid out as folders.

Made once and kept beside the cluster's images; no container writes into them, since each container has
an overlay of its own.
"""

import hashlib
import subprocess
import tempfile
from pathlib import Path

from tests.cluster import images, trees
from tests.cluster.archive import Files
from tests.cluster.turn import turn


def root(name: str) -> Path:
    """Return the folder of the image `name` of tests/cluster/images.py, or of `nothing`.

    Raises:
        ClusterError: a program is missing that makes it.
    """
    if name == "nothing":
        return _nothing()
    recipe = {entry.name: entry for entry in images.RECIPES}[name]
    makers = (images.__file__, trees.__file__, __file__)
    made_by = b"".join(Path(maker or "").read_bytes() for maker in makers)
    kept = trees.folder() / f"root-{name}-{hashlib.sha256(made_by).hexdigest()[:12]}"
    with turn(trees.folder()):
        if kept.exists():
            return kept
        base = recipe.base() if recipe.base is not None else None
        with tempfile.TemporaryDirectory(dir=trees.folder()) as beside:
            tree = Path(beside) / "tree"
            tree.mkdir(mode=0o755)
            if base is not None:
                subprocess.run(["tar", "-xpf", base.path, "-C", tree], check=True)
            if recipe.files is not None:
                _write(recipe.files(), tree)
            tree.rename(kept)
    return kept


def _nothing() -> Path:
    """Return the empty folder that stands for no image."""
    kept = trees.folder() / "root-nothing"
    kept.mkdir(exist_ok=True)
    return kept


def _write(files: Files, tree: Path) -> None:
    for folder in files.open_folders:
        (tree / folder.lstrip("/")).mkdir(parents=True, exist_ok=True)
        (tree / folder.lstrip("/")).chmod(0o1777)
    for path, what in files.files.items():
        target = tree / path.lstrip("/")
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(what if isinstance(what, bytes) else what.read_bytes())
        target.chmod(0o755)
    for path, goal in files.links.items():
        link = tree / path.lstrip("/")
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(goal)
