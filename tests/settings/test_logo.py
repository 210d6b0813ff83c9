"""The company's logo: an image and nothing else. Attacks first."""

from pathlib import Path

import pytest

from stagedoor.model.errors import SettingsError
from stagedoor.settings.logo import MAX_BYTES, explain_bad_svg, read_logo

NAMES = 'xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink"'
SVG = f"<svg {NAMES}>%s</svg>"
GOOD = (
    '<defs><linearGradient id="a"><stop offset="0"/></linearGradient>'
    '<linearGradient id="b" xlink:href="#a"/></defs><style>.x{fill:url(#b)}</style>'
    '<path class="x" style="stroke:red" fill="url(#a)" d="M0 0h9"/><text>ACME</text>'
)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "<html><script>alert(1)</script></html>",
        "<svg/>",
        SVG % "<script>alert(1)</script>",
        SVG % "<ScRiPt/>",
        SVG % '<path onload="alert(1)"/>',
        SVG % '<path ONCLICK="alert(1)"/>',
        SVG % '<a href="https://evil.example"><path/></a>',
        SVG % '<linearGradient xlink:href="https://evil.example/x#a"/>',
        SVG % '<linearGradient href="javascript:alert(1)"/>',
        SVG % '<image href="#a"/>',
        SVG % '<use xlink:href="data:image/svg+xml,x"/>',
        SVG % '<foreignObject><p xmlns="http://www.w3.org/1999/xhtml"/></foreignObject>',
        SVG % '<p xmlns="http://www.w3.org/1999/xhtml">x</p>',
        SVG % '<path style="fill:url(https://evil.example/x)"/>',
        SVG % "<path fill=\"URL( '//evil.example/x')\"/>",
        SVG % "<style>@import 'https://evil.example/x.css';</style>",
        SVG % "<style>@im<!-- -->port 'x.css';</style>",
        SVG % "<style>@\\69mport 'x.css';</style>",
        SVG % '<g xml:base="https://evil.example"/>',
        '<!DOCTYPE svg [<!ENTITY a "b">]>' + SVG % "<text>&a;</text>",
        '<?xml-stylesheet href="https://evil.example/x.css"?>' + SVG % "",
        SVG % "<path",
    ],
)
def test_what_runs_or_loads_something_is_no_logo(tmp_path: Path, text: str) -> None:
    file = tmp_path / "logo.svg"
    file.write_text(text, encoding="utf-8")
    with pytest.raises(SettingsError, match=r"web\.logo_file"):
        read_logo(file)


def test_an_image_is_taken_for_what_it_is_whatever_its_name(tmp_path: Path) -> None:
    file = tmp_path / "logo"
    file.write_text(SVG % GOOD, encoding="utf-8")
    assert explain_bad_svg(file.read_bytes()) is None
    assert read_logo(file).name == "logo.svg"
    file.write_bytes(b"\x89PNG\r\n\x1a\n<script>")
    assert read_logo(file).name == "logo.png"


def test_it_is_bounded_and_there(tmp_path: Path) -> None:
    file = tmp_path / "logo"
    with pytest.raises(SettingsError, match="cannot read"):
        read_logo(file)
    file.write_bytes(b"\x89PNG\r\n\x1a\n" + b"x" * MAX_BYTES)
    with pytest.raises(SettingsError, match="larger than 64 KiB"):
        read_logo(file)
