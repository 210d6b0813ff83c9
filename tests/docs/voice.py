"""Count the idioms that CONTRIBUTING.md asks to avoid. `python -m tests.docs.voice` lowers the counts."""

import json
import re
from collections import Counter
from pathlib import Path

from tests.docs.pages import ROOT

COUNTS = ROOT / "tests/docs/voice.json"
_WORDS = {
    "nobody": re.compile(r"\b(?:nobody|somebody|anybody|everybody|whom)\b", re.IGNORECASE),
    "told": re.compile(r"\b(?:told|tells?)\b", re.IGNORECASE),
}
_CODE = {
    "found =": re.compile(r"\bfound = "),
    "for one in": re.compile(r"\bfor (?:one|each) in\b"),
    "def close": re.compile(r"\bdef close\("),
}
_NOUN_PHRASE = re.compile(
    r'^ *(?:async )?def (\w+)\([^"]*?:\n\s+"{3}(?:What|Who|Whom|Those|Of|Whether|Where|When)\b',
    re.MULTILINE,
)


def areas() -> dict[str, list[Path]]:
    """Return the files of each area: a package of src, or another part of the project."""
    packages = {
        f"src/{folder.name}": sorted(folder.rglob("*.py"))
        for folder in sorted((ROOT / "src/stagedoor").iterdir())
        if folder.is_dir() and folder.name != "__pycache__"
    }
    parts = {
        name: sorted((ROOT / name).rglob("*.py"))
        for name in ("acceptance", "release", "bench", "fuzz", "tests")
    }
    return {
        **packages,
        **parts,
        "kit": sorted((ROOT / "deploy/kit/source").rglob("*.[ch]")),
        "web": sorted((ROOT / "web/src").rglob("*.ts")),
        "docs": [
            *sorted(page for page in (ROOT / "docs").rglob("*.md") if "zh" not in page.parts),
            ROOT / "README.md",
        ],
        "changelog": [ROOT / "CHANGELOG.md"],
    }


def count(files: list[Path]) -> dict[str, int]:
    """Return how often each idiom is in `files`; one that is not there is left out."""
    counts: Counter[str] = Counter()
    for file in files:
        if file.is_relative_to(ROOT / "tests/docs") or "chinese" in file.parts:
            continue  # the words stand in these lists themselves, and texts in the files that they are of
        source = file.read_text(encoding="utf-8")
        measures = {**_WORDS, **_CODE} if file.suffix == ".py" else _WORDS
        counts.update({name: len(words.findall(source)) for name, words in measures.items()})
        if file.suffix == ".py":
            counts["docstring"] += len(_NOUN_PHRASE.findall(source))
    return {name: number for name, number in counts.items() if number}


def current() -> dict[str, dict[str, int]]:
    return {area: count(files) for area, files in areas().items()}


def main() -> None:
    """Write the counts, each the lower of what it was and what it is."""
    recorded = json.loads(COUNTS.read_text(encoding="utf-8")) if COUNTS.exists() else current()
    lowered = {
        area: {
            name: min(number, recorded.get(area, {}).get(name, 0))
            for name, number in counts.items()
            if recorded.get(area, {}).get(name, 0)
        }
        for area, counts in current().items()
    }
    COUNTS.write_text(json.dumps(lowered, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
