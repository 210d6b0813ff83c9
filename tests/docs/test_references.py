"""A name of code in a comment, a docstring or a page exists, so that a reader can go there."""

import re
import sys
from collections.abc import Callable, Iterable, Iterator
from functools import cache
from pathlib import Path

import yaml

from tests.docs import pages, references
from tests.docs.pages import ROOT

FOREIGN = {
    *("asyncssh", "websockets"),  # dependencies
    *("metadata", "spec", "status", "series", "responsewriters", "kubernetes"),  # Kubernetes
    *("net", "memory", "realm_access", "custom", "entryPoints", "anchor"),  # fields elsewhere
}
"""Where dotted names begin that are not the project's."""
FOREIGN_NAMES = {
    *(
        "NewCachedFileTokenSource",
        "MicroTime",
        "RequestProgress",
        "finishTime",
    ),  # Kubernetes and etcd
    *("installHint", "provideClusterInfo"),  # fields of a kubeconfig
    *("postgresql_where", "pg_wal"),  # SQLAlchemy and PostgreSQL
    *("APP01_SSH_SERVICE_HOST", "StageDor", "_s"),  # examples, and a suffix
}
"""Single names that are not the project's."""
HOST = re.compile(
    r"(app01|shell|gw|other)(\.\w+)*\.(staging|test|ssh|ENVIRONMENT|example|com)|example.com"
)
FILE = re.compile(
    r".*\.(c|cast|crt|db|h|html|json|key|lock|log|md|part|pem|png|pub|py|reserve|sh|sig|tar|ts|txt|yaml)"
)
PLACES = (
    *(
        ROOT / name
        for name in (".", "src/stagedoor", "web", "web/src", "deploy/kit/source", "tests")
    ),
)
"""What the name of a file may be relative to, besides the folder of the file that names it."""
MADE = {
    *(
        "tun.py",
        "stagedoor-tunnel-VERSION.py",
        "stagedoor-client-VERSION.py",
        ".cache/test-times.json",
    ),
    "stagedoor/listeners/web/static/licences.txt",
}
"""Files that a command makes."""
PAGES = [
    page for page in pages.PAGES if page.name != "CHANGELOG.md" and page.parent.name != "decisions"
]
"""The changelog and the decisions are records of their day."""


@cache
def settings() -> set[str]:
    """Return the names of all settings and sections, and of the chart's values."""
    names, section = set(), ""
    for line in pages.text(ROOT / "docs/reference/settings.md").splitlines():
        if heading := re.match(r"## `\[+([\w.]+)\]+`", line):
            section = heading[1]
            names.add(section)
        elif row := re.match(r"\| `(\w+)` \|", line):
            names.add(f"{section}.{row[1]}" if section else row[1])
    values = yaml.safe_load((ROOT / "deploy/chart/values.yaml").read_text(encoding="utf-8"))
    return names | set(keys(values)) | {f"settings.{name}" for name in names}


@cache
def source_code() -> str:
    """Return the package's source: a name in quotes there, such as an audit event, is a word of ours."""
    return "".join(pages.text(file) for file in (ROOT / "src").rglob("*.py"))


@cache
def file_names() -> set[str]:
    """Return the names of the project's files without their folders."""
    kept = (
        ROOT / name for name in ("src", "web/src", "deploy", "tests", "bench", "script", "docs")
    )
    return {file.name for folder in kept for file in folder.rglob("*.*")}


def keys(values: dict[str, object], above: str = "") -> Iterator[str]:
    for key, value in values.items():
        yield above + key
        if isinstance(value, dict):
            yield from keys(value, f"{above}{key}.")


def is_known(name: str) -> bool:
    first, *_ = name.split(".")
    return (
        name in settings()
        or first in FOREIGN
        or first.isupper()  # a placeholder, as in `APP.ENVIRONMENT`
        or first in sys.stdlib_module_names
        or bool(HOST.fullmatch(name) or FILE.fullmatch(name))
        or references.resolves(name)
        or f'"{name}"' in source_code()
    )


def exists(path: str, file: Path) -> bool:
    return (
        path in MADE
        or path in file_names()
        or any((place / path).exists() for place in (*PLACES, file.parent))
    )


def stale(file: Path, texts: Iterable[references.Text], source: str) -> list[str]:
    """Return what the texts of `file` name that does not exist, each with its line."""
    wrong = []
    for text in texts:
        names = [name for name in references.dotted(text.text) if not is_known(name)]
        names += [path for path in references.paths(text.text) if not exists(path, file)]
        names += references.unknown_exceptions(text.text, source)
        singles = references.unknown_names(text.text, in_code=file.suffix != ".md")
        names += [name for name in singles if name not in FOREIGN_NAMES]
        wrong += [f"{pages.name(file)}:{text.line}: {name}" for name in names]
    return wrong


def stale_in(
    files: Iterable[Path], texts_of: Callable[[str], Iterable[references.Text]]
) -> list[str]:
    return [w for f in sorted(files) for w in stale(f, texts_of(pages.text(f)), pages.text(f))]


def test_names_in_python_exist() -> None:
    files = [file for tree in references.TREES for file in tree.rglob("*.py")]
    assert stale_in(files, references.python_texts) == []


def test_names_in_c_and_typescript_exist() -> None:
    files = [*(ROOT / "web/src").rglob("*.ts"), *(ROOT / "deploy/kit/source").rglob("*.[ch]")]
    assert stale_in(files, references.c_texts) == []


def test_names_on_pages_exist() -> None:
    def prose(text: str) -> list[references.Text]:
        return [references.Text(1, pages.FENCE.sub("", text))]

    assert stale_in(PAGES, prose) == []


def test_a_name_that_is_gone_is_reported() -> None:
    gone = "_".join(["enter", "nowhere"])  # else it would be a word of this file
    source = (
        f'"""`flow.enter_nobody`, `Flow.vanish`, `store/gone.py`. Raises GoneAwayError. `{gone}`"""'
    )
    texts = references.python_texts(source)
    assert stale(ROOT / "src/stagedoor/example.py", texts, source) == [
        f"src/stagedoor/example.py:1: {name}"
        for name in ("flow.enter_nobody", "Flow.vanish", "store/gone.py", "GoneAwayError", gone)
    ]
