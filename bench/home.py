"""The speed of the pages in a browser: `python -m bench.home`.

It opens pages of a gateway with 500 apps, and types into the search of one with 5,000. It prints a line for
each, and exits with 1 if a first paint took longer than 300 ms, or a letter took longer than 50 ms until its
rows were painted (p95). Needs Chromium, and what `script/web` builds.
"""

import json
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bench.console import report
from tests.fixtures.gateway import Gateway
from tests.web.browser.conftest import become

from acceptance.chromium import Tab, chromium
from stagedoor.admin.roles import add_role
from stagedoor.model.role import Role, RoleRule

PAINT_MS, LETTER_MS = 300.0, 50.0
MANY, MANY_MORE = 500, 5_000
LOADS, ROUNDS = 10, 5
PAGES = (
    "/",
    "/account",
    "/recordings",
    "/requests",
    "/admin/sessions",
    "/admin/audit",
    "/app/app1",
)
WORDS = ("app4", "pro 12", "staging", "nothing")
"""What is typed, a letter at a time, so that the first letters match thousands of apps."""
PAINTED = "performance.getEntriesByName('first-paint')[0]?.startTime ?? 0"
TYPE = """new Promise((done) => {
  const box = document.getElementById('wanted');
  const began = performance.now();
  box.value = %s;
  box.dispatchEvent(new Event('input'));
  requestAnimationFrame(() => {
    const { port1, port2 } = new MessageChannel();
    port1.onmessage = () => done(performance.now() - began);
    port2.postMessage(0);
  });
})"""
"""JavaScript whose value is the time from an input event to the end of the frame that shows its effect."""


@contextmanager
def open_browser(apps: int) -> Iterator[tuple[Tab, str]]:
    """Yield a tab that is signed in at a gateway with so many apps, and the gateway's address."""
    shells = "".join(
        f'\n[[shells.local]]\napp = "app{n // 2}"\nenvironment = "{("production", "staging")[n % 2]}"\n'
        for n in range(2, apps + 1)
    )
    settings = '[web]\naddresses = ["127.0.0.1:0"]\n\n[[shells.local]]\napp = "app1"\n'
    with tempfile.TemporaryDirectory() as name, Gateway(Path(name), settings + shells) as gateway:
        gateway.add_user("boss", "*")
        with gateway.service() as service:
            add_role(service, RoleRule(0, "user:boss", Role.ADMINISTRATOR))
        base = f"http://127.0.0.1:{gateway.start().port('web')}"
        with chromium(Path(name) / "profile") as browser:
            tab = browser.tab()
            tab.resize(1440, 900)
            become(tab, base, "boss")
            yield tab, base
            tab.close()


def measure_paints() -> bool:
    """Print the time to the first paint of each page. Return whether all are in time."""
    in_time = []
    with open_browser(MANY) as (tab, base):
        for page in PAGES:
            took = []
            for _ in range(LOADS + 1):
                tab.open("about:blank")
                tab.open(base + page)
                tab.until(f"{PAINTED} > 0")
                took.append(float(tab.ask(PAINTED)))
            # The first load fills the browser's cache.
            in_time.append(report(f"first paint of {page}, {MANY} apps", took[1:], PAINT_MS))
    return all(in_time)


def measure_letters() -> bool:
    """Print the time from a letter in the search to its painted rows. Return whether it is in time."""
    took = []
    with open_browser(MANY_MORE) as (tab, base):
        tab.open(f"{base}/")
        tab.until("document.getElementById('filter')?.hidden === false")
        for word in WORDS * ROUNDS:
            took += [
                float(tab.ask(TYPE % json.dumps(word[:length])))
                for length in (*range(1, len(word) + 1), 0)
            ]
        shown = tab.ask("document.getElementById('matches').textContent")
    return report(f"a letter in the search, {shown}", took, LETTER_MS)


def main() -> int:
    """Measure all, and print it. Return 1 if something took too long."""
    paints = measure_paints()
    return 0 if measure_letters() and paints else 1


if __name__ == "__main__":
    sys.exit(main())
