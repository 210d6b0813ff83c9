"""The whole story once: a bare laptop, a real identity provider, a real browser, ssh, and the end of it."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import update

from acceptance.chromium import Browser, chromium, find_chromium
from stagedoor.admin import service as admin
from stagedoor.store.sign_in.tables import provider_answers
from tests.fixtures.gateway import Gateway
from tests.login.conftest import settings
from tests.login.laptop import new_laptop
from tests.oidc.idp import Idp, running_idp, sso_table
from tests.waiting import wait_until

CAROL = {"preferred_username": "carol", "groups": ["shop"]}


@pytest.fixture(scope="module")
def toml() -> str:
    return settings()


@pytest.fixture(scope="module")
def idp(tmp_path_factory: pytest.TempPathFactory, toml: str) -> Iterator[Idp]:
    [web] = [line for line in toml.partition("[web]")[2].splitlines() if "addresses" in line]
    back = f"http://{web.split(chr(34))[1]}/sign-in/sso"
    with running_idp(tmp_path_factory.mktemp("idp"), {"carol-1": CAROL}, back) as running:
        yield running


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory, idp: Idp, toml: str) -> Iterator[Gateway]:
    folder = tmp_path_factory.mktemp("login")
    table = sso_table(idp, folder, 'groups = { "shop" = "shop" }\n')
    with Gateway(folder, toml + table) as running:
        with running.service() as service:
            admin.add_grant(service, "group:shop", "app01")
        yield running.start()


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    if find_chromium() is None:
        pytest.skip("no Chromium is installed; as root: apt-get install chromium")
    with chromium(tmp_path_factory.mktemp("chromium")) as running:
        yield running


@pytest.mark.identity(1, 2, 15)
def test_from_a_bare_laptop_to_the_end_at_the_provider(
    tmp_path: Path, gateway: Gateway, idp: Idp, browser: Browser, base: str
) -> None:
    """Some 20 s: a provider, a browser and a gateway start for it."""
    laptop = new_laptop(tmp_path, base)
    running = laptop.start("login", base)
    id_ = running.login_id(base)
    tab = browser.tab(f"{base}/login/{id_}")
    tab.until("document.querySelector('[name=provider]') !== null")
    tab.ask("document.querySelector('[name=provider]').form.requestSubmit()")
    tab.until("document.querySelector('[name=login]') !== null")
    tab.ask("document.querySelector('[name=login]').focus()")
    tab.type("carol-1")
    tab.ask("document.querySelector('[name=password]').focus()")
    tab.type("any")
    tab.enter()
    tab.until("document.querySelector('form [name=prompt][value=consent]') !== null")
    tab.ask("document.querySelector('form [name=prompt]').form.requestSubmit()")
    # Back at the login, which is named; a click, and the client's own port leads on.
    tab.until("document.querySelector('.login dd')?.textContent.includes('@') === true")
    tab.ask("document.querySelector('.login button[autofocus]').click()", gesture=True)
    tab.until("document.querySelector('h1')?.textContent === 'Logged in'")
    assert f"/login/{id_}" in str(tab.ask("location.href"))
    assert running.end().returncode == 0, running.stderr
    assert "logged in as carol" in running.stderr
    done = laptop.ssh("app01.ssh", "printf %s $APP_NAME")
    assert (done.returncode, done.stdout) == (0, "app01"), done.stderr
    kept = "".join(
        path.read_text(errors="replace") for path in laptop.folder.iterdir() if path.is_file()
    )
    assert idp.issuer not in kept, "no token of the provider is on the laptop"
    assert idp.issued()
    assert not any(token in kept for token in idp.issued())

    # The browser signs out: the machine's login goes on, and the provider is asked about it.
    tab.open(f"{base}/")
    tab.ask("document.querySelector('form[action$=\"/sign-out\"]').requestSubmit()")
    tab.until("location.pathname === '/sign-in'")
    tab.end()
    assert laptop.run("login", "--if-needed", "--folder", str(laptop.folder)).returncode == 0
    (laptop.folder / "fresh_until").write_text("0")
    assert laptop.ssh("app01.ssh", "true").returncode == 0
    idp.remove_account("carol-1")
    with gateway.service() as service, service.database.write() as transaction:
        asked = provider_answers.c.refresh_token.is_not(None)
        transaction.execute(update(provider_answers).where(asked).values(ask_at=0.0))
    wait_until(lambda: "carol" not in gateway.command("sign-in", "list").stdout)
    (laptop.folder / "fresh_until").write_text("0")
    refused = laptop.run("login", "--if-needed", "--folder", str(laptop.folder))
    assert refused.returncode == 32, refused.stderr
