"""The texts of the code, as the catalogues have them: `{0}` where the code puts a value."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

from stagedoor.listeners.web.pages import markup
from stagedoor.listeners.web.pages.language import read_template_text

ROOT = Path(__file__).parents[2]
SOURCE = ROOT / "src" / "stagedoor"
TEMPLATES = SOURCE / "listeners" / "web" / "templates"
_LINES = {
    **dict.fromkeys(("Denial", "FilesError", "TunnelError"), (1, 2)),
    **dict.fromkeys(("RefusedError", "NotFoundError", "ConflictError"), (0, 1)),
    **dict.fromkeys(("AttachError", "LostError", "WebSocketError", "show", "_say"), (0, 1)),
    "answer_message": (0, 2),
}
"""The arguments that are lines for a person, of errors and of functions that show them: first and end."""
_FORMS = re.compile(r"/(?:console/\w+|hours|permission)\.py$")
"""The modules whose ValueErrors a form shows."""
_TAGGED = re.compile(r"\bt`((?:[^`\\]|\\.)*)`")


def template_texts() -> dict[str, str]:
    """Return each text of a template, with a template that has it."""
    found: dict[str, str] = {}
    for path in sorted(TEMPLATES.rglob("*.html")):
        extract = markup.TEMPLATES.extract_translations  # type: ignore[attr-defined]  # of jinja2.ext.i18n
        for _, function, message in extract(
            path.read_text(), (*("gettext", "_", "ngettext", "pgettext"),)
        ):
            if function == "pgettext":
                found[f"{read_template_text(message[1])} [{message[0]}]"] = path.name
                continue
            for text in message if isinstance(message, tuple) else (message,):
                if isinstance(text, str):
                    found[read_template_text(text)] = path.name
    return found


def script_texts() -> dict[str, str]:
    """Return each text of a script, with a script that has it."""
    found: dict[str, str] = {}
    for path in sorted((ROOT / "web/src").rglob("*.ts")):
        for text in _TAGGED.findall(path.read_text()):
            first, *others = re.split(r"\$\{[^{}]*\}", text)
            numbered = (f"{{{number}}}{piece}" for number, piece in enumerate(others))
            found["".join([first, *numbered])] = path.name
    return found


def python_texts(*parts: str) -> Iterator[str]:
    """Yield the texts in the code of packages, those in f-strings with a place for each value."""
    for part in parts:
        path = SOURCE / part
        for module in [path] if path.is_file() else sorted(path.rglob("*.py")):
            if "language" not in module.parts:
                yield from texts_in(ast.parse(module.read_text()))


def texts_in(tree: ast.AST) -> Iterator[str]:
    """Yield the texts of code."""
    for node in ast.walk(tree):
        text = text_of(node)
        if text is not None:
            yield text


def text_of(node: ast.AST | None) -> str | None:
    """Return the text of a string or an f-string, None for any other expression."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return node.value
    if not isinstance(node, ast.JoinedStr):
        return None
    pieces, number = "", 0
    for value in node.values:
        if isinstance(value, ast.Constant):
            pieces += str(value.value)
        else:
            pieces, number = f"{pieces}{{{number}}}", number + 1
    return pieces


def refusals(*parts: str) -> Iterator[tuple[str, str]]:
    """Yield each line of an error in packages that its person may read, with its place."""
    for part in parts:
        path = SOURCE / part
        for module in [path] if path.is_file() else sorted(path.rglob("*.py")):
            for node in ast.walk(ast.parse(module.read_text())):
                if isinstance(node, ast.Call):
                    place = f"{module.relative_to(ROOT)}:{node.lineno}"
                    shown = _shown(node, is_form=_FORMS.search(str(module)) is not None)
                    yield from ((place, text) for text in map(text_of, shown) if text)


def _shown(call: ast.Call, *, is_form: bool) -> list[ast.expr]:
    """Return the arguments of a refusal that a person may read: not the fix for administrators."""
    name = call.func.attr if isinstance(call.func, ast.Attribute) else getattr(call.func, "id", "")
    owner = call.func.value if isinstance(call.func, ast.Attribute) else None
    if name == "with_fix" and getattr(owner, "id", "") == "Denial":
        return [*call.args[1:2], *call.args[3:4]]
    if call.args and ast.unparse(call.args[0]) in ("USAGE", "errors.USAGE"):
        return []  # errors in how a command is used stay English
    if name == "ValueError" and is_form:
        return call.args
    return call.args[slice(*_LINES.get(name, (0, 0)))]


def state_texts(*parts: str) -> Iterator[str]:
    """Yield the texts of findings, of lines of a status, and of reasons that a generator yields."""
    for part in parts:
        path = SOURCE / part
        for module in [path] if path.is_file() else sorted(path.rglob("*.py")):
            for node in ast.walk(ast.parse(module.read_text())):
                yield from (text for text in map(text_of, _stated(node)) if text)


def _stated(node: ast.AST) -> list[ast.expr]:
    if isinstance(node, ast.Call):
        name = getattr(node.func, "id", "")
        if name in ("ok", "warn", "fail", "Check"):
            return [side for argument in node.args for side in _sides(argument)]
        lines = [each for each in node.args if isinstance(each, ast.Tuple)]
        return [each for line in lines for each in line.elts] if not name else []
    if isinstance(node, ast.Yield) and node.value is not None:
        return [node.value]
    if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
        name = node.targets[0].id.lower()
        return [node.value] if name == "what" or name.endswith("fix") else []
    return []


def _sides(argument: ast.expr) -> list[ast.expr]:
    """Return both texts of a conditional expression, else the argument itself."""
    return [argument.body, argument.orelse] if isinstance(argument, ast.IfExp) else [argument]
