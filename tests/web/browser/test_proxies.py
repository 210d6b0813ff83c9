"""The page in a real Chromium, behind nginx below a path, through tinyproxy."""

from pathlib import Path

import pytest

from acceptance.chromium import chromium, find_chromium
from stagedoor.listeners.limits import ClientLimits
from tests.fixtures.worker import open_limited
from tests.net.peers import write_certificate
from tests.web.browser.conftest import STATES, ready, run, shows, sign_in_by_form
from tests.web.conftest import SETTINGS
from tests.web.proxies import MISSING, nginx, tinyproxy

pytestmark = pytest.mark.skipif(
    bool(MISSING) or find_chromium() is None,
    reason="as root: apt-get install nginx-light caddy tinyproxy chromium",
)


@pytest.mark.timeout(300)
def test_the_page_behind_both_with_pings_that_outlive_their_idle_times(tmp_path: Path) -> None:
    web = SETTINGS.replace("[web]", '[web]\npath = "/stagedoor"\nforwarded_from = ["127.0.0.1/32"]')
    limits = ClientLimits(ping_s=0.5)
    with (
        open_limited(tmp_path, web, limits, "app01") as gateway,
        tinyproxy(tmp_path) as corporate,
    ):
        certificate = write_certificate(tmp_path)
        more = "proxy_read_timeout 2s;"
        with (
            nginx(
                tmp_path / "nginx", gateway.port("web"), certificate, "/stagedoor/", more
            ) as proxy,
            chromium(
                tmp_path / "profile",
                "--ignore-certificate-errors",
                f"--proxy-server=http://127.0.0.1:{corporate}",
                "--proxy-bypass-list=<-loopback>",
            ) as browser,
        ):
            tab = browser.tab()
            base = f"https://localhost:{proxy.tls_port}"
            path = "/stagedoor/app/app01"
            sign_in_by_form(tab, f"{base}/stagedoor", path)
            ready(tab)
            tab.ask(STATES)
            # Three idle times of nginx, without a key.
            tab.ask("new Promise(done => setTimeout(done, 6000))")
            run(tab, "echo in=$((40+2))-$APP_NAME")
            shows(tab, "in=42-app01")
            assert "lost" not in tab.ask("window.states")
            tab.close()
        assert "CONNECT" in (tmp_path / "tiny.log").read_text()
