"""English and Chinese: by the browser, kept by person, for pages, the API, and the lines of ssh."""

import json
import re
from collections.abc import Iterator

import pytest

from stagedoor.admin import service as admin
from stagedoor.wire.language.choose import CHINESE
from stagedoor.wire.terminal.frames import Mode, Remove
from tests.fixtures.gateway import SSH_TABLE, Gateway
from tests.fixtures.laptop import Laptop, open_laptop
from tests.fixtures.people import PlainBrowser
from tests.fixtures.terminal import WebTerminal, ticket
from tests.web.conftest import SETTINGS

ZH = {"Accept-Language": "zh-CN,zh;q=0.9,en;q=0.8"}


@pytest.fixture(scope="module")
def laptop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Laptop]:
    with open_laptop(tmp_path_factory.mktemp("languages"), SSH_TABLE + SETTINGS) as found:
        found.gateway.add_user("keeping", "app01")
        yield found


@pytest.fixture(scope="module")
def gateway(laptop: Laptop) -> Gateway:
    return laptop.gateway


def keep(person: PlainBrowser, language: str) -> None:
    assert person.post("/account/language", language=language).status == 303


def test_a_stranger_reads_the_browser_s_language(port: int) -> None:
    chinese, english = (PlainBrowser(port).get("/sign-in", **sent) for sent in (ZH, {}))
    assert '<html lang="zh-CN">' in chinese.text
    assert "<title>登录 · Stagedoor</title>" in chinese.text
    assert '<html lang="en">' in english.text
    assert "<title>Sign in · Stagedoor</title>" in english.text
    wrong = PlainBrowser(port, extra=ZH).sign_in(secret="wrong")
    assert "用户名、密码或令牌错误" in wrong.text


def test_a_refusal_of_the_api_is_in_the_page_s_language(port: int) -> None:
    person = PlainBrowser(port, extra=ZH)
    assert person.sign_in().status == 303
    body = json.dumps({"target": "secret"})
    refused = person.send("POST", "/api/ticket", body, **{"Content-Type": "application/json"})
    assert "没有进入 secret 的授权" in json.loads(refused.text)["message"]
    program = PlainBrowser(port).send("POST", "/api/ticket", body)
    assert json.loads(program.text)["message"] == "sign in with your password or a token"


def test_an_account_names_browsers_in_the_page_s_language(port: int) -> None:
    agent = "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0"
    person = PlainBrowser(port, extra=ZH | {"User-Agent": agent})
    assert person.sign_in().status == 303
    assert "Linux 上的 Firefox" in person.get("/account").text


def test_a_person_reads_in_it_that_another_has_removed_them(port: int) -> None:
    host = WebTerminal(port).hello(ticket(port), mode=Mode.MIRROR)
    other = WebTerminal(port).open(additional_headers=ZH).hello(ticket(port), mode=Mode.MIRROR)
    try:
        host.until(lambda: bool(host.people) and len(host.people[-1].people) == 2)
        host.send(Remove(host.people[-1].people[1].number))
        other.until(lambda: bool(other.notices))
        assert other.notices[0].text == "dev 已将你移出此终端"
    finally:
        host.close()
        other.close()


def test_the_log_and_the_audit_stay_english(gateway: Gateway, port: int) -> None:
    person = PlainBrowser(port, extra=ZH)
    assert person.sign_in().status == 303
    assert "未获准进入" in person.get("/app/secret").text
    audit = gateway.command("audit", "--json").stdout
    assert "no grant for 'dev' to enter secret" in audit
    assert not re.search(r"[\u4e00-\u9fff]", audit)


def test_a_person_keeps_a_language(gateway: Gateway, port: int) -> None:
    person = PlainBrowser(port, extra={"Accept-Language": "en"})
    assert person.sign_in("keeping").status == 303
    assert person.post("/account/language", language="tlh").status == 400
    keep(person, CHINESE)
    page = person.get("/account").text
    assert '<html lang="zh-CN">' in page
    assert '<option value="zh-CN" lang="zh-CN" selected>' in page
    with gateway.service() as service:
        assert admin.read_policy(service).users["keeping"].language == CHINESE
    keep(person, "")
    assert '<html lang="en">' in person.get("/account").text


def test_ssh_speaks_the_kept_language(laptop: Laptop, port: int) -> None:
    assert b"Hello dev. The apps that you may enter:" in laptop.ssh("gw").stdout
    person = PlainBrowser(port)
    assert person.sign_in().status == 303
    keep(person, CHINESE)
    try:
        shown = laptop.ssh("gw").stdout.decode()
        assert "你好，dev。你可以进入的应用：" in shown
        assert re.search(r"^  app01.ssh +\w+ +ssh ", shown, re.MULTILINE), "rows stay as they are"
        listed = laptop.ssh("gw", "ls", "--json").stdout
        assert b'"app01"' in listed
        assert listed.isascii()
        by_app = laptop.ssh("gw", "true", config=laptop.config(user="app02")).stderr.decode()
        assert "stagedoor: 'dev' 没有进入 app02 的授权；请向管理员申请" in by_app
        refused = laptop.ssh("gw", "nonsense").stderr.decode()
        assert "stagedoor: 网关不执行命令：'nonsense'" in refused
    finally:
        keep(person, "")
