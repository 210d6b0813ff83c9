"""The files of the kit's programs stand one above the other: none calls one from which a call leads back.

Takes some seconds, since all of them are compiled.
"""

import os
import subprocess
from collections import defaultdict
from pathlib import Path

from tests.holder.compiled import SOURCE


def test_no_file_calls_one_that_calls_it_back(tmp_path: Path) -> None:
    files = sorted([*SOURCE.glob("[!p]*.c"), *SOURCE.glob("holder/*.c")])
    flags = ("-std=gnu17", "-O0", "-D_GNU_SOURCE", "-c")
    subprocess.run([os.environ.get("CC", "gcc"), *flags, *files], cwd=tmp_path, check=True)
    defined: dict[str, str] = {}
    wanted: dict[str, set[str]] = defaultdict(set)
    for file in files:
        listed = ["nm", "--format=posix", "--extern-only", f"{file.stem}.o"]
        names = subprocess.run(listed, cwd=tmp_path, check=True, capture_output=True, text=True)
        for line in names.stdout.splitlines():
            name, kind = line.split()[:2]
            if kind == "U":
                wanted[file.stem].add(name)
            else:
                defined[name] = file.stem
    calls = {
        stem: {defined[name] for name in names if name in defined} - {stem}
        for stem, names in wanted.items()
    }
    assert "links" in calls["serve"]
    while lowest := {stem for stem, called in calls.items() if not called & calls.keys()}:
        calls = {stem: called for stem, called in calls.items() if stem not in lowest}
    assert not calls, "each of these calls another one of them"
