"""The logo of the pages: an image in a file that an administrator names, checked before it is shown."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from xml.parsers import expat  # refuses entities below

from stagedoor.model.errors import SettingsError
from stagedoor.model.units import KIB

MAX_BYTES = 64 * KIB
_PNG = b"\x89PNG\r\n\x1a\n"
_SVG = "http://www.w3.org/2000/svg"
_REFUSED = frozenset(
    {"script", "foreignobject", "iframe", "image", "use", "a", "handler", "listener"}
)


@dataclass(frozen=True, slots=True)
class Logo:
    """An image; `name` is `logo.png` or `logo.svg`."""

    name: str
    data: bytes = field(repr=False)


def read_logo(path: Path) -> Logo:
    """Return the image in a file: PNG, or SVG that neither runs nor loads anything. Raises SettingsError."""
    try:
        with path.open("rb") as file:
            data = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise SettingsError(f"web.logo_file: cannot read {path}: {error.strerror}") from None
    if len(data) > MAX_BYTES:
        raise SettingsError(f"web.logo_file: {path} is larger than {MAX_BYTES // KIB} KiB")
    if data.startswith(_PNG):
        return Logo("logo.png", data)
    if (why := explain_bad_svg(data)) is not None:
        raise SettingsError(
            f"web.logo_file: {path} is neither a PNG nor an SVG that can be shown: {why}"
        )
    return Logo("logo.svg", data)


def explain_bad_svg(data: bytes) -> str | None:
    """Return why `data` is not shown as SVG, or None if it is an image and no more."""
    names: list[str] = []
    texts: list[str] = []

    def begin(name: str, attributes: Mapping[str, str]) -> None:
        space, _, local = name.rpartition(" ")
        if space != _SVG or (not names and local != "svg"):
            raise ValueError(f"it has <{local}>, which is not SVG")
        if local.lower() in _REFUSED:
            raise ValueError(f"it has <{local}>")
        names.append(local)
        for key, value in attributes.items():
            attribute = key.rpartition(" ")[2].lower()
            is_link = attribute in ("href", "src", "base") and not value.startswith("#")
            if attribute.startswith("on") or is_link or _loads(value):
                raise ValueError(f"it has the attribute {attribute} in <{local}>")

    def refuse(*_: object) -> None:
        raise ValueError("it has a document type or a processing instruction")

    parser = expat.ParserCreate(namespace_separator=" ")
    parser.StartElementHandler = begin
    parser.CharacterDataHandler = texts.append
    parser.StartDoctypeDeclHandler = parser.ProcessingInstructionHandler = refuse
    try:
        parser.Parse(data, True)
    except (expat.ExpatError, ValueError) as error:
        return str(error)
    return "its styles load something" if _loads("".join(texts)) else None


def _loads(text: str) -> bool:
    """Return whether a style loads something: an import, a function url() but for a part of the image."""
    folded = text.lower().replace(" ", "")
    return "@import" in folded or "\\" in folded or "url(" in folded.replace("url(#", "")
