"""A run of Lighthouse over the WebShell's pages, for `script/lighthouse`, which prints the scores.

The browser is already signed in, so no secret is in Lighthouse's arguments.
"""

import asyncio
import json
import subprocess
import sys
import tempfile
from pathlib import Path

from acceptance.chromium import BrowserError, chromium
from acceptance.pictures import recorded
from stagedoor.admin.roles import add_role
from stagedoor.admin.service import open_service
from stagedoor.demo.clients import USER
from stagedoor.demo.gateway import DemoGateway, run_demo
from stagedoor.model.errors import StagedoorError
from stagedoor.model.role import Role, RoleRule

ROOT = Path(__file__).parents[1]
PROGRAM = ROOT / "web/lighthouse/node_modules/.bin/lighthouse"
CATEGORIES = ("accessibility", "best-practices", "seo", "performance")
MIN_SCORE = 95
"""The least score of a page in each category."""
PAGE_S = 300
TRIES = 3
"""How often a page is measured whose trace has lost the beginning, as it may on a busy machine."""


def main() -> int:
    """Print the scores; return 0 if every page reaches `MIN_SCORE`, else 1 after an error line on stderr."""
    try:
        return asyncio.run(_staged())
    except (BrowserError, StagedoorError, RuntimeError) as error:
        print(f"stagedoor: {error}", file=sys.stderr)
        return 1


async def _staged() -> int:
    async with run_demo() as (demo, _):
        return await asyncio.to_thread(_measure, demo)


def _measure(demo: DemoGateway) -> int:
    pages = {
        "sign-in": "/sign-in",
        "home": "/",
        "terminal": "/app/app01",
        "recordings": "/recordings",
        "replay": f"/recordings/{recorded(demo)}",
        "sessions": "/admin/sessions",
        "audit": "/admin/audit",
    }
    with open_service(demo.settings, create=False) as service:
        add_role(service, RoleRule(0, f"user:{USER}", Role.ADMINISTRATOR))
    worst = (100, "")
    with (
        tempfile.TemporaryDirectory(prefix="stagedoor-lighthouse-") as folder,
        chromium(Path(folder) / "profile", whole=True) as browser,
    ):
        tab = browser.tab(demo.make_web_link())
        tab.until("!document.querySelector('#link button').disabled")
        tab.ask("document.querySelector('#link button').click()")
        tab.until("document.querySelector('#apps') !== null")
        print("page".ljust(26), *(name.rjust(16) for name in CATEGORIES), flush=True)
        for name, path in pages.items():
            scores = _scores(browser.port, f"{demo.web}{path}", Path(folder) / "report.json")
            columns = (f"{scores[category]:16d}" for category in CATEGORIES)
            print(name.ljust(26), *columns, flush=True)
            worst = min(worst, *((scores[category], category) for category in CATEGORIES))
        tab.close()
    if worst[0] < MIN_SCORE:
        print(f"stagedoor: {worst[0]} for {worst[1]} is below {MIN_SCORE}", file=sys.stderr)
    return 0 if worst[0] >= MIN_SCORE else 1


def _scores(port: int, url: str, report: Path) -> dict[str, int]:
    """Return the scores of a page, 0 to 100, by category. Raises RuntimeError if it cannot be measured."""
    command = [
        PROGRAM, url, f"--port={port}", "--disable-storage-reset", "--quiet", "--preset=desktop",
        f"--only-categories={','.join(CATEGORIES)}", "--output=json", f"--output-path={report}",
    ]  # fmt: skip
    for _ in range(TRIES):
        done = subprocess.run(command, capture_output=True, text=True, timeout=PAGE_S, check=False)
        if "NO_NAVSTART" not in done.stderr:
            break
    if done.returncode != 0:
        raise RuntimeError(f"{url}: {done.stderr.strip()[-400:]}")
    document = json.loads(report.read_text())
    for name, audit in document["audits"].items():
        low = (audit["score"] or 0) < MIN_SCORE / 100 and audit[
            "scoreDisplayMode"
        ] != "notApplicable"
        if low and any(name in _weighed_audits(document, category) for category in CATEGORIES):
            print(f"  {name}: {audit['title']} {audit.get('displayValue', '')}", file=sys.stderr)
    return {
        category: round(100 * (document["categories"][category]["score"] or 0))
        for category in CATEGORIES
    }


def _weighed_audits(
    document: dict[str, dict[str, dict[str, list[dict[str, str]]]]], category: str
) -> set[str]:
    return {
        audit["id"] for audit in document["categories"][category]["auditRefs"] if audit["weight"]
    }


if __name__ == "__main__":
    sys.exit(main())
