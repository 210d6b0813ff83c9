"""Hooks of MkDocs: pages from the repository's root, the navigation, and links out of `docs/`.

On GitHub the pages link to the README and to source files. The site has the README as its first page. A link
to a source file becomes the file's name, because the site is also read without a network.
https://www.mkdocs.org/user-guide/configuration/#hooks
"""

import posixpath
import re
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files

ROOT = Path(__file__).resolve().parent.parent
DOCS = ROOT / "docs"
PLACED = {
    "README.md": "index.md",
    "CONTRIBUTING.md": "contributing/index.md",
    "CHANGELOG.md": "changelog.md",
    "README.zh-CN.md": "zh/index.md",
    "docs/README.md": "pages.md",
}
"""Where a page is in the site, by its place in the repository, if it is not the same below `docs/`."""
TUTORIAL = ("tutorial*.md",)
EXPLANATION = ("faq.md", "security.md", "performance*.md", "explanation/**/*.md")
CONTRIBUTING = ("contributing/*.md", "decisions/*.md", "changelog.md")
_LINK = re.compile(r"(!?)\[((?:[^\[\]]|\[[^\]]*\])*)\]\(([^()\s]+)\)")
_FENCE = re.compile(r"(^```.*?^```$)", re.MULTILINE | re.DOTALL)


def on_config(config: Any) -> Any:
    """The navigation: by kind of page, each in the order of the files' names."""
    config.nav = [
        {"Home": ["index.md", "pages.md"]},
        {"Tutorial": [*_pages(*TUTORIAL)]},
        {"How-to": _pages("how-to/*.md")},
        {"Reference": _pages("reference/*.md")},
        {"Explanation": _pages(*EXPLANATION)},
        {"Contributing": ["contributing/index.md", *_pages(*CONTRIBUTING), "changelog.md"]},
    ]
    if (ROOT / "README.zh-CN.md").exists():
        config.nav.append({"中文": ["zh/index.md", *_pages("zh/*.md")]})
    return config


def _pages(*patterns: str) -> list[str]:
    return [
        file.relative_to(DOCS).as_posix()
        for pattern in patterns
        for file in sorted(DOCS.glob(pattern))
    ]


def on_files(files: Files, config: Any) -> Files:
    """Add the pages of the repository's root."""
    index = files.get_file_from_path("README.md")
    if index is not None:
        files.remove(index)
    for source, place in PLACED.items():
        if (ROOT / source).exists():
            content = (ROOT / source).read_text(encoding="utf-8")
            files.append(File.generated(config, place, content=content))
    return files


def on_page_markdown(markdown: str, page: Any, config: Any, files: Files) -> str:
    """Lead each link to its page in the site; leave the name of a file that is not there."""
    place = page.file.src_uri
    source = next((one for one, to in PLACED.items() if to == place), f"docs/{place}")

    def replaced(match: re.Match[str]) -> str:
        mark, text, link = match.groups()
        if re.match(r"[a-z]+:|#", link):
            return match[0]
        path, hash_, anchor = link.partition("#")
        target = posixpath.normpath(posixpath.join(posixpath.dirname(source), path))
        to = PLACED.get(target) or target.removeprefix("docs/")
        if files.get_file_from_path(to) is None:
            return text if text == f"`{target}`" else f"{text} (`{target}`)"
        relative = posixpath.relpath(to, posixpath.dirname(place) or ".")
        return f"{mark}[{text}]({relative}{hash_}{anchor})"

    parts = _FENCE.split(markdown)
    return "".join(part if part.startswith("```") else _LINK.sub(replaced, part) for part in parts)
