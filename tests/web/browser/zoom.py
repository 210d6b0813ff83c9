"""What of a page cannot be used at 200 %: in a window of 1280 × 1024 pixels, which then has 640 × 512."""

import json

from acceptance.chromium import Tab

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
  for (const e of place.querySelectorAll('*')) {
    const cuts = ['hidden', 'clip'].includes(getComputedStyle(e).overflowX);
    if (!cuts || !shown(e) || e.matches('input, select') || e.closest('[title]')) continue;
    if (e.scrollWidth > e.clientWidth + 1) problems.push(`${name(e)} is cut`);
  }
  scrollTo(0, 0);
  return JSON.stringify(problems);
})()"""


def problems_at_200_percent(tab: Tab) -> list[str]:
    """Return what of the page is too wide, cut, covered, or outside of what can be scrolled to."""
    problems: list[str] = json.loads(tab.ask(PROBLEMS))
    return problems


def zoom(tab: Tab) -> None:
    """Set the tab to 200 %."""
    tab.resize(640, 512, scale=2)
