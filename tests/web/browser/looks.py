"""A page in each look that a person may have: axe-core in light and dark, 200 %, and narrow windows."""

import json
import os
import re
from base64 import b64decode
from collections.abc import Callable
from pathlib import Path

import pytest

from acceptance.chromium import Tab

AXE = Path(__file__).parents[3] / "web/node_modules/axe-core/axe.min.js"
"""Deque's rules, which Lighthouse's accessibility category runs too."""
needs_axe = pytest.mark.skipif(not AXE.exists(), reason="script/web brings axe-core")
TAGS = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]
LIGHT = {"runOnly": {"type": "tag", "values": TAGS}}
DARK = {"runOnly": {"type": "rule", "values": ["color-contrast", "link-in-text-block"]}}
"""Only these look at colours."""
PHONE = 360
WIDTHS = (320, PHONE, 640, 800, 960, 1100)
"""400 % larger, a window of 1280 pixels has 320 (WCAG 2.1 §1.4.10)."""
PROBLEMS = """(() => {
  const problems = [];
  const name = (e) => `${e.tagName}#${e.id} ${(e.textContent.trim() || e.name || '').slice(0, 40)}`;
  const root = document.documentElement;
  const wide = root.scrollWidth - root.clientWidth;
  if (wide > 0) problems.push(`the page is ${wide} px too wide`);
  const shown = (e) =>
    e.checkVisibility({ visibilityProperty: true }) && !e.closest('.unseen, .xterm, .skip');
  // Behind a dialog or a menu nothing can be used, whatever its size.
  const over = 'dialog:modal, details.more[open] > .menu, :popover-open';
  const place = document.querySelector(over) ?? document.body;
  const controls = ':is(button, input, select, textarea):enabled, a[href], summary';
  for (const e of place.querySelectorAll(controls)) {
    if (!shown(e)) continue;
    e.scrollIntoView({ block: 'center', inline: 'center' });
    const box = e.getBoundingClientRect();
    if (box.width <= 1) continue;
    const bottom = Math.min(box.bottom, box.top + 40);
    if (box.left < -1 || box.right > innerWidth + 1 || box.top < -1 || bottom > innerHeight + 1)
      problems.push(`${name(e)} is outside of the window`);
    // An inline link of two lines has its middle between them.
    const [first] = e.getClientRects();
    const [x, y] = [first.x + first.width / 2, first.y + Math.min(first.height, 30) / 2];
    const at = document.elementFromPoint(x, y);
    if (at === null || !(e.contains(at) || at.contains(e)))
      problems.push(`${name(e)} is under ${at && name(at)}`);
  }
  const primary = [...place.querySelectorAll('.primary')].filter(shown);
  if (primary.length > 1) problems.push(`more than one primary button: ${primary.map(name)}`);
  for (const e of place.querySelectorAll('*')) {
    const cuts = ['hidden', 'clip'].includes(getComputedStyle(e).overflowX);
    if (!cuts || !shown(e) || e.matches('input, select') || e.closest('[title]')) continue;
    if (e.scrollWidth > e.clientWidth + 1) problems.push(`${name(e)} is cut`);
  }
  scrollTo(0, 0);
  return JSON.stringify(problems);
})()"""


def colours(tab: Tab, scheme: str, motion: str = "no-preference") -> None:
    features = [
        {"name": "prefers-color-scheme", "value": scheme},
        {"name": "prefers-reduced-motion", "value": motion},
    ]
    tab.call("Emulation.setEmulatedMedia", features=features)


def violations(tab: Tab, rules: object) -> list[str]:
    """Return what axe-core finds wrong, one line each: the rule, the element, and why."""
    tab.until("document.readyState === 'complete'")
    tab.ask(f"window.axe ? 0 : (() => {{ {AXE.read_text()} }})() || 0")
    document = json.loads(
        tab.ask(f"axe.run(document, {json.dumps(rules)}).then(r => JSON.stringify(r.violations))")
    )
    return [
        f"{rule['id']}: {node['target']} {node['failureSummary']}"
        for rule in document
        for node in rule["nodes"]
    ]


def keep(tab: Tab, name: str) -> None:
    """Write a picture of the page for `script/screenshots`, which sets where to."""
    if folder := os.environ.get("STAGEDOOR_PICTURES"):
        Path(folder).mkdir(parents=True, exist_ok=True)
        (Path(folder) / f"{re.sub(r'[^a-z0-9]+', '-', name)}.png").write_bytes(
            b64decode(tab.picture())
        )


def problems_of(tab: Tab, name: str, open_page: Callable[[], None]) -> list[str]:
    """Return what is wrong with a page, which is opened at 200 %: 1280 × 1024 pixels are 640 × 512 then."""
    colours(tab, "light")
    tab.resize(640, 512, scale=2)
    open_page()
    problems = [f"at 200 %, {problem}" for problem in json.loads(tab.ask(PROBLEMS))]
    for width in WIDTHS:
        tab.resize(width, 640, phone=width == PHONE)
        wide = tab.ask(
            "document.documentElement.scrollWidth - document.documentElement.clientWidth"
        )
        if wide > 0:
            problems.append(f"in {width} px, it is {wide} px too wide")
        if width == PHONE:
            keep(tab, f"{name}-phone")
    tab.call("Emulation.clearDeviceMetricsOverride")
    keep(tab, f"{name}-light")
    problems += violations(tab, LIGHT)
    colours(tab, "dark")
    tab.until("(document.documentElement.dataset.theme ?? 'dark') === 'dark'")
    # What a terminal shows is drawn in its colours with the next frame.
    tab.ask("new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))")
    keep(tab, f"{name}-dark")
    problems += [f"in dark, {violation}" for violation in violations(tab, DARK)]
    tab.ask("localStorage.clear()")
    return problems
