"""Lighthouse over the WebShell's pages: `script/lighthouse` runs it and prints the scores.

The browser is signed in already, as a person is, so no secret goes through Lighthouse's arguments.
"""

import asyncio
import json
import subprocess
import sys
import tempfile
from pathlib import Path

from acceptance.chromium import BrowserError, chromium
from acceptance.pictures import recorded
from stagedoor.demo.gateway import DemoGateway, run_demo
from stagedoor.model.errors import StagedoorError

ROOT = Path(__file__).parents[1]
PROGRAM = ROOT / "web/lighthouse/node_modules/.bin/lighthouse"
CATEGORIES = ("accessibility", "best-practices", "performance")
LEAST = 95
"""Below this, a page's accessibility is a failure."""
PAGE_S = 300


def main() -> int:
    """0 if every page reaches it, 1 otherwise, with a line that says why."""
    try:
        return asyncio.run(_staged())
    except (BrowserError, StagedoorError, RuntimeError) as error:
        print(f"stagedoor: {error}", file=sys.stderr)
        return 1


async def _staged() -> int:
    async with run_demo("error") as (demo, _):
        return await asyncio.to_thread(_measure, demo)


def _measure(demo: DemoGateway) -> int:
    pages = {
        "sign-in": "/sign-in",
        "home": "/",
        "terminal": "/app/app01",
        "recordings": "/recordings",
        "replay": f"/recordings/{recorded(demo)}",
    }
    worst = 100
    with (
        tempfile.TemporaryDirectory(prefix="stagedoor-lighthouse-") as folder,
        chromium(Path(folder) / "profile", whole=True) as browser,
    ):
        tab = browser.tab(demo.web_link())
        tab.until("!document.querySelector('#link button').disabled")
        tab.ask("document.querySelector('#link button').click()")
        tab.until("document.querySelector('#apps') !== null")
        print("page".ljust(26), *(name.rjust(16) for name in CATEGORIES), flush=True)
        for name, path in pages.items():
            scores = _scores(browser.port, f"{demo.web}{path}", Path(folder) / "report.json")
            print(name.ljust(26), *(f"{scores[one]:16d}" for one in CATEGORIES), flush=True)
            worst = min(worst, scores["accessibility"])
        tab.close()
    if worst < LEAST:
        print(f"stagedoor: {worst} for accessibility is below {LEAST}", file=sys.stderr)
    return 0 if worst >= LEAST else 1


def _scores(port: int, url: str, report: Path) -> dict[str, int]:
    """0 to 100 by category. Raises RuntimeError for a page that could not be measured."""
    command = [
        PROGRAM, url, f"--port={port}", "--disable-storage-reset", "--quiet", "--preset=desktop",
        f"--only-categories={','.join(CATEGORIES)}", "--output=json", f"--output-path={report}",
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, timeout=PAGE_S, check=False)
    if done.returncode != 0:
        raise RuntimeError(f"{url}: {done.stderr.strip()[-400:]}")
    found = json.loads(report.read_text())
    for name, audit in found["audits"].items():
        told = ("accessibility", "best-practices")
        if audit["score"] == 0 and any(name in _weighed(found, one) for one in told):
            print(f"  {name}: {audit['title']}", file=sys.stderr)
    return {one: round(100 * (found["categories"][one]["score"] or 0)) for one in CATEGORIES}


def _weighed(
    found: dict[str, dict[str, dict[str, list[dict[str, str]]]]], category: str
) -> set[str]:
    return {one["id"] for one in found["categories"][category]["auditRefs"]}


if __name__ == "__main__":
    sys.exit(main())
