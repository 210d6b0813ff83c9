"""Everything that an installation brings is on the page of licences, and nothing else is."""

import json
import re
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
OF_OTHER_PLATFORMS = {"colorama", "greenlet"}
"""Brought on Windows, or by an extra that we do not ask for."""


def test_the_page_lists_what_the_lock_brings() -> None:
    lock = tomllib.loads((ROOT / "uv.lock").read_text(encoding="utf-8"))
    needs = {
        package["name"]: {dependency["name"] for dependency in package.get("dependencies", [])}
        for package in lock["package"]
    }
    brought: set[str] = set()
    waiting = {"stagedoor"}
    while waiting:
        name = waiting.pop()
        brought.add(name)
        waiting |= needs[name] - brought
    page = (ROOT / "docs/reference/licences.md").read_text(encoding="utf-8")
    listed = set(re.findall(r"^\| ([a-z0-9-]+) \| [^|]+ \| [^|]+ \|$", page, re.MULTILINE)) - {
        "package"
    }
    assert listed == brought - {"stagedoor"} - OF_OTHER_PLATFORMS


def test_the_page_lists_what_the_browser_gets() -> None:
    lock = json.loads((ROOT / "web/package-lock.json").read_text(encoding="utf-8"))
    brought = {
        (name.removeprefix("node_modules/"), str(package["license"]))
        for name, package in lock["packages"].items()
        if name and not package.get("dev")
    }
    page = (ROOT / "docs/reference/licences.md").read_text(encoding="utf-8")
    listed = set(re.findall(r"^\| (@[a-z0-9/-]+) \| ([^|]+) \|$", page, re.MULTILINE))
    assert listed == brought


def test_the_lock_names_no_registry() -> None:
    text = (ROOT / "web/package-lock.json").read_text(encoding="utf-8")
    assert '"resolved"' not in text
