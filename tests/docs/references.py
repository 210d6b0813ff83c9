"""Find the names of code that comments, docstrings and pages mention, and look whether they exist."""

import ast
import builtins
import io
import re
import tokenize
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache

from tests.docs.pages import ROOT

TREES = tuple(
    ROOT / name for name in ("src/stagedoor", "acceptance", "release", "tests", "bench", "fuzz")
)
"""Where Python modules are that a reference may mean."""
_SPAN = re.compile(r"`([^`\n]+)`")
_DOTTED = re.compile(r"[A-Za-z_]\w*(?:\.[A-Za-z_]\w*)+(?:\(\))?")
_PATH = re.compile(
    r"(?:[\w.-]+/)+[\w.-]+\.(?:py|c|h|ts|md|json|sh|toml|txt|tsv)|[\w-]+\.(?:c|h|ts|py)"
)
_SNAKE = re.compile(r"_?[a-z][a-z0-9]*(?:_[a-z0-9]+)+(?:\(\))?|_[a-z]\w*(?:\(\))?")
_CAMEL = re.compile(r"[A-Za-z][a-z0-9]+(?:[A-Z][a-z0-9]*)+(?:\(\))?|[A-Z][A-Z0-9]*_[A-Z0-9_]+")
_WORD = re.compile(r"[A-Za-z_]\w*")
_PYTHON_COMMENT = re.compile(r"(?:^|\s)#\s.*$")
_RAISES = re.compile(r"\bRaises ((?:[A-Z]\w+(?:\.\w+)*(?:, (?:or )?| or | and )?)+)")
_C_COMMENT = re.compile(r"/\*.*?\*/|//[^\n]*", re.DOTALL)
_OF_SELF = re.compile(r"\bself\.(\w+)\s*(?::[^=\n]+)?=(?!=)")


@dataclass(frozen=True)
class Text:
    """A docstring or a comment, and the line on which it begins."""

    line: int
    text: str


@dataclass
class Module:
    """The names that a module and each of its classes define, and its docstrings."""

    names: set[str] = field(default_factory=set)
    classes: dict[str, set[str]] = field(default_factory=dict)
    bases: dict[str, list[str]] = field(default_factory=dict)
    docstrings: list[Text] = field(default_factory=list)
    docstring_lines: set[int] = field(default_factory=set)


@cache
def read(source: str) -> Module:
    """Read a module as far as its statements go: expressions define no names."""
    module = Module()
    _read(ast.parse(source).body, module.names, module, source.splitlines())
    return module


def _read(body: list[ast.stmt], names: set[str], module: Module, lines: list[str]) -> None:
    for node in body:
        inner, inner_names = _inner(node), names
        match node:
            case ast.Expr(value=ast.Constant(value=str(text))):
                module.docstrings.append(Text(node.lineno, text))
                module.docstring_lines.update(range(node.lineno, (node.end_lineno or 0) + 1))
            case ast.ClassDef(name=name):
                names.add(name)
                text = "\n".join(lines[node.lineno - 1 : node.end_lineno])
                inner_names = module.classes.setdefault(name, set())
                inner_names.update(_OF_SELF.findall(text))
                module.bases[name] = [base.id for base in node.bases if isinstance(base, ast.Name)]
            case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name):
                names.add(name)
                inner_names = set()
            case ast.Assign(targets=targets):
                names.update(n.id for t in targets for n in ast.walk(t) if isinstance(n, ast.Name))
            case ast.AnnAssign(target=ast.Name(id=name)):
                names.add(name)
            case ast.Import(names=aliases) | ast.ImportFrom(names=aliases):
                names.update(alias.asname or alias.name for alias in aliases)
        _read(inner, inner_names, module, lines)


def _inner(node: ast.stmt) -> list[ast.stmt]:
    blocks = [getattr(node, part, []) for part in ("body", "orelse", "finalbody")]
    blocks += [handler.body for handler in getattr(node, "handlers", [])]
    return [statement for block in blocks for statement in block]


@cache
def modules() -> dict[tuple[str, ...], Module]:
    """Return all Python modules of the project, by the parts of their dotted names."""
    return {
        file.relative_to(tree.parent).with_suffix("").parts: read(file.read_text(encoding="utf-8"))
        for tree in TREES
        for file in tree.rglob("*.py")
    }


@cache
def classes() -> dict[str, set[str]]:
    """Return the names in each class of the project. Classes of the same name are joined."""
    joined: dict[str, set[str]] = {}
    for module in modules().values():
        for name, members in module.classes.items():
            joined.setdefault(name, set()).update(members)
    for module in modules().values():
        for name, bases in module.bases.items():
            for base in bases:
                joined[name] |= joined.get(base, set())
    return joined


@cache
def _by_suffix() -> dict[tuple[str, ...], list[Module]]:
    """Return modules and packages by each way to name them, such as `flow` and `session.flow`."""
    index: dict[tuple[str, ...], list[Module]] = {}
    for parts, module in modules().items():
        own = parts[:-1] if parts[-1] == "__init__" else parts
        for start in range(len(own)):
            index.setdefault(own[start:], []).append(module)
            for end in range(start + 1, len(own)):
                index.setdefault(own[start:end], [])
    return index


def resolves(reference: str) -> bool:
    """Return whether `reference`, such as `flow.Flow.enter` or `EnteredSession.release`, exists."""
    parts = tuple(reference.removesuffix("()").split("."))
    if parts in _by_suffix() or (len(parts) == 2 and parts[1] in classes().get(parts[0], ())):
        return True
    return any(
        _has(module, *parts[end:])
        for end in range(1, len(parts))
        for module in _by_suffix().get(parts[:end], ())
    )


def _has(module: Module, name: str, *members: str) -> bool:
    if name not in module.names:
        return False
    return not members or (len(members) == 1 and members[0] in classes().get(name, ()))


@cache
def words() -> frozenset[str]:
    """Return the words of all code: what the project's files have besides docstrings and comments."""
    found = set()
    for tree in TREES:
        for file in tree.rglob("*.py"):
            found.add(file.stem)
            source = file.read_text(encoding="utf-8")
            skipped = read(source).docstring_lines
            lines = enumerate(source.splitlines(), 1)
            code = (
                _PYTHON_COMMENT.sub("", line) for number, line in lines if number not in skipped
            )
            found.update(_WORD.findall("\n".join(code)))
    for folder, pattern in (
        ("web/src", "*.ts"),
        ("web/tests", "*.ts"),
        ("deploy/kit/source", "*.[ch]"),
    ):
        for file in (ROOT / folder).rglob(pattern):
            found.update(_WORD.findall(_C_COMMENT.sub("", file.read_text(encoding="utf-8"))))
    for folder in ("deploy", "script", "src/stagedoor/listeners/web/templates", ".github"):
        for file in (ROOT / folder).rglob("*"):
            if file.suffix not in {".py", ".c", ".h", ".png"} and file.is_file():
                found.update(_WORD.findall(file.read_text(encoding="utf-8", errors="ignore")))
    return frozenset(found)


def unknown_names(text: str, *, in_code: bool) -> list[str]:
    """Return the single names in backticks that no code has.

    Names are words with an underscore, and in code also those with a capital inside: pages have many of these
    from Kubernetes.
    """
    spans = [span.removesuffix("()") for span in _SPAN.findall(text)]
    forms = (_SNAKE, _CAMEL) if in_code else (_SNAKE,)
    named = [span for span in spans if any(form.fullmatch(span) for form in forms)]
    return [name for name in named if name not in words()]


def python_texts(source: str) -> Iterator[Text]:
    """Yield the docstrings (those of attributes too) and the comments of a module."""
    yield from read(source).docstrings
    if re.search(r"#.*`", source):
        for token in tokenize.generate_tokens(io.StringIO(source).readline):
            if token.type == tokenize.COMMENT:
                yield Text(token.start[0], token.string)


def c_texts(source: str) -> Iterator[Text]:
    """Yield the comments of a file in C or TypeScript."""
    for comment in _C_COMMENT.finditer(source):
        yield Text(source.count("\n", 0, comment.start()) + 1, comment.group())


def dotted(text: str) -> list[str]:
    """Return the dotted names in backticks."""
    return [span for span in _SPAN.findall(text) if _DOTTED.fullmatch(span)]


def paths(text: str) -> list[str]:
    """Return the names of the project's own kinds of files in backticks."""
    return [span for span in _SPAN.findall(text) if _PATH.fullmatch(span)]


def unknown_exceptions(text: str, source: str) -> list[str]:
    """Return the names behind "Raises" that are neither built in, ours, nor imported by `source`."""
    raised = [
        n for names in _RAISES.findall(text) for n in re.split(r", (?:or )?| or | and ", names)
    ]
    return [name for name in raised if name and not _is_exception(name, source)]


def _is_exception(name: str, source: str) -> bool:
    last = name.rpartition(".")[2]
    imported = re.search(rf"^\s*from .* import .*\b{last}\b|\w\.{last}\b", source, re.MULTILINE)
    return hasattr(builtins, last) or last in classes() or bool(imported)
