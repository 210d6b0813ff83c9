"""The catalogue has every text that a developer reads, and none besides (docs/decisions/0049)."""

import re

import pytest

from stagedoor.shells.kubernetes import sentences
from stagedoor.wire.language.chinese.changes import CHANGES
from stagedoor.wire.language.chinese.console import CONSOLE
from stagedoor.wire.language.chinese.doctor import DOCTOR
from stagedoor.wire.language.chinese.laptop import LAPTOP
from stagedoor.wire.language.chinese.pages import PAGES
from stagedoor.wire.language.chinese.refusals import REFUSALS
from stagedoor.wire.language.chinese.scripts import SCRIPTS
from stagedoor.wire.language.chinese.shells import SHELLS
from stagedoor.wire.language.chinese.state import STATE
from stagedoor.wire.language.choose import CHINESE
from stagedoor.wire.language.gateway import load_catalogue, load_state_catalogue
from stagedoor.wire.language.translate import PLACE, Catalogue, fill
from tests.docs import languages

CATALOGUES = {
    "pages": PAGES,
    "console": CONSOLE,
    "changes": CHANGES,
    "refusals": REFUSALS,
    "scripts": SCRIPTS,
    "shells": SHELLS,
    "laptop": LAPTOP,
    "doctor": DOCTOR,
    "state": STATE,
}
SHOWN_BY_THE_CONSOLE = (
    "authz/explain.py",
    "serve/doctor/cluster.py",
    "serve/doctor/gateway.py",
    "serve/doctor/judge.py",
    "serve/status.py",
    "wire/check.py",
)
"""The modules whose lines the pages *Why* and *Health* show."""
COMMAND = re.compile(r"^(stagedoor|chmod|ssh-keygen|systemctl|shell|sso) |^`[^`]*`$")
PUT_TOGETHER = {
    "{0} (ssh.host_certificate_file): {1}",
    "the clock is {0} s {1} the store's",
    "{0}, process {1}, {2} left",
    "{0} not written yet",
    "{0} leads, {1}",
    "the {0} {1} is missing, and there is a store",
    "the {0} {1} is created at the first start",
    "the {0} {1} can be used",
    "{0} is not the public half of the {1} {2}",
}
"""Lines whose values are words of the catalogue's text, or that are names and an error."""
READ_ON_PAGES = (
    *(
        "admin",
        "authn",
        "authz",
        "listeners",
        "recording",
        "session",
        "shells",
        "signin",
        "upstream",
    ),
    *("model", "store/people.py", "store/runs.py", "store/shares.py", "store/sign_in"),
)
"""The packages whose errors a person may read on a page or by ssh."""
READ_ON_LAPTOPS = ("client/attach", "client/runs.py", "laptop")
FOR_COMMANDS = re.compile(
    r"/(?:admin/(?:apply/|apps|backup|recordings|restore|sessions|sign_ins)"
    r"|listeners/(?:ssh/listener|web/(?:admin_api|bodies|http|runs|terminal/fields)))\b"
)
"""Modules whose errors only an administrator's command or a program that is not ours reads."""
NOT_FOR_PEOPLE = re.compile(
    r"^\{0\} \{1\} is not granted|no grant permits|both allowed|this grant would permit nothing|"
    r"an invitation ends|^\{0\} is disabled|is there already|a password would not let|"
    r"no identity provider is set up|more than one identity provider|there is no identity provider \{|"
    r"logout token|another version of the gateway|is not an app's name; write|is not the address of a site|"
    r"the settings do not say|rule \{0\} for machines|too many jobs log in|"
    r"issuer of this token|another process has refreshed|is the user \{1\} already|"
    r"a \.pub file|not taken for|is not in the group|not a number of bytes|16 hexadecimal|for a new screen|"
    r"reconnecting \{1\} s"
)
"""Errors of what only a command, an identity provider, a job or a script asks for, and a window's title."""
IN_PIECES = re.compile(
    r"^\{0\}(; check|; close one of its|, which \{1\} cannot| is not a \{1\} name| is not a pattern for an)|"
    r"^(stagedoor: run \{0\} \{1\}$|you may not \{0\}|the shell cannot \{0\}|the shell did not \{0\})|"
    r"a share lasts|wait for approval|^your clock is|\{2\} already|"
    r"its answer\{1\}|without an answer\{1\}"
)
"""Errors whose values are words of the line: the catalogue has a text for each."""
ASSEMBLED = {
    *(
        "access granted: for {0}",
        "{0} has changed at {1}",
        "timed out",
        "input lost",
        "not started",
    ),
    *(f"{state} with {{0}}" for state in ("exited", "cancelled", "lost")),
    *(f"it is {state}" for state in ("pending", "denied", "withdrawn", "lapsed", "ended")),
    *("{0} is not a group name: {1}", "a browser on {0}", "{n} gateways, {0}"),
    *(text for text in REFUSALS if re.fullmatch(r"[A-Z][\w ]+ on \{0\}", text)),
    *(f"{state} with {{0}}" for state in ("timed out", "input lost", "not started")),
}
"""Lines of pieces so short that they are not found in the code."""
CHINESE_LETTER = re.compile(r"[\u4e00-\u9fff]")
TAG = re.compile(r"</?[a-z]+[^>]*>")


def test_the_pages_have_all_texts_and_no_others() -> None:
    texts = languages.template_texts()
    known = {**PAGES, **CONSOLE}
    assert {text: where for text, where in texts.items() if text not in known} == {}
    assert [text for text in known if text not in texts] == []


def test_the_scripts_have_all_texts_and_no_others() -> None:
    texts = languages.script_texts()
    assert {text: where for text, where in texts.items() if text not in SCRIPTS} == {}
    assert [text for text in SCRIPTS if text not in texts] == []


@pytest.fixture(scope="module")
def code() -> str:
    """Return all texts of the code, with one space between two words."""
    return " ".join("\n".join(languages.python_texts(".")).split())


@pytest.mark.parametrize("name", ["changes", "refusals", "shells", "laptop", "doctor", "state"])
def test_each_line_is_one_of_the_code(name: str, code: str) -> None:
    """The code puts lines together, so most of their words are found there in groups of three."""
    unknown = []
    for text in CATALOGUES[name]:
        groups = [group for piece in PLACE.split(text)[::2] for group in find_groups_of(piece)]
        if sum(group in code for group in groups) < len(groups) / 2:
            unknown.append(text)
    assert set(unknown) <= ASSEMBLED


def find_groups_of(piece: str) -> list[str]:
    """Return the groups of three words in a piece of a text, or all of a shorter one."""
    words = piece.split()
    return [" ".join(words[at : at + 3]) for at in range(max(1, len(words) - 2))] if words else []


@pytest.mark.parametrize("name", CATALOGUES)
def test_both_languages_have_the_same_values_and_elements(name: str) -> None:
    for english, chinese in CATALOGUES[name].items():
        assert sorted(PLACE.findall(english)) == sorted(PLACE.findall(chinese)), english
        assert sorted(TAG.findall(english)) == sorted(TAG.findall(chinese)), english
        assert chinese == chinese.strip() or english != english.strip(), english


@pytest.mark.parametrize("name", CATALOGUES)
def test_the_chinese_is_chinese(name: str) -> None:
    kept = {"{shown} of {all}", "{0} of {1}", "{0}: {1} of {2}", "{0}: {1}", "{n} ({0})"}
    for english, chinese in CATALOGUES[name].items():
        assert CHINESE_LETTER.search(chinese) or english in kept, english
        prose = re.sub(r"<code>.*?</code>|<[^>]*>|\([^()]*\)|（[^（）]*）|`[^`]*`", "", chinese)
        assert not re.search(r"[\u4e00-\u9fff][,;:!?]|[,;!?][\u4e00-\u9fff]", prose), chinese
        assert not re.search(r"[\u4e00-\u9fff][A-Za-z0-9]|[A-Za-z0-9][\u4e00-\u9fff]", prose), (
            chinese
        )


@pytest.mark.parametrize("part", READ_ON_PAGES)
def test_each_line_of_pages_and_of_ssh_is_translated(part: str) -> None:
    assert find_english(part, load_catalogue(CHINESE)) == []


@pytest.mark.parametrize("part", READ_ON_LAPTOPS)
def test_each_line_of_a_program_on_a_laptop_is_translated(part: str) -> None:
    assert find_english(part, Catalogue({**REFUSALS, **SHELLS, **LAPTOP})) == []


def find_english(part: str, catalogue: Catalogue) -> list[str]:
    """Return the lines of a package that have no Chinese text."""
    missing = []
    for place, text in languages.refusals(part):
        exempt = FOR_COMMANDS.search(place) or NOT_FOR_PEOPLE.search(text) or IN_PIECES.search(text)
        if exempt or not re.search(r"[a-z]{3}", PLACE.sub("", text.replace("stagedoor: ", ""))):
            continue
        line = fill(text, dict.fromkeys(PLACE.findall(text), "5"))
        chinese = catalogue.translate_output(line)
        if not CHINESE_LETTER.search(chinese):
            missing.append(f"{place}: {text} → {chinese}")
    return missing


def test_what_the_shell_does_not_do_with_a_file_is_translated() -> None:
    code = (languages.SOURCE / "listeners/web/files/transfer.py").read_text()
    translate = load_catalogue(CHINESE).translate
    for does in re.findall(r'explain_errors\(.*, "([a-z ]+)"\)', code):
        for line in (
            f"you may not {does} /x in the shell",
            f"the shell cannot {does} /x (Failure)",
        ):
            assert CHINESE_LETTER.search(translate(line)), line
        assert CHINESE_LETTER.search(translate(f"the shell did not {does} /x in time")), does


REFUSED_PODS = (
    "exceeded quota: q, requested: limits.cpu=2, used: limits.cpu=3, limited: limits.cpu=4",
    "failed quota: q: must specify limits.cpu,limits.memory",
    'violates PodSecurity "restricted:latest": runAsNonRoot != true (pod must set runAsNonRoot=true)',
    'admission webhook "w.example.com" denied the request: this is not for shells',
    'admission webhook "w.example.com" denied the request without explanation',
    'failed calling webhook "w.example.com": connection refused',
    "failed to configure binding: no params found",
    "ValidatingAdmissionPolicy 'p' with binding 'b' denied request: this is not for shells",
    "maximum cpu usage per Container is 1, but limit is 2",
    'serviceaccount "sa" not found',
    "anything else",
)
PULLS = (
    *(("ErrImagePull", "dial tcp: no such host"), ("ErrImagePull", "manifest unknown"), ("X", "y")),
    *(("ImagePullBackOff", "unauthorized"), ("InvalidImageName", ""), ("ErrImageNeverPull", "")),
)


def test_why_a_cluster_starts_no_shell_is_translated() -> None:
    """The developer who waits reads it. What the cluster says itself stays as it is."""
    containers = [{"name": "web", "resources": {"limits": {"cpu": "2"}}}]
    causes = [": ".join(sentences.explain_refused_pod(said, containers)) for said in REFUSED_PODS]
    causes += [f"pulling image: {sentences.explain_pull_failure(*pull, 'web:1')}" for pull in PULLS]
    causes.append("scheduling: " + sentences.explain_unschedulable("0/1 nodes: Insufficient cpu."))
    translate = load_catalogue(CHINESE).translate
    for cause in causes:
        for line in (cause, f"the shell app01 could not be started; {cause}"):
            chinese = translate(line)
            assert CHINESE_LETTER.search(chinese), line
            assert not re.search(r"(?:^|[：；])(?:the|it|its|ask|an?) ", chinese), chinese


def test_what_the_console_says_about_rules_and_health_is_translated() -> None:
    catalogue = load_state_catalogue(CHINESE)
    missing = []
    for text in languages.state_texts(*SHOWN_BY_THE_CONSOLE):
        line = fill(text, dict.fromkeys(PLACE.findall(text), "5"))
        if COMMAND.search(line) or not re.search(r"[a-z]{3}", PLACE.sub("", text)):
            continue
        chinese = "" if text in PUT_TOGETHER else catalogue.translate(line)
        if chinese and not CHINESE_LETTER.search(chinese):
            missing.append(f"{text} → {chinese}")
    assert missing == []


def test_rules_and_lines_of_the_state_are_read_in_chinese() -> None:
    translate = load_state_catalogue(CHINESE).translate
    assert translate("grant 12") == "授权 12"
    assert translate("group:dev: enter files for app* in prod") == (
        "group:dev：app*（环境 prod）的 enter files"
    )
    gaps = "it is for app02, not app01; it ended at 2026-11-30T10:57:00Z"
    assert translate(gaps) == "它针对 app02，而不是 app01；它已于 2026-11-30T10:57:00Z 到期"
    assert translate("1 gateway, 2 workers") == "1 个网关，2 个 worker"
    assert translate("0.2, process 7, 1 session left") == "0.2，进程 7，剩余 1 个会话"
    assert translate("3 events not written yet") == "3 个事件尚未写入"
    assert translate("gw leads, serves 1 of 2 namespaces") == "gw 当选，服务 2 个命名空间中的 1 个"
    key = "the SSH host key /k is created at the first start"
    assert translate(key) == "SSH 主机密钥 /k 在首次启动时创建"
    ahead = "the clock is 9.0 s ahead of the store's"
    assert translate(ahead) == "时钟比存储快 9.0 秒"
    assert translate("12 (connect 3, jump 9)") == "12（connect 3, jump 9）"
